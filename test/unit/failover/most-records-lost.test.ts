import { expect, it } from 'vitest';
import { REGION, Sim } from '../control/sim.ts';

async function damage(sim: Sim, node: string): Promise<void> {
  await sim.stop(node);
  const f = await sim.world.client(node).files.open('/var/state_t', { write: true });
  await f.write(new Uint8Array([0x21]), 200);
  await f.sync();
  await f.close();
  await sim.start(node);
}

it('is ended by a force and replacements, under an arbiter whose voters are all heard, and most of whom have no sound record (M14)', async () => {
  await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    await sim.write('server1', 0, REGION, 7);
    await sim.call('server1', 'out-of-service', { tag: 't' });
    for (const n of ['server1', 'server2']) await damage(sim, n);
    await sim.stop('server3');
    await sim.start('server3');
    const node = sim.daemon('server3').mirrors.get('t');
    await sim.until('all are heard', () => ['server1', 'server2'].every((n) => sim.daemon('server3').env.cluster.connected(n)));
    await sim.call('server3', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force', 'no-majority'] });
    // Nobody has a vote but itself: until most stand by its epoch, the operator's word does.
    await sim.world.sleep(10_000);
    expect(node?.record().overruled).toEqual(node?.record().epochServed);
    for (const n of ['server1', 'server2']) {
      expect(await sim.call(n, 'delete', { tag: 't' })).toEqual({ forgotten: [n], unreached: [] });
      await sim.call('server3', 'replace', { tag: 't', node: n, leg: '/leg' });
    }
    await sim.inSync('server3', 'server1', 'server2');
    await sim.until('the arbiter has its word again', () => node?.record().overruled === null);
    const before = node?.record().generation;
    await sim.write('server3', 0, REGION, 8);
    // What was committed without it is made again.
    expect(node?.record().generation).not.toBe(before);
    expect((await sim.read('server3', 0, REGION))[0]).toBe(8);
    expect([sim.legsDiffer('server3', 'server1'), sim.legsDiffer('server3', 'server2')]).toEqual([-1, -1]);
  });
});
