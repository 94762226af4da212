import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { inherit, syncInherited } from '../../../src/failover/inherited.ts';
import { Errno } from '../../../src/io/types.ts';
import { settle } from '../../support/manual-clock.ts';
import { Rig } from '../mirror/rig.ts';

const REGIONS = 16;

function map(...set: number[]): DirtyBitmap {
  const m = new DirtyBitmap(REGIONS);
  for (const r of set) m.set(r);
  return m;
}

const list = (m: DirtyBitmap | undefined): number[] =>
  m === undefined ? [] : [...m.runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));

describe('what a node has not synced when it goes in service', () => {
  it('is put under intent, beside what is there', () => {
    const intent = map(1);
    expect(list(inherit(intent, map(2, 3), map()))).toEqual([2, 3]);
    expect(list(intent)).toEqual([1, 2, 3]);
  });

  it('is nothing when all was synced, or there was no session', () => {
    const intent = map(1);
    expect(inherit(intent, map(), map())).toBeUndefined();
    expect(inherit(intent, undefined, map())).toBeUndefined();
    expect(list(intent)).toEqual([1]);
  });

  async function inService(): Promise<{ rig: Rig; inherited: DirtyBitmap }> {
    const rig = await Rig.make();
    const inherited = map(2, 3);
    rig.marks.intent.addAll(inherited);
    return { rig, inherited };
  }

  it('keeps its marks until a sync of the own leg has ended well', async () => {
    const { rig, inherited } = await inService();
    const synced = syncInherited(rig.device, inherited);
    await settle();
    expect(rig.intent()).toEqual([2, 3]);
    rig.end('own', 'sync');
    await synced;
    expect(rig.intent()).toEqual([]);
  });

  it('keeps them for the next life when that sync fails, and no sync is trusted from then on (M3)', async () => {
    const { rig, inherited } = await inService();
    const synced = syncInherited(rig.device, inherited);
    await settle();
    rig.end('own', 'sync', Errno.EIO);
    await synced;
    expect(rig.intent()).toEqual([2, 3]);
    expect(rig.local.syncFailed).toBe(true);
  });

  it('keeps them as well when another sync has failed meanwhile', async () => {
    const { rig, inherited } = await inService();
    const synced = syncInherited(rig.device, inherited);
    await settle();
    rig.local.syncFailed = true;
    rig.end('own', 'sync');
    await synced;
    expect(rig.intent()).toEqual([2, 3]);
  });
});
