import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { addWithin, Unsynced } from '../../../src/mirror/unsynced.ts';

const REGION = 4096;
const regions = (count: number): RegionMap => new RegionMap({ deviceBytes: count * REGION, regionBytes: REGION });
const list = (map: DirtyBitmap): number[] => [...map.runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));

describe('what a leg has not synced', () => {
  test('is what was changed since the last good sync began', () => {
    const u = new Unsynced(regions(8));
    u.changed(0, 1);
    u.changed(REGION * 2 - 1, 2);
    u.changed(REGION * 7, 0);
    u.syncBegins();
    u.changed(REGION * 5, REGION);
    expect(list(u.regions())).toEqual([0, 1, 2, 5]);
    u.syncEnds(true);
    expect(list(u.regions())).toEqual([5]);
  });

  test('takes over what nobody told it of, before each sync and before each account', () => {
    const u = new Unsynced(regions(8));
    u.touched.touch(REGION, 1);
    expect(list(u.regions())).toEqual([1]);
    u.touched.touch(REGION * 2, 1);
    u.syncBegins();
    // One that was under way when the sync began leaves its bit once more.
    u.touched.touch(REGION * 2, 1);
    u.touched.touch(REGION * 6, 1);
    u.syncEnds(true);
    expect(list(u.regions())).toEqual([2, 6]);
    u.touched.touch(REGION * 7, 1);
    u.failed();
    expect(list(new Unsynced(regions(8), u).regions())).toEqual([2, 6, 7]);
  });

  test('stays, whatever syncs end well, from a failed one until all was written again', () => {
    const u = new Unsynced(regions(8));
    u.changed(0, 1);
    u.syncBegins();
    u.syncEnds(false);
    u.changed(REGION, 1);
    u.syncBegins();
    u.syncEnds(true);
    expect(list(u.regions())).toEqual([0, 1]);
    const next = new Unsynced(regions(8), u);
    next.syncBegins();
    next.syncEnds(true);
    expect(list(next.regions())).toEqual([0, 1]);
    next.rewritten();
    next.syncBegins();
    next.syncEnds(true);
    expect(list(next.regions())).toEqual([]);
  });

  test('of an earlier session without a failure goes with a good sync of the next', () => {
    const before = new Unsynced(regions(8));
    before.changed(REGION * 3, REGION);
    const u = new Unsynced(regions(8), before);
    expect(list(u.regions())).toEqual([3]);
    u.syncBegins();
    u.syncEnds(true);
    expect(list(u.regions())).toEqual([]);
  });

  test('is kept when the leg grows', () => {
    const u = new Unsynced(regions(8));
    u.changed(REGION * 3, REGION);
    u.grow(16 * REGION);
    u.changed(REGION * 15, REGION);
    expect(list(u.regions())).toEqual([3, 15]);
  });

  test('is never less than a plain account says, however changes and syncs overlap', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('begin' as const), region: fc.nat(7) }),
      fc.record({ kind: fc.constantFrom('end' as const, 'sync' as const, 'good' as const), region: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const u = new Unsynced(regions(8));
        // Of each region: the moments at which its changes ended; of each sync: the moment at which it began.
        const ended = new Map<number, number>();
        const changing: { region: number; syncs: number }[] = [];
        const syncs: number[] = [];
        let synced = -1;
        let begun = 0;
        steps.forEach((s, now) => {
          if (s.kind === 'begin') {
            u.changed(s.region * REGION, 1);
            changing.push({ region: s.region, syncs: begun });
          } else if (s.kind === 'end') {
            const c = changing.shift();
            if (c === undefined) return;
            if (c.syncs !== begun) u.changed(c.region * REGION, 1);
            ended.set(c.region, now);
          } else if (s.kind === 'sync') {
            u.syncBegins();
            syncs.push(now);
            begun += 1;
          } else {
            const at = syncs.shift();
            if (at === undefined) return;
            u.syncEnds(true);
            synced = Math.max(synced, at);
          }
        });
        const named = new Set(list(u.regions()));
        for (const c of changing) expect(named.has(c.region) || c.syncs !== begun).toBe(true);
        for (const [region, at] of ended) if (at > synced) expect(named.has(region)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });
});

test('a map takes over what lies within it', () => {
  const small = new DirtyBitmap(4);
  const large = new DirtyBitmap(8);
  large.setRange(2, 6);
  addWithin(small, large);
  expect(list(small)).toEqual([2, 3]);
});
