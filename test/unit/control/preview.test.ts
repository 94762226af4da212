import { describe, expect, it } from 'vitest';
import type { Actions } from '../../../src/control/types.ts';
import { MIB, Sim } from './sim.ts';

type P = Actions['preview']['params'];

const of = (action: P['action'], nodes: string[] = [], source: string | null = null): P => ({ tag: 't', action, nodes, source });

describe('a preview', () => {
  it('of what overwrites shows direction and bytes, and changes nothing', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      const before = sim.onDisk();
      const one = await sim.call('server1', 'preview', of('fullresync', ['server1', 'server2']));
      expect(one).toMatchObject({ bytesOverwritten: MIB, lastOwnerHere: true, refused: null });
      expect(one.lines).toEqual([`server1 -> server2: all ${String(MIB)} bytes on server2 are overwritten with those of server1`]);
      expect((await sim.call('server1', 'preview', of('fullresync'))).bytesOverwritten).toBe(2 * MIB);
      expect(await sim.call('server1', 'preview', of('replace', ['server3']))).toMatchObject({ bytesOverwritten: MIB, refused: null });
      expect(await sim.call('server1', 'preview', of('extend', ['server4']))).toMatchObject({ bytesOverwritten: MIB, refused: null });
      for (const action of ['unextend', 'delete'] as const) {
        const p = await sim.call('server1', 'preview', of(action, ['server2']));
        expect(p.bytesOverwritten).toBe(0);
        expect(p.lines.length).toBeGreaterThan(0);
      }
      expect(sim.onDisk()).toEqual(before);
    });
  });

  it('refuses what the action would refuse', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const refused = async (node: string, p: P): Promise<string | null> => (await sim.call(node, 'preview', p)).refused;
      const there = async (): Promise<boolean> =>
        (await refused('server2', of('extend', ['server9']))) === 'mirror t is not in service on server2; run this on server1';
      await sim.until('server2 has heard where', there);
      for (const action of ['fullresync', 'unextend', 'replace'] as const)
        expect(await refused('server2', of(action, ['server1']))).toBe('mirror t is not in service on server2; run this on server1');
      expect(await refused('server2', of('delete'))).toBe('t is in service on server1: delete it there, or take it out of service first');
      expect(await refused('server2', of('resize'))).toBe('t is in service on server1; run this there');
      expect(await refused('server1', of('resize'))).toBe('t is in service: it can grow now, and shrink only out of service');
      expect(await refused('server1', of('extend', ['server2']))).toBe('server2 has a leg of t already; a node holds one');
      for (const action of ['fullresync', 'unextend', 'replace'] as const) {
        expect((await sim.call('server1', 'preview', of(action, ['server9']))).refused).toBe('server9 is not a node of t');
      }
    });
  });

  it('of in-service and force shows rule, flags, generations, and who can not be heard', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await sim.until('server2 has heard', async () => 'server1' in (await sim.call('server2', 'explain', { tag: 't', whatIf: null })).peers);
      const alive = await sim.call('server2', 'preview', of('force'));
      expect(alive.refused).toMatch(/server1 is in service/);
      expect(alive.lastOwnerHere).toBe(false);
      expect(alive.lines.join('\n')).toMatch(/flags here: last_owner not set, source server1, data_corrupt not set/);
      expect(alive.lines.join('\n')).toMatch(/server1: Source, generation [0-9a-f]{16}; compare says serving/);
      sim.crash('server2');
      sim.crash('server1');
      await sim.start('server1');
      await sim.until('it knows that it is alone', async () => (await sim.status('server1')).flags.dataCorrupt);
      const alone = await sim.call('server1', 'preview', of('force'));
      expect(alone).toMatchObject({ refused: null, lastOwnerHere: true });
      expect(alone.lines[0]).toMatch(/^force t on server1: go-in-service \(rule forced\)/);
      expect(alone.lines.join('\n')).toMatch(/server2: can not be heard; whatever it wrote/);
      expect((await sim.call('server1', 'preview', of('in-service'))).refused).toMatch(/server2, who may have taken over, cannot be heard/);
    });
  });
});
