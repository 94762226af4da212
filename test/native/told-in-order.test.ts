/**
 * What an engine is asked by several connections of one client, in a process of its own (support/writes-twice.c), while it waits awake for
 * the next event: what the client has sent once more, by another connection, is not followed by its first (M4).
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NativeEngine } from '../../src/io/node/native-engine.ts';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { ROOMY, SIMPLE, Connection, Rig } from '../unit/io/engine-rig.ts';
import { execute, served, unserve } from '../unit/io/conformance-serve-marks.ts';
import { makeNodeWorld } from '../unit/io/node-world.ts';

const ROUNDS = 2000;

describe.skipIf(loadNativeEngine() === undefined)('an engine that waits awake', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'netraid-order-'));
  const program = path.join(folder, 'writes-twice');

  beforeAll(() => {
    const source = fileURLToPath(new URL('support/writes-twice.c', import.meta.url));
    const r = spawnSync('gcc', ['-O2', '-Wall', '-Wextra', '-o', program, source], { encoding: 'utf8' });
    expect([r.status, r.stderr]).toEqual([0, '']);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  // As many as it looks at all the time, more, and so many that it leaves them to the loop.
  it.each([3, 6, 40])('takes in what came by others before it answers, of %i connections', async (count) => {
    const shim = loadNativeEngine();
    if (shim === undefined) throw new Error('it was there before');
    const rig = new Rig(await makeNodeWorld('unix', 'native'));
    // For long, so that it is awake most of the time.
    const hub = rig.hub(new NativeEngine(shim, { spinMicroseconds: 200 }));
    const leg = await served(rig, { hub });
    await unserve(leg);
    let last = Promise.resolve();
    const listener = await rig.io.net.listen(rig.world.address(), (s) => {
      const conn = new Connection(hub, hub.engine.adopt(s, 'server', SIMPLE, ROOMY, new Uint8Array(0)));
      conn.onRequest = (r) => {
        last = last.then(() => execute({ ...leg, conn }, r));
      };
    });
    const { address } = listener;
    if (address.kind !== 'unix') throw new Error('it listens elsewhere');
    const { stdout } = await promisify(execFile)(program, [address.path, String(count), String(ROUNDS)], { timeout: 60_000 });
    await listener.close();
    expect(stdout).toBe('0\n');
    await rig.finish();
  });
});
