import { describe, expect, it } from 'vitest';
import { MIB, Sim } from './sim.ts';

const kindsOf = async (sim: Sim, source: string): Promise<unknown[]> =>
  (await sim.status(source)).targets.map((t) => [t.node, t.state, t.rule, t.dirtyBytes, t.lastResync]);

describe('switchover', () => {
  it('moves the source; the old one and the others stay in sync without a resync', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB / 2, 5);
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.refused).toBeNull();
      expect(shown.lines.join('\n')).toMatch(/server1 -> server2: server2 becomes the source of t/);
      expect(await sim.call('server1', 'switchover', { tag: 't', node: 'server2' })).toEqual({ tag: 't', from: 'server1', to: 'server2' });
      await sim.inSync('server2', 'server1', 'server3');
      expect(await kindsOf(sim, 'server2')).toEqual([
        ['server1', 'Target', 'serving', 0, null],
        ['server3', 'Target', 'serving', 0, null],
      ]);
      expect(await sim.status('server2')).toMatchObject({ decision: { rule: 'evidence' }, flags: { lastOwner: true, source: 'server2' } });
      expect(await sim.status('server1')).toMatchObject({ inService: false, state: 'Target', flags: { lastOwner: false, source: 'server2' } });
      expect((await sim.read('server2', 0, MIB / 2)).every((b) => b === 5)).toBe(true);
    });
  });

  it('typed on another node is carried out by the one in service', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB / 2, 5);
      const shown = await sim.call('server3', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.lines.length).toBeGreaterThan(2);
      expect(await sim.call('server2', 'switchover', { tag: 't', node: 'server2' })).toEqual({ tag: 't', from: 'server1', to: 'server2' });
      expect(await sim.call('server3', 'switchover', { tag: 't', node: 'server1' })).toEqual({ tag: 't', from: 'server2', to: 'server1' });
      await sim.inSync('server1', 'server2', 'server3');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
