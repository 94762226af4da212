import { describe, expect, it } from 'vitest';
import { MIB, REGION, Sim } from './sim.ts';

const LEG = '/leg';
const BITMAP = '/var/bitmap_t*';

/** In service on server1 with this byte all over; a disk with the same for server2. */
async function alike(sim: Sim, byte: number): Promise<void> {
  await sim.call('server1', 'create', sim.createParams({ zeroed: false }));
  await sim.call('server1', 'in-service', { tag: 't' });
  await sim.write('server1', 0, MIB, byte);
  sim.world.node('server2').createFile(LEG, MIB);
  const f = await sim.world.client('server2').files.open(LEG, { write: true });
  await f.write(new Uint8Array(MIB).fill(byte), 0);
  await f.sync();
  await f.close();
}

/** Without a mark: the next write waits for the bitmap file. */
async function quiet(sim: Sim): Promise<void> {
  const { marks } = sim.daemon('server1').mirrors.get('t')?.source ?? {};
  await sim.until('no mark is left', () => marks?.intent.markedRegions === 0);
}

/** A write that gets no further than these files of server1 until they are mended. */
async function inHand(sim: Sim, held: string): Promise<{ written: Promise<void> }> {
  const c = await sim.client('server1');
  sim.world.node('server1').stall(held);
  const written = c.writeBytes(3 * REGION, new Uint8Array(512).fill(9));
  const { marks } = sim.daemon('server1').mirrors.get('t')?.source ?? {};
  await sim.until('it is in hand', () => marks?.intent.pendingRegions === 1);
  return { written };
}

/** It was copied, no more than that, and the legs are alike. */
async function gotJustThat(sim: Sim): Promise<void> {
  await sim.inSync('server1', 'server2');
  expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'partial', bytes: REGION });
  expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
}

describe('what was in hand when a target was taken as identical', () => {
  it.each([
    ['waits for the bitmap file', BITMAP],
    ['is on its way to the own leg', LEG],
  ])('%s: a target that is added then (LKDR_NO_FULL_SYNC) gets it (M5, M6)', async (_where, held) => {
    await Sim.run({ tunables: { noFullSync: true }, settings: { keepIdleMs: 0 } }, async (sim) => {
      await alike(sim, 8);
      await quiet(sim);
      const { written } = await inHand(sim, held);
      const extended = sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.world.sleep(1000);
      sim.world.node('server1').repairDisk();
      await extended;
      await written;
      await gotJustThat(sim);
    });
  });

  it('is copied to a target of zeroes, like the source, that is added then', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      const { written } = await inHand(sim, BITMAP);
      const extended = sim.call('server1', 'extend', sim.extendParams('server2', 10));
      await sim.world.sleep(1000);
      sim.world.node('server1').repairDisk();
      await extended;
      await written;
      await gotJustThat(sim);
    });
  });

  it('stays marked for a target whose marks an operator clears (M5)', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      const { written } = await inHand(sim, LEG);
      await sim.call('server1', 'clear-bitmap', { tag: 't', node: 'server2' });
      const resumed = sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
      await sim.world.sleep(1000);
      sim.world.node('server1').repairDisk();
      await resumed;
      await written;
      await gotJustThat(sim);
    });
  });
});
