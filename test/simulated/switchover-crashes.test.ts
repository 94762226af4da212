/** A switchover that is cut short at every moment of it, by the loss of any of its nodes. */
import { describe, expect, it } from 'vitest';
import { MIB, Sim } from '../unit/control/sim.ts';

type Blow = 'crash' | 'power failure';

/** Moments after the command, ms; it lasts some 40 of them. */
const MOMENTS = Array.from({ length: 24 }, (_, i) => i * 2);

interface End {
  /** In service some time after the loss, while the lost node was away. */
  meanwhile: string[];
  rules: Record<string, string | undefined>;
  /** By the record of the old source, the new one may be in service. */
  mayHaveServed: boolean;
  ended: string;
}

const serving = (sim: Sim): string[] => [...sim.daemons].filter(([, d]) => d.mirrors.get('t')?.inService === true).map(([n]) => n);

async function cutShort(nodes: string[], victim: string, blow: Blow, afterMs: number, seed: number): Promise<End> {
  const end: End = { meanwhile: [], rules: {}, mayHaveServed: false, ended: 'no answer' };
  await Sim.run({ nodes, seed }, async (sim) => {
    // Legs that were there before: a file made just now may be lost with power, folder entry and all.
    for (const n of nodes) sim.world.node(n).createFile('/leg', MIB, 'file');
    await sim.mirror();
    await sim.write('server1', 0, MIB / 2, 5);
    void sim.call('server1', 'switchover', { tag: 't', node: 'server2' }).then(
      () => {
        end.ended = '';
      },
      (e: unknown) => {
        end.ended = String(e);
      },
    );
    await sim.world.sleep(afterMs);
    const record = sim.daemon('server1').mirrors.get('t')?.record();
    end.mayHaveServed = (record?.grant ?? null) !== null || record?.epochSeen?.owner === 'server2';
    if (blow === 'crash') sim.world.node(victim).crash();
    else sim.world.node(victim).powerFail();
    sim.daemons.delete(victim);
    await sim.world.sleep(12_000);
    end.meanwhile = serving(sim);
    for (const n of sim.daemons.keys()) end.rules[n] = (await sim.status(n)).decision?.rule;
    await sim.start(victim);
    await sim.until('one source, all others in sync', async () => {
      const [source, ...more] = serving(sim);
      if (source === undefined || more.length > 0) return false;
      return (await sim.status(source)).targets.every((t) => t.state === 'Target');
    });
    const source = serving(sim)[0] ?? '';
    expect((await sim.read(source, 0, MIB / 2)).every((b) => b === 5)).toBe(true);
    for (const n of nodes) expect(sim.legsDiffer(source, n)).toBe(-1);
    const flags = await Promise.all(nodes.map(async (n) => (await sim.status(n)).flags.lastOwner));
    expect(flags.filter(Boolean)).toHaveLength(1);
  });
  return end;
}

const TWO = ['server1', 'server2'];
const THREE = ['server1', 'server2', 'server3'];

describe.each(['crash', 'power failure'] as const)('a %s in the middle of a switchover', (blow) => {
  it.each(MOMENTS)('of the old source, after %i ms: the new one goes in service, alone or with the third', async (ms) => {
    expect((await cutShort(TWO, 'server1', blow, ms, ms + 1)).meanwhile).toEqual(['server2']);
    expect((await cutShort(THREE, 'server1', blow, ms, ms + 1)).meanwhile).toHaveLength(1);
  });

  it.each(MOMENTS)('of the new source, after %i ms: the old one serves, or stays out as long as the new one may have served', async (ms) => {
    const end = await cutShort(TWO, 'server2', blow, ms, ms + 1);
    if (end.meanwhile.length === 0) expect([end.mayHaveServed, end.rules]).toEqual([true, { server1: 'source-alone' }]);
    else expect(end.meanwhile).toEqual(['server1']);
  });

  it.each(MOMENTS)('of a third node, after %i ms: the mirror is in service without it', async (ms) => {
    expect((await cutShort(THREE, 'server3', blow, ms, ms + 1)).meanwhile).toHaveLength(1);
  });
});
