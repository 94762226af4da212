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
      expect(one.lines).toEqual([
        expect.stringMatching(/^server1: in service; generation \w{16}; served epoch 1 \(server1\)/),
        `server1 -> server2: all ${String(MIB)} bytes on server2 are overwritten with those of server1`,
        expect.stringMatching(/^server2: out of service, Target; generation \w{16}; served epoch none/),
        'server2: compare says serving (partial): server1 is in service, and server2 has nothing that it lacks',
      ]);
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
      expect(alive.lines.join('\n')).toMatch(/server1: Source, generation [0-9a-f]{16}, served epoch 1 \(server1\), .*; compare says serving/);
      sim.crash('server2');
      sim.crash('server1');
      await sim.start('server1');
      await sim.until('it knows that it is alone', async () => (await sim.status('server1')).flags.dataCorrupt);
      const alone = await sim.call('server1', 'preview', of('force'));
      expect(alone).toMatchObject({ refused: null, lastOwnerHere: true });
      expect(alone.lines[0]).toMatch(/^force t on server1: go-in-service \(rule forced\)/);
      expect(alone.lines.join('\n')).toMatch(
        /server2: can not be heard, not heard since this daemon started .*; last known: by the record of server1: in sync in epoch 1 \(server1\), generation [0-9a-f]{16} or later\nserver2 could have newer data, because by the record of server1 it was in sync in epoch 1 \(server1\), and may have gone on or taken over; if so, what server2 has from after this node served epoch 1 \(server1\), would be lost/,
      );
      expect((await sim.call('server1', 'preview', of('in-service'))).refused).toMatch(/server2, who may have taken over, cannot be heard/);
    });
  });

  it('of force says of each silent node what is last known of it, and whether it could have newer data, and why', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      await sim.write('server1', 0, 4096, 2);
      for (const n of sim.names) sim.crash(n);
      await sim.start('server1');
      await sim.until('it knows that it is alone', async () => (await sim.status('server1')).flags.dataCorrupt);
      const of1 = async (): Promise<string> => (await sim.call('server1', 'preview', of('force'))).lines.join('\n');
      const alone = await of1();
      expect(alone).toMatch(/^server2 could have newer data, because by the record of server1 it was in sync in epoch 1 \(server1\)/m);
      expect(alone).toMatch(
        /server3: can not be heard, .*; last known: by the record of server1: had generation \w{16} when it left, and confirmed that it is out$/m,
      );
      expect(alone).toMatch(
        /^server3 could have newer data, because server2 can not be heard either, .*; if so, what server3 has from after this node served epoch 1/m,
      );
      // With server2 back nobody is left who could have resynced server3.
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: false });
      await sim.start('server2');
      await sim.inSync('server1', 'server2');
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.world.sleep(1000);
      const both = await of1();
      expect(both).toMatch(
        /^server2: \w+, generation \w{16}, served epoch none, .*\nserver2 can not have newer data, because its record, heard now, holds nothing/m,
      );
      expect(both).toMatch(
        /^server3 can not have newer data, because by the records it is out of sync, and everybody who could have resynced it can be heard/m,
      );
      sim.crash('server2');
      await sim.until('server2 is silent', () => (sim.daemon('server1').mirrors.get('t')?.silentForMs('server2') ?? 0) > 2000);
      const later = await of1();
      expect(later).toMatch(
        /^server2: can not be heard, silent for \d\.\ds; then \w+; last known: generation \w{16}, served epoch none, last in sync in epoch 2/m,
      );
      expect(later).toMatch(/^server3 could have newer data, because server2 can not be heard either/m);
    });
  });
});
