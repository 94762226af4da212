import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, REGION, Sim } from './sim.ts';

const SLOW = { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: 128 * 1024 };
const THREE = ['server1', 'server2', 'server3'];

/** In sync on the first two; the third is added, and is gone before it has any part in the mirror. */
async function addedAndGone(sim: Sim): Promise<void> {
  await sim.call('server1', 'create', sim.createParams());
  await sim.call('server1', 'in-service', { tag: 't' });
  await sim.call('server1', 'extend', sim.extendParams('server2', 10));
  await sim.inSync('server1', 'server2');
  await sim.call('server1', 'extend', sim.extendParams('server3', 20, { zeroed: false }));
  sim.crash('server3');
  expect(await sim.targetState('server1', 'server3')).not.toBe('Target');
}

const inService = (sim: Sim, node: string): Promise<void> =>
  sim.until(`${node} is in service`, () => sim.daemon(node).mirrors.get('t')?.source?.serving === true);

describe('the word that a node holds the same already', () => {
  it('counts for the source that it was given to, and is nothing that another one knows of (LKDR_NO_FULL_SYNC, M5)', async () => {
    await Sim.run({ nodes: THREE, tunables: { noFullSync: true } }, async (sim) => {
      await addedAndGone(sim);
      await sim.write('server1', 0, 4 * REGION, 7);
      sim.crash('server1');
      await inService(sim, 'server2');
      await sim.start('server3');
      await sim.inSync('server2', 'server3');
      expect(sim.legsDiffer('server2', 'server3')).toBe(-1);
    });
  });

  it('saves the first copy, where its source has been in service all the time', async () => {
    await Sim.run({ nodes: THREE, tunables: { noFullSync: true } }, async (sim) => {
      await addedAndGone(sim);
      await sim.write('server1', 0, 4 * REGION, 7);
      await sim.start('server3');
      await sim.inSync('server1', 'server3');
      const t = (await sim.status('server1')).targets.find((x) => x.node === 'server3');
      expect(t?.lastResync?.bytes).toBeLessThanOrEqual(6 * REGION);
      expect(sim.legsDiffer('server1', 'server3')).toBe(-1);
    });
  });

  it('is void once another source has copied there (bitmap -c, M7)', async () => {
    await Sim.run({ nodes: THREE, settings: { resync: SLOW } }, async (sim) => {
      await addedAndGone(sim);
      await sim.start('server3');
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      await sim.until('it is out', async () => (await sim.targetState('server1', 'server3')) === 'Paused');
      await sim.call('server1', 'clear-bitmap', { tag: 't', node: 'server3' });
      sim.crash('server1');
      await inService(sim, 'server2');
      await sim.write('server2', 0, MIB, 9);
      await sim.call('server2', 'resume', { tag: 't', nodes: ['server3'] });
      await sim.until('some of it is copied', () => (sim.world.node('server3').peek('/leg') ?? new Uint8Array(0)).some((b) => b === 9));
      expect(await sim.targetState('server2', 'server3')).not.toBe('Target');
      sim.crash('server2');
      await sim.start('server1');
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: false });
      await sim.call('server1', 'resume', { tag: 't', nodes: ['server3'] });
      await sim.inSync('server1', 'server3');
      expect(sim.legsDiffer('server1', 'server3')).toBe(-1);
    });
  });
});
