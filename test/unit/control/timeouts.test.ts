import { expect, it } from 'vitest';
import { shortestTimeout } from '../../../src/control/timeouts.ts';
import { Sim } from './sim.ts';

const NODES = ['server1', 'server2', 'server3'];
/** The daemons' own is 2 s. */
const SHORT_MS = 200;

/** A mirror `t` on server1 and server2; server3 has none of it. */
async function shortMirror(sim: Sim, failureTimeoutMs: number): Promise<void> {
  await sim.call('server1', 'create', sim.createParams({ failureTimeoutMs }));
  await sim.call('server1', 'in-service', { tag: 't' });
  await sim.call('server1', 'extend', sim.extendParams('server2', 10));
  await sim.inSync('server1', 'server2');
}

it('is the least of the mirrors that are shared with a node, or of all', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    const { mirrors } = sim.daemon('server1');
    expect(shortestTimeout(mirrors.values(), undefined)).toBe(Infinity);
    await shortMirror(sim, SHORT_MS);
    await sim.call('server1', 'create', sim.createParams({ tag: 'u', leg: '/leg2', failureTimeoutMs: 700 }));
    await sim.call('server1', 'in-service', { tag: 'u' });
    await sim.call('server1', 'extend', { ...sim.extendParams('server2', 10), tag: 'u', leg: '/leg2' });
    await sim.call('server1', 'extend', { ...sim.extendParams('server3', 20), tag: 'u', leg: '/leg2' });
    expect([undefined, 'server2', 'server3', 'nobody'].map((n) => shortestTimeout(mirrors.values(), n))).toEqual([200, 200, 700, Infinity]);
  });
});

it('a mirror with a shorter failureTimeout than its daemons runs on for as long as nothing is wrong, and fails over as soon as it says', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    const down: string[] = [];
    for (const n of NODES) sim.daemon(n).env.cluster.onConnection((peer, up) => !up && down.push(`${n} ${peer}`));
    await shortMirror(sim, SHORT_MS);
    const source = sim.daemon('server1').mirrors.get('t');
    const epoch = source?.record().epochServed;
    sim.daemon('server1').recentEvents.length = 0;
    const silent: number[] = [];
    for (let i = 0; i < 400; i += 1) {
      await sim.world.sleep(47);
      silent.push(source?.silentForMs('server2') ?? Infinity, sim.daemon('server2').mirrors.get('t')?.silentForMs('server1') ?? Infinity);
    }
    expect(Math.max(...silent)).toBeLessThan(SHORT_MS / 2);
    expect(sim.daemon('server1').recentEvents).toEqual([]);
    expect([source?.inService, source?.record().epochServed]).toEqual([true, epoch]);
    expect(down).toEqual([]);
    sim.crash('server1');
    const crashedAt = sim.world.now();
    await sim.until('server2 has taken over', () => sim.daemon('server2').mirrors.get('t')?.inService === true);
    expect(sim.world.now() - crashedAt).toBeLessThan(4 * SHORT_MS);
  });
});

it('when it is forgotten, heartbeats are as seldom as before', async () => {
  await Sim.run({}, async (sim) => {
    const down: string[] = [];
    for (const n of sim.names) sim.daemon(n).env.cluster.onConnection((peer, up) => !up && down.push(`${n} ${peer}`));
    await shortMirror(sim, SHORT_MS);
    await sim.call('server1', 'delete', { tag: 't' });
    const silent: number[] = [];
    for (let i = 0; i < 100; i += 1) {
      await sim.world.sleep(37);
      silent.push(sim.daemon('server1').env.cluster.status()[0]?.inbound[0]?.silentForMs ?? Infinity);
    }
    expect(Math.max(...silent)).toBeGreaterThan(300);
    expect(down).toEqual([]);
  });
});

it('a daemon that starts with it is as quick from the start', async () => {
  await Sim.run({}, async (sim) => {
    await shortMirror(sim, SHORT_MS);
    await sim.stop('server2');
    await sim.start('server2');
    await sim.inSync('server1', 'server2');
    const { cluster } = sim.daemon('server1').env;
    for (let i = 0; i < 50; i += 1) {
      await sim.world.sleep(37);
      expect(cluster.status()[0]?.inbound[0]?.silentForMs).toBeLessThan(SHORT_MS / 2);
    }
  });
});

it('a freeze for as long as that is noticed, however short it is beside the failureTimeout of the daemon', async () => {
  await Sim.run({}, async (sim) => {
    await shortMirror(sim, SHORT_MS);
    const m = sim.daemon('server2').mirrors.get('t');
    expect(m?.stalls).toBe(0);
    sim.world.node('server2').freeze();
    await sim.world.sleep(SHORT_MS * 1.2);
    sim.world.node('server2').thaw();
    sim.daemon('server2').env.cluster.checkStall();
    expect(m?.stalls).toBe(1);
  });
});

it.each([1, 2, 3, 4, 5])('a target that was frozen for as long trusts nothing that its source said before (M2, M12; seed %i)', async (seed) => {
  await Sim.run({ seed }, async (sim) => {
    await shortMirror(sim, 500);
    const c = await sim.client('server1');
    const frozenAt = sim.world.now();
    sim.world.node('server2').freeze();
    // A heartbeat that counts server2 as in sync waits in its socket.
    await sim.world.sleep(405);
    sim.world.cutOneWay('server1', 'server2');
    await c.writeBytes(0, new Uint8Array(4096).fill(9), true);
    sim.world.node('server1').powerFail();
    sim.daemons.delete('server1');
    // By now server1 has waited for it, and answered without it: longer than the mirror, but not than the daemon takes for lost.
    expect(sim.world.now() - frozenAt).toBeLessThan(1800);
    await sim.world.sleep(100);
    sim.world.node('server2').thaw();
    await sim.world.sleep(10_000);
    expect((await sim.status('server2')).inService).toBe(false);
  });
});
