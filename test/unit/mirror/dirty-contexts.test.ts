import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { dirtyExtents } from '../../../src/mirror/dirty-contexts.ts';
import { MirrorExport } from '../../../src/mirror/mirror-export.ts';
import type { MetaContext } from '../../../src/nbd/device.ts';
import { REGION, Rig } from './rig.ts';

function bitmap(regions: number, set: readonly number[]): DirtyBitmap {
  const map = new DirtyBitmap(regions);
  for (const r of set) map.set(r);
  return map;
}

describe('extents of maps', () => {
  it('say for each byte whether any of them has its region, up to the end of request and device', () => {
    const regions = new RegionMap({ deviceBytes: 20 * 4096 - 512, regionBytes: 4096 });
    const set = fc.uniqueArray(fc.nat(19), { maxLength: 20 });
    fc.assert(
      fc.property(set, set, fc.nat(20 * 8 - 2), fc.integer({ min: 1, max: 200 }), (a, b, at, sectors) => {
        const offset = at * 512;
        const length = Math.min(sectors * 512, regions.deviceBytes - offset);
        const extents = [...dirtyExtents([bitmap(20, a), bitmap(20, b)], regions, offset, length)];
        expect(extents.reduce((n, e) => n + e.length, 0)).toBe(length);
        let from = offset;
        for (const e of extents) {
          expect(e.length).toBeGreaterThan(0);
          for (let r = regions.regionOf(from); r <= regions.regionOf(from + e.length - 1); r += 1)
            expect(a.includes(r) || b.includes(r)).toBe(e.flags === 1);
          from += e.length;
        }
      }),
    );
  });

  it('of a map without a mark are one', () => {
    const regions = new RegionMap({ deviceBytes: 2 ** 40, regionBytes: 262_144 });
    expect([...dirtyExtents([new DirtyBitmap(regions.regionCount)], regions, 0, 2 ** 40)]).toEqual([{ length: 2 ** 40, flags: 0 }]);
  });
});

async function exported(): Promise<{
  rig: Rig;
  e: MirrorExport;
  context: (name: string) => MetaContext | undefined;
  dirty: (c: MetaContext | undefined) => number[] | undefined;
}> {
  const rig = await Rig.inSync({ targets: { b: 'sync' } });
  const e = new MirrorExport(rig.device, 'a mirror');
  return {
    rig,
    e,
    context: (name) => e.metaContexts().find((c) => c.name === name),
    dirty: (c) => {
      const extents = c?.extents(0, rig.sizeBytes);
      if (extents === undefined) return undefined;
      const out: number[] = [];
      let at = 0;
      for (const x of extents) {
        if (x.flags === 1) for (let r = at / REGION; r < (at + x.length) / REGION; r += 1) out.push(r);
        at += x.length;
      }
      return out;
    },
  };
}

function make(rig: Rig, e: MirrorExport, name: string): void {
  rig.marks.addCheckpoint(name);
  e.contexts.offer(name);
}

describe('the export of a source', () => {
  it('shows where a target may differ: out of sync for it, or under intent', async () => {
    const { rig, context, dirty } = await exported();
    rig.marks.markOutOfSync('b', 7, 8);
    rig.write(REGION, 512, 1);
    expect(dirty(context('netraid:dirty:b'))).toEqual([1, 7, 8]);
    expect(context('netraid:dirty:c')).toBeUndefined();
  });

  it('shows of a checkpoint what was being written when it was made, and all that was written since', async () => {
    const { rig, e, context, dirty } = await exported();
    rig.write(0, 512, 1);
    rig.write(2 * REGION, 512, 1);
    await rig.endAll();
    rig.flush();
    await rig.endAll();
    rig.write(3 * REGION, 512, 1);
    make(rig, e, 'monday');
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toEqual([3]);
    rig.write(0, 512, 2);
    rig.zero(5 * REGION, REGION + 512);
    rig.trim(9 * REGION, 512);
    await rig.endAll();
    rig.flush();
    await rig.endAll();
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toEqual([0, 3, 5, 6, 9]);
  });

  it('counts what was answered and not synced when a checkpoint was made as written since: a failure may take it back', async () => {
    const { rig, e, context, dirty } = await exported();
    rig.write(4 * REGION, 512, 1);
    await rig.endAll();
    make(rig, e, 'monday');
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toEqual([4]);
  });

  it('says nothing of a checkpoint that is gone, also not by one of the same name', async () => {
    const { rig, e, context, dirty } = await exported();
    make(rig, e, 'monday');
    const old = context('qemu:dirty-bitmap:monday');
    e.contexts.withdraw('monday');
    rig.marks.dropCheckpoint('monday');
    expect(context('qemu:dirty-bitmap:monday')).toBeUndefined();
    expect(dirty(old)).toBeUndefined();
    make(rig, e, 'monday');
    expect(dirty(old)).toBeUndefined();
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toEqual([]);
  });

  it('says nothing of checkpoints once the own leg is out, and nothing at all once it has stopped', async () => {
    const { rig, e, context, dirty } = await exported();
    make(rig, e, 'monday');
    const [c, t] = [context('qemu:dirty-bitmap:monday'), context('netraid:dirty:b')];
    rig.local.state = 'out';
    expect([dirty(c), dirty(t), context('qemu:dirty-bitmap:monday'), e.contexts.freeze()]).toEqual([undefined, [], undefined, []]);
    rig.local.state = 'in';
    rig.device.stop(108);
    expect([dirty(c), dirty(t)]).toEqual([undefined, undefined]);
  });

  it('calls all of it dirty while it may tell nothing (M9)', async () => {
    const { rig, e, context, dirty } = await exported();
    make(rig, e, 'monday');
    rig.device.suspend('claim');
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toHaveLength(16);
    rig.device.unsuspend('claim');
    expect(dirty(context('qemu:dirty-bitmap:monday'))).toEqual([]);
  });
});

describe('frozen checkpoints', () => {
  it('stay as they are, and have all that was in hand at whatever stage of its way', async () => {
    const { rig, e, dirty } = await exported();
    make(rig, e, 'monday');
    rig.write(0, 512, 1);
    await rig.endAll();
    // One that waits for its mark to be durable, and one behind it that waits for the range, and has no mark yet.
    rig.write(2 * REGION, 512, 1);
    rig.write(2 * REGION, 2 * REGION, 2);
    expect(rig.intent()).not.toContain(3);
    const [frozen] = e.contexts.freeze();
    expect(frozen?.name).toBe('qemu:dirty-bitmap:monday');
    rig.write(8 * REGION, 512, 3);
    await rig.endAll();
    e.contexts.withdraw('monday');
    rig.marks.dropCheckpoint('monday');
    expect(dirty(frozen)).toEqual([0, 2, 3]);
  });
});
