import { expect, it } from 'vitest';
import { MIB, Sim } from './sim.ts';

/** The network to server2 goes, and comes back when it has been missed. */
async function flap(sim: Sim, byte: number): Promise<void> {
  sim.world.cut('server1', 'server2');
  await sim.write('server1', 0, 4096, byte);
  sim.world.healAll();
  await sim.until('server2 is heard', () => sim.daemon('server1').env.cluster.connected('server2'));
}

it('a target that leaves because the mirror grows is connected again at once, however often', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror({ failover: 'off' });
    for (let i = 1; i <= 5; i += 1) {
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB * (1 + i), force: false });
      const grown = sim.world.now();
      await sim.inSync('server1', 'server2');
      expect(sim.world.now() - grown).toBeLessThan(3000);
    }
  });
});

it('a target that comes and goes is connected again at once a few times, then after a while, or when an operator says so', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror({ failover: 'off' });
    const from = (await sim.status('server1')).targets[0];
    expect(from?.state).toBe('Target');
    for (const byte of [1, 2, 3]) {
      await flap(sim, byte);
      const healed = sim.world.now();
      await sim.inSync('server1', 'server2');
      expect(sim.world.now() - healed).toBeLessThan(3000);
    }
    await flap(sim, 4);
    await sim.until('it waits', async () => (await sim.status('server1')).targets[0]?.detail.startsWith('lost 4 times') === true);
    const healed = sim.world.now();
    expect((await sim.status('server1')).targets[0]).toMatchObject({
      state: 'Out of Sync',
      detail: expect.stringContaining('connected again after 5 s') as unknown,
    });
    await sim.inSync('server1', 'server2');
    expect(sim.world.now() - healed).toBeGreaterThan(2000);
    await flap(sim, 5);
    await sim.until('it waits longer', async () => (await sim.status('server1')).targets[0]?.detail.startsWith('lost 5 times') === true);
    const resumed = sim.world.now();
    await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
    await sim.inSync('server1', 'server2');
    expect(sim.world.now() - resumed).toBeLessThan(3000);
    expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
  });
});
