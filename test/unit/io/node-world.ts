/** The node world for the conformance suite: a folder of its own below the system's temporary one. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import type { EngineWorld } from './engine-rig.ts';

export async function makeNodeWorld(kind: 'unix' | 'tcp' = 'unix', engine: 'native' | 'portable' = 'portable'): Promise<EngineWorld> {
  const folder = await mkdtemp(join(tmpdir(), 'netraid-io-'));
  let sockets = 0;
  return {
    io: createNodeIo({ engine: { engine } }),
    path: (name) => join(folder, name),
    address() {
      sockets += 1;
      if (kind === 'tcp') return { kind, host: '127.0.0.1', port: 0 };
      return { kind, path: join(folder, `socket${String(sockets)}`) };
    },
    drive: (body) => body(),
    dispose: () => rm(folder, { recursive: true, force: true }),
  };
}
