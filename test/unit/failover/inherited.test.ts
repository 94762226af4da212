import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { syncInherited } from '../../../src/failover/inherited.ts';
import { Errno } from '../../../src/io/types.ts';
import { settle } from '../../support/manual-clock.ts';
import { Rig } from '../mirror/rig.ts';

const REGIONS = 16;

interface InService {
  rig: Rig;
  /** What `syncInherited` said of it: synced or nothing. */
  said: string[];
  ended: Promise<void>;
}

/** A node that goes in service with regions 2 and 3 under intent from before. */
async function inService(): Promise<InService> {
  const rig = await Rig.make();
  const inherited = new DirtyBitmap(REGIONS);
  inherited.setRange(2, 3);
  rig.marks.intent.addAll(inherited);
  const said: string[] = [];
  const ended = syncInherited(rig.device, inherited, () => said.push('synced'));
  await settle();
  return { rig, said, ended };
}

describe('what a node has not synced when it goes in service', () => {
  it('keeps its marks until a sync of the own leg has ended well', async () => {
    const { rig, said, ended } = await inService();
    expect(rig.intent()).toEqual([2, 3]);
    rig.end('own', 'sync');
    await ended;
    expect(rig.intent()).toEqual([]);
    expect(said).toEqual(['synced']);
  });

  it('keeps them for the next life when that sync fails, and no sync is trusted from then on (M3)', async () => {
    const { rig, said, ended } = await inService();
    rig.end('own', 'sync', Errno.EIO);
    await ended;
    expect(rig.intent()).toEqual([2, 3]);
    expect(rig.local.syncFailed).toBe(true);
    expect(said).toEqual([]);
  });

  it('keeps them as well when another sync has failed meanwhile', async () => {
    const { rig, said, ended } = await inService();
    rig.local.syncFailed = true;
    rig.end('own', 'sync');
    await ended;
    expect(rig.intent()).toEqual([2, 3]);
    expect(said).toEqual([]);
  });

  it('keeps them as well when the own leg has left meanwhile: nobody knows what that sync was worth', async () => {
    const { rig, said, ended } = await inService();
    rig.local.state = 'out';
    rig.end('own', 'sync');
    await ended;
    expect(rig.intent()).toEqual([2, 3]);
    expect(said).toEqual([]);
  });

  it('is told of a failure that comes after the device has stopped', async () => {
    const { rig, ended } = await inService();
    rig.device.stop(Errno.ESHUTDOWN);
    rig.end('own', 'sync', Errno.EIO);
    await ended;
    expect(rig.local.syncFailed).toBe(true);
  });
});
