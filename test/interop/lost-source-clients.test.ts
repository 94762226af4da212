/** Real daemons: a source that was stopped while another took over (M9): its client with requests in flight, and a session by its epoch. */
import path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cluster } from '../../src/cluster/cluster.ts';
import { statePath } from '../../src/failover/paths.ts';
import { readRecord } from '../../src/failover/record.ts';
import type { StateRecord } from '../../src/failover/types.ts';
import { EngineHub } from '../../src/io/hub.ts';
import { nullLog } from '../../src/io/log.ts';
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

async function recordOf(node: NodeProcess): Promise<StateRecord> {
  const read = await readRecord(io.files, statePath(node.root, TAG), { node: node.name, tag: TAG });
  if (read.kind !== 'ok') throw new Error(`no state record of ${node.name}`);
  return read.record;
}

it('is refused a session by its epoch each time, which is counted, and logged once; the other node serves on', async () => {
  const [server1, server2] = [daemons.node('server1'), daemons.node('server2')];
  const refused = async (): Promise<Record<string, number>> => {
    const r = await server2.cli('netraid', ['info', '--json']);
    return (JSON.parse(r.stdout) as { refused: Record<string, number> }).refused;
  };
  const { definition, generation, epochSeen } = await recordOf(server2);
  if (epochSeen === null) throw new Error('server2 has taken over, and knows no epoch');
  await server1.kill();
  // As server1 would speak that still believes in the epoch before: the link between nodes is the real one.
  const old = new Cluster({
    io,
    self: 'server1',
    clusterName: 'interop',
    listen: null,
    peers: { server2: [{ kind: 'tcp', host: '127.0.0.1', port: server2.port }] },
    failureTimeoutMs: 500,
    daemonStart: io.chance.hex64(),
    log: nullLog,
  });
  await old.start();
  try {
    await daemons.until('server2 takes the link', () => old.connectedWithin('server2', 100));
    // server1 itself may have asked once, before it learned that its time is over.
    const { sessions: before = 0 } = await refused();
    const epoch = { number: epochSeen.number - 1, owner: 'server1', random: io.chance.hex64() };
    const open = { tag: TAG, epoch, session: io.chance.hex64(), kind: 'none', generation, definition, rewrites: true };
    for (let i = 0; i < 3; i += 1) await expect(old.request('server2', 'session.open', open, 5000)).rejects.toMatchObject({ code: 'in-service' });
    expect(await refused()).toEqual({ clients: 0, nodes: 0, sessions: before + 3 });
    expect(server2.logged(/a session was refused/)).toEqual([expect.stringMatching(/server1.*in service itself, in epoch/)]);
  } finally {
    await old.stop();
  }
  expect((await server2.control.call('status', { tag: TAG })).inService).toBe(true);
  await server1.start();
  await daemons.untilInSync('server2', TAG);
  await expectIdentical([daemons.path('leg1'), daemons.path('leg2')]);
});
