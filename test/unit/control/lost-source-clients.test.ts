/** Clients with requests in flight on a source that others have gone on without (M9): ESHUTDOWN for each, and the connection ends. */
import { expect, it } from 'vitest';
import type { SourceRole } from '../../../src/failover/source.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import type { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { REGION, Sim } from './sim.ts';

const ENDED: unknown[] = [Errno.ESHUTDOWN];

function sourceOn(sim: Sim, node: string): SourceRole {
  const source = sim.daemon(node).mirrors.get('t')?.source;
  if (source === undefined) throw new Error(`${node} is not in service`);
  return source;
}

const serves = (sim: Sim, node: string): boolean => sim.daemon(node).mirrors.get('t')?.source?.serving === true;

/** The errno of a request that failed; of one that did not, what it was answered. */
const outcome = (end: PromiseSettledResult<unknown>): unknown =>
  end.status === 'fulfilled' ? (end.value ?? 'done') : end.reason instanceof IoError ? end.reason.errno : end.reason;

/** What becomes of a read, a write and a flush. */
async function outcomes(c: NbdClient): Promise<unknown[]> {
  const ends = await Promise.allSettled([c.readBytes(0, 4096), c.writeBytes(REGION, new Uint8Array(4096).fill(5)), c.flushNow()]);
  return ends.map(outcome);
}

/** All three have ended by now with an error that may be one of these, and the client is cut off. */
async function expectEnded(sim: Sim, c: NbdClient, inFlight: Promise<unknown[]>): Promise<void> {
  const ends = await inFlight;
  expect(ends).toHaveLength(3);
  for (const end of ends) expect(ENDED).toContain(end);
  await sim.until('the connection has ended', () => c.lost !== undefined);
  expect(ENDED).toContain(c.lost?.errno);
  for (const end of await outcomes(c)) expect(ENDED).toContain(end);
}

/** The new source's data is what all have in the end, with nothing of what was in flight. */
async function expectDataOf(sim: Sim, source: string, old: string): Promise<void> {
  await sim.inSync(source, old);
  expect(sim.legsDiffer(source, old)).toBe(-1);
  expect((await sim.read(source, 0, REGION)).every((b) => b === 9)).toBe(true);
  expect((await sim.read(source, REGION, 4096)).every((b) => b === 0)).toBe(true);
}

it('a source that was frozen while another took over, with requests that its disk had not answered', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, REGION, 1);
    const c = await sim.client('server1');
    sim.world.node('server1').stall('/leg');
    const read = Promise.allSettled([c.readBytes(0, 4096)]);
    await sim.until('it is in hand', () => sourceOn(sim, 'server1').device.pool.busy > 0);
    sim.world.node('server1').freeze();
    await sim.until('server2 serves', () => serves(sim, 'server2'));
    await sim.write('server2', 0, REGION, 9);
    // These wait in the socket of a process that stands still.
    const inFlight = outcomes(c);
    await sim.world.sleep(100);
    sim.world.node('server1').thaw();
    await expectEnded(sim, c, inFlight);
    sim.world.node('server1').repairDisk();
    for (const late of await read) expect(ENDED).toContain(outcome(late));
    await expectDataOf(sim, 'server2', 'server1');
  });
});

it('a source that was cut off from most, and suspended, while another took over', async () => {
  await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    await sim.write('server1', 0, REGION, 1);
    const c = await sim.client('server1');
    sim.world.isolate('server1');
    await sim.until('it is suspended', () => sourceOn(sim, 'server1').device.suspension !== null);
    const inFlight = outcomes(c);
    await sim.until('server2 serves', () => serves(sim, 'server2'));
    await sim.write('server2', 0, REGION, 9);
    // Not yet so long that errors are given: it is the later epoch that ends them.
    expect(sourceOn(sim, 'server1').device.suspension?.errno).toBe(0);
    sim.world.healAll();
    await expectEnded(sim, c, inFlight);
    await expectDataOf(sim, 'server2', 'server1');
  });
});

it('a source that was cut off and went on, until it heard of another one', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, REGION, 1);
    const c = await sim.client('server1');
    sim.world.cut('server1', 'server2');
    await sim.until('server2 serves', () => serves(sim, 'server2'));
    await sim.write('server2', 0, REGION, 9);
    sim.world.node('server1').stall('/leg');
    const inFlight = outcomes(c);
    await sim.until('they are in hand', () => sourceOn(sim, 'server1').device.pool.busy === 3);
    sim.world.healAll();
    await expectEnded(sim, c, inFlight);
    sim.world.node('server1').repairDisk();
    await sim.until('server1 is out of service', async () => !(await sim.status('server1')).inService);
    await sim.inSync('server2', 'server1');
    expect((await sim.read('server2', 0, REGION)).every((b) => b === 9)).toBe(true);
  });
});
