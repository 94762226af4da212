import { describe, expect, it } from 'vitest';
import { Sim } from './sim.ts';

const heldBy = (sim: Sim): readonly string[] => sim.daemon('server1').mirrors.get('t')?.source?.device.suspension?.reasons ?? [];

/** server2 claims, and can not go on with that. */
function noRoomAfterClaim(sim: Sim): void {
  const mirror = sim.daemon('server2').mirrors.get('t');
  if (mirror === undefined) throw new Error('server2 has no mirror');
  const update = mirror.store.update.bind(mirror.store);
  mirror.store.update = async (f) => {
    await update(f);
    if (mirror.record().claim !== null) sim.world.node('server2').full('/var/*');
  };
}

describe('a claim that holds a source back', () => {
  it('is lost with the mirror of the node that claims, although its daemon runs: the source answers again, and the node is replaced', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 7);
      noRoomAfterClaim(sim);
      sim.world.cut('server1', 'server2');
      await sim.until('server2 claims', () => (sim.daemon('server2').mirrors.get('t')?.record().claim ?? null) !== null);
      sim.world.healAll();
      await sim.until('server1 is held back', () => heldBy(sim).includes('claim'));
      sim.crash('server2');
      const f = await sim.world.client('server2').files.open('/var/state_t', { write: true });
      await f.write(new Uint8Array([0x21]), 200);
      await f.sync();
      await f.close();
      await sim.start('server2');
      sim.world.node('server2').repairDisk();
      expect(heldBy(sim)).toContain('claim');
      expect(await sim.call('server2', 'delete', { tag: 't' })).toEqual({ forgotten: ['server2'], unreached: [] });
      await sim.until('server1 answers', () => heldBy(sim).length === 0, 10_000);
      await sim.write('server1', 4096, 4096, 8);
      await sim.call('server1', 'replace', { tag: 't', node: 'server2', leg: '/leg' });
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
