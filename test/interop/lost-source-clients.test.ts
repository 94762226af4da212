/** Real daemons: a client with requests in flight on a source that was stopped while another took over (M9). */
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { Errno, IoError } from '../../src/io/types.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { Daemons, type NodeProcess } from '../support/daemons.ts';
import { expectIdentical } from '../support/machine.ts';

const TAG = 'data';
const SIZE = 4 * 1024 * 1024;
const io = createNodeIo();
const hub = new EngineHub(io.createEngine());
const ENDED: unknown[] = [Errno.ESHUTDOWN];

let daemons: Daemons;

beforeAll(async () => {
  daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 500 });
  await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs: { server1: daemons.path('leg1'), server2: daemons.path('leg2') } });
});

afterAll(async () => {
  await daemons.close();
});

function connect(node: NodeProcess): Promise<NbdClient> {
  return NbdClient.connect({ io, hub, exportName: TAG, address: { kind: 'unix', path: path.join(node.root, 'run', 'nbd.sock') } });
}

const block = (byte: number): Uint8Array => new Uint8Array(4096).fill(byte);

it('gets ESHUTDOWN for each when the source goes on, and is cut off; the new data is on both', async () => {
  const [server1, server2] = [daemons.node('server1'), daemons.node('server2')];
  const old = await connect(server1);
  await old.writeBytes(0, block(1));
  await old.flushNow();
  process.kill(server1.pid, 'SIGSTOP');
  const inFlight = Promise.allSettled([old.readBytes(0, 4096), old.writeBytes(8192, block(5)), old.flushNow()]);
  try {
    await daemons.until('server2 serves', async () => (await server2.control.call('status', { tag: TAG })).inService);
    const next = await connect(server2);
    await next.writeBytes(0, block(9));
    await next.flushNow();
    await next.disconnect();
  } finally {
    process.kill(server1.pid, 'SIGCONT');
  }
  const ends = (await inFlight).map((e): unknown =>
    e.status === 'fulfilled' ? (e.value ?? 'done') : e.reason instanceof IoError ? e.reason.errno : e.reason,
  );
  for (const end of ends) expect(ENDED).toContain(end);
  await daemons.until('the connection has ended', () => Promise.resolve(old.lost !== undefined));
  await daemons.untilInSync('server2', TAG);
  const now = await connect(server2);
  expect([await now.readBytes(0, 4096), await now.readBytes(8192, 4096)]).toEqual([block(9), block(0)]);
  await now.disconnect();
  await expectIdentical([daemons.path('leg1'), daemons.path('leg2')]);
});
