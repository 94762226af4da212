/** Facts change between an operator's question and his command: what would be done now, and was not confirmed, is refused. */
import { describe, expect, it } from 'vitest';
import { Sim } from './sim.ts';

const LAST_OWNER_DOWN = ['server1', 'server2'];

/** Scenario 3: both died, and the last source is back alone. */
async function alone(sim: Sim): Promise<void> {
  await sim.mirror();
  for (const n of LAST_OWNER_DOWN) sim.crash(n);
  await sim.start('server1');
  await sim.until('data_corrupt is set', async () => (await sim.status('server1')).flags.dataCorrupt);
}

describe('in-service at once after data_corrupt was deleted by hand', () => {
  it('is shown and asked as a force, and is none without a yes to that', async () => {
    await Sim.run({}, async (sim) => {
      await alone(sim);
      await sim.world.client('server1').files.unlink('/var/subsys/scsi/resources/netraid/t_data_corrupt');
      const asked = await sim.call('server1', 'explain', { tag: 't', whatIf: 'in-service' });
      expect(asked.decision).toMatchObject({ action: 'go-in-service', rule: 'forced' });
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'in-service', nodes: [], source: null });
      expect(shown).toMatchObject({ refused: null, confirms: ['force'], by: 'server1' });
      await sim.refuses(
        'server1',
        'in-service',
        { tag: 't' },
        'unconfirmed',
        /forced in service, which was not confirmed: data_corrupt was deleted by hand/,
      );
      expect(await sim.call('server1', 'in-service', { tag: 't', confirmed: shown.confirms })).toMatchObject({ inService: true });
    });
  });

  it('is refused when the flag goes between the question and the command', async () => {
    await Sim.run({}, async (sim) => {
      await alone(sim);
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'in-service', nodes: [], source: null });
      expect(shown).toMatchObject({ confirms: [] });
      expect(shown.refused).not.toBeNull();
      await sim.world.client('server1').files.unlink('/var/subsys/scsi/resources/netraid/t_data_corrupt');
      await sim.refuses('server1', 'in-service', { tag: 't', confirmed: shown.confirms }, 'unconfirmed', /not confirmed/);
    });
  });
});

describe('a force under arbiter majority', () => {
  it('is refused when the majority, which was heard when it was shown, is not any more', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror({ arbiter: 'majority' });
      await sim.call('server1', 'out-of-service', { tag: 't' });
      const preview = { tag: 't', action: 'force', nodes: [], source: null } as const;
      const shown = await sim.call('server1', 'preview', { ...preview, nodes: [] });
      expect(shown).toMatchObject({ refused: null, confirms: ['force'] });
      for (const n of ['server2', 'server3']) sim.crash(n);
      await sim.world.sleep(5000);
      const force = { tag: 't', withoutLastOwner: false, confirmed: shown.confirms };
      await sim.refuses('server1', 'force', force, 'unconfirmed', /no majority of the nodes is heard now.*was not confirmed/);
      const again = await sim.call('server1', 'preview', { ...preview, nodes: [] });
      expect(again.confirms).toEqual(['force', 'no-majority']);
      expect(again.lines.join('\n')).toContain('no majority of the nodes is heard');
      expect(await sim.call('server1', 'force', { ...force, confirmed: again.confirms })).toMatchObject({ inService: true });
    });
  });
});

describe('resolve', () => {
  it('is refused where another node is in service than the one whose data was to be kept', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const other = { tag: 't', victim: 'server2', kept: 'server2' };
      for (const n of LAST_OWNER_DOWN)
        await sim.refuses(n, 'resolve', other, 'unconfirmed', /server1 has t in service now, and it was confirmed that the data of server2 is kept/);
      await sim.refuses('server1', 'resolve', { ...other, kept: 'server1' }, 'refused', /no split brain/);
    });
  });
});

describe('what is shown of another node', () => {
  it('is what it says now, and not its last heartbeat', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const serves = async (): Promise<string> => {
        const { lines } = await sim.call('server2', 'preview', { tag: 't', action: 'force', nodes: [], source: null });
        return lines.find((l) => l.startsWith('server1: ')) ?? '';
      };
      expect(await serves()).toMatch(/^server1: Source,/);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      expect(await serves()).toMatch(/^server1: Waiting,/);
      expect((await sim.call('server2', 'preview', { tag: 't', action: 'delete', nodes: [], source: null })).refused).toBeNull();
      await sim.call('server1', 'in-service', { tag: 't' });
      expect((await sim.call('server2', 'explain', { tag: 't', whatIf: 'force --without-last-owner' })).decision).toMatchObject({
        action: 'refuse',
        why: 'server1 is in service',
      });
    });
  });
});
