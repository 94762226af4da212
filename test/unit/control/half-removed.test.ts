import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { REGION, Sim } from './sim.ts';

const NODES = ['server1', 'server2', 'server3'];

/** The `nth` change of the source's record from now on finds no room; how many there were by then. */
function noRoomAt(sim: Sim, nth: number): { readonly changes: number } {
  const store = sim.daemon('server1').mirrors.get('t')?.store;
  if (store === undefined) throw new Error('server1 has no mirror');
  const seen = { changes: 0 };
  const update = store.update.bind(store);
  store.update = (f) => {
    seen.changes += 1;
    if (seen.changes === nth) sim.world.node('server1').fail('/var/state_t*', { op: 'write', errno: Errno.ENOSPC, times: 1 });
    return update(f);
  };
  return seen;
}

const orders = {
  unextend: (sim: Sim) => sim.call('server1', 'unextend', { tag: 't', node: 'server3' }),
  replace: (sim: Sim) => sim.call('server1', 'replace', { tag: 't', node: 'server3', leg: '/other' }),
};

const namesIt = (sim: Sim): boolean => sim.daemon('server1').mirrors.get('t')?.record().definition.nodes['server3'] !== undefined;

/** The order that finds no room for its `nth` change; false: it needed fewer. Then the target is in sync again, or may be added. */
async function halfDone(order: keyof typeof orders, nth: number): Promise<boolean> {
  let failed = false;
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, REGION, 1);
    await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
    const seen = noRoomAt(sim, nth);
    const outcome = await orders[order](sim).then(
      () => 'done',
      (e: unknown) => e,
    );
    if (seen.changes < nth) {
      expect(outcome).toBe('done');
      return;
    }
    failed = true;
    expect(outcome).toMatchObject({ name: 'ControlError', code: 'io', message: expect.stringContaining('ENOSPC') as unknown });
    const { links, device } = sim.daemon('server1').mirrors.get('t')?.source ?? {};
    expect([links?.has('server3'), device?.targets.has('server3')]).toEqual([namesIt(sim), namesIt(sim)]);
    await sim.write('server1', REGION, REGION, 2);
    if (namesIt(sim)) {
      await sim.call('server1', 'resume', { tag: 't', nodes: ['server3'] });
      await sim.inSync('server1', 'server3');
      expect((await sim.status('server1')).targets.find((t) => t.node === 'server3')?.lastResync?.kind).toBe('partial');
      expect(sim.legsDiffer('server1', 'server3')).toBe(-1);
      await orders[order](sim);
    }
    if (order === 'replace' && namesIt(sim)) {
      await sim.inSync('server1', 'server3');
      expect(sim.legsDiffer('server1', 'server3', '/leg', '/other')).toBe(-1);
    }
    if (namesIt(sim)) await sim.call('server1', 'unextend', { tag: 't', node: 'server3' });
    // Where the new leg was not added, the target may have made it already.
    const leg = order === 'replace' ? '/other' : '/leg';
    await sim.call('server1', 'extend', sim.extendParams('server3', 20, { leg, zeroed: false }));
    await sim.inSync('server1', 'server2', 'server3');
    expect(sim.legsDiffer('server1', 'server3', '/leg', leg)).toBe(-1);
  });
  return failed;
}

describe.each(['unextend', 'replace'] as const)('%s, for whose record there is no room at some moment', (order) => {
  it('leaves a target that is served or one that is none, and says what failed (M14)', async () => {
    let nth = 1;
    while (await halfDone(order, nth)) nth += 1;
    expect(nth).toBe(order === 'unextend' ? 2 : 3);
  });
});

it('a target that was not removed for want of room is connected again by itself', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror();
    sim.world.cut('server1', 'server3');
    const link = sim.daemon('server1').mirrors.get('t')?.source?.links.get('server3');
    await sim.write('server1', 0, REGION, 2);
    await sim.until('it is out', () => link?.leg.phase === 'out');
    noRoomAt(sim, 1);
    await expect(orders.unextend(sim)).rejects.toMatchObject({ code: 'io' });
    await sim.write('server1', 0, REGION, 3);
    sim.world.heal('server1', 'server3');
    await sim.inSync('server1', 'server2', 'server3');
    expect(sim.legsDiffer('server1', 'server3')).toBe(-1);
  });
});
