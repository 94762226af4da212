/** Our client and our server with extended headers, each over both engines, on a sparse file of more than any 32 bits reach. */
import { mkdtemp, open, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EngineHub, type OpOwner } from '../../../src/io/hub.ts';
import { loadNativeEngine } from '../../../src/io/node/native-shim.ts';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import type { Engine, EngineValue } from '../../../src/io/types.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { LegDevice } from '../../../src/nbd/leg-device.ts';
import { NbdServer } from '../../../src/nbd/server.ts';

const TIB = 2 ** 40;
const SIZE = 6 * TIB;
const ENGINES = loadNativeEngine() === undefined ? (['portable'] as const) : (['portable', 'native'] as const);

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'netraid-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const PAIRS = ENGINES.flatMap((server) => ENGINES.flatMap((client) => [true, false].map((offered) => ({ server, client, offered }))));

interface Ends {
  client: NbdClient;
  leg: string;
  server: NbdServer;
}

/** Nothing is left in either engine afterwards. */
async function joinedBy(p: (typeof PAIRS)[number], body: (e: Ends) => Promise<void>): Promise<void> {
  const leg = join(folder, 'leg');
  await writeFile(leg, '');
  await truncate(leg, SIZE);
  const serverIo = createNodeIo({ engine: { engine: p.server } });
  const clientIo = createNodeIo({ engine: { engine: p.client } });
  const engines: Engine[] = [serverIo.createEngine(), clientIo.createEngine()];
  const [serverHub, clientHub] = engines.map((e) => new EngineHub(e));
  if (serverHub === undefined || clientHub === undefined) throw new Error('no engines');
  const device = new LegDevice(serverHub, await serverHub.engine.openLeg(leg, { write: true, lock: true }));
  const server = new NbdServer({ io: serverIo, hub: serverHub, extendedHeaders: p.offered, exports: { list: () => [], find: () => device } });
  const address = { kind: 'unix', path: join(folder, 's') } as const;
  await server.listen(address);
  const client = await NbdClient.connect({ io: clientIo, hub: clientHub, address, exportName: '' });
  expect(client.info).toMatchObject({ extended: p.offered, structured: true, canFilterStatus: p.offered, sizeBytes: SIZE });
  await body({ client, leg, server });
  await client.disconnect();
  await server.close({ drainMs: 1000 });
  for (const e of engines) {
    await e.shutdown();
    expect(e.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
  }
}

function done(begin: (owner: OpOwner) => void): Promise<{ errno: number; value: EngineValue | undefined }> {
  return new Promise((resolve) => {
    begin({
      onDone: (_tag, errno, _length, _h, value) => {
        resolve({ errno, value });
      },
    });
  });
}

describe.each(PAIRS)('a $client client of a $server server, extended headers offered: $offered', (p) => {
  test('writes, reads, zeroes and asks beyond 32 bits', async () => {
    await joinedBy(p, async ({ client, leg, server }) => {
      const at = 5 * TIB + 4096;
      const bytes = new Uint8Array(100_000).map((_, i) => (i * 31) % 251);
      await client.writeBytes(at, bytes, true);
      expect(await client.readBytes(at - 512, bytes.length + 1024)).toEqual(
        new Uint8Array([...new Uint8Array(512), ...bytes, ...new Uint8Array(512)]),
      );
      const file = await open(leg, 'r');
      const there = Buffer.alloc(bytes.length);
      await file.read(there, 0, bytes.length, at);
      await file.close();
      expect(there.equals(bytes)).toBe(true);

      const before = server.connections()[0]?.requestsTotal ?? 0;
      const extents = await client.extents(0, SIZE);
      const asked = (server.connections()[0]?.requestsTotal ?? 0) - before;
      if (p.offered) expect(asked).toBe(1);
      else expect(asked).toBeGreaterThan(1000);
      expect(extents.reduce((n, e) => n + e.length, 0)).toBe(SIZE);
      // Where the engine sees holes it sees them here.
      if (client.info.canFastZero) expect(extents[0]).toMatchObject({ offset: 0, hole: true });

      if (!client.info.canFastZero) return;
      const { errno } = await done((owner) => {
        client.writeZeroes(owner, 1, 4096, SIZE - 4096, { fua: false, mayPunch: true });
      });
      expect(errno).toBe(0);
      if (p.offered) expect((server.connections()[0]?.requestsTotal ?? 0) - before - asked).toBe(6);
      expect(await client.readBytes(at, bytes.length)).toEqual(new Uint8Array(bytes.length));
      expect((await stat(leg)).blocks).toBeLessThan(100);
    });
  }, 60_000);
});
