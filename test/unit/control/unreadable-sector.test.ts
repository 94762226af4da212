import { expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { REGION, Sim } from './sim.ts';

const events = (sim: Sim, kind: string): Record<string, unknown>[] =>
  sim
    .daemon('server1')
    .recentEvents.filter((e) => e.kind === kind)
    .map((e) => ({ node: e.fields['node'], message: e.message }));

/** server3 has missed a write that the own leg can not read any more. */
async function missedAndUnreadable(sim: Sim): Promise<void> {
  sim.world.cut('server1', 'server3');
  await sim.until('server3 is away', async () => (await sim.targetState('server1', 'server3')) === 'Unknown');
  await sim.write('server1', REGION, REGION, 7);
  sim.daemon('server1').recentEvents.length = 0;
  sim.world.node('server1').fail('/leg', { op: 'read', errno: Errno.EIO });
  sim.world.healAll();
  await sim.until('its resync has met the sector', () => events(sim, 'leg-failed').length >= 3);
}

it('an unreadable sector met by a resync takes no healthy async target out, and where it is stands beside the target that lacks it', async () => {
  await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
    await sim.call('server1', 'create', sim.createParams({ failover: 'off' }));
    await sim.call('server1', 'in-service', { tag: 't' });
    await sim.call('server1', 'extend', sim.extendParams('server2', 10, { mode: 'async' }));
    await sim.call('server1', 'extend', sim.extendParams('server3', 20));
    await sim.inSync('server1', 'server2', 'server3');
    await missedAndUnreadable(sim);
    await sim.write('server1', 0, 4096, 8);
    expect(await sim.targetState('server1', 'server2')).toBe('Target');
    expect(events(sim, 'out-of-sync').filter((e) => e['node'] !== 'server3')).toEqual([]);
    expect(await sim.targetState('server1', 'server3')).not.toBe('Target');
    const where = 'read of the local leg (bytes 65536 to 131071) during a resync: EIO';
    expect(events(sim, 'leg-failed')[0]).toMatchObject({ message: `the local leg has failed: ${where}` });
    await sim.until(
      'the reason stands there',
      async () => (await sim.status('server1')).targets[1]?.detail === `no good copy to resync server3 from: ${where}`,
    );
    sim.world.node('server1').repairDisk();
    await sim.inSync('server1', 'server2', 'server3');
    expect(sim.legsDiffer('server1', 'server3')).toBe(-1);
  });
});

it('nor a sync target that could not record it; what it may have recorded all the same is taken back', async () => {
  await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
    await sim.mirror({ failover: 'off' });
    const { cluster } = sim.daemon('server1').env;
    const request = cluster.request.bind(cluster);
    const counted: boolean[] = [];
    cluster.request = async (peer, method, params, timeoutMs) => {
      const answer = await request(peer, method, params, timeoutMs);
      const countedThere = sim.daemon('server2').mirrors.get('t')?.record().inSync.includes('server1') === true;
      if (peer === 'server2' && method === 'session.members') counted.push(countedThere);
      if (method !== 'source-leg-behind') return answer;
      // The answer is lost on its way back.
      counted.push(countedThere);
      return await request(peer, 'no-such-method', null, timeoutMs);
    };
    await missedAndUnreadable(sim);
    await sim.until('three are over', () => counted.filter((c) => !c).length >= 3 && counted.at(-1) === true);
    const after = counted.flatMap((c, i) => (c ? [] : [counted[i + 1]]));
    expect(new Set(after)).toEqual(new Set([true]));
    expect(await sim.targetState('server1', 'server2')).toBe('Target');
    expect(events(sim, 'out-of-sync').filter((e) => e['node'] !== 'server3')).toEqual([]);
    await sim.write('server1', 0, 4096, 8);
    expect(await sim.targetState('server1', 'server3')).not.toBe('Target');
  });
});
