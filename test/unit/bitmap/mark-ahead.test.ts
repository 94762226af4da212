import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { IntentLog } from '../../../src/bitmap/intent-log.ts';
import { MarkAhead } from '../../../src/bitmap/mark-ahead.ts';

const REGIONS = 4096;

function newLog(o: { regions?: number; markedMax?: number; aheadMax?: number } = {}): { log: IntentLog; marks: DirtyBitmap } {
  const marks = new DirtyBitmap(o.regions ?? REGIONS);
  return { marks, log: new IntentLog(marks, { markedMax: o.markedMax ?? 16384, aheadMax: o.aheadMax ?? 16 }) };
}

/** One write, and the flush that it needs; true: it needed one. */
function write(log: IntentLog, region: number): boolean {
  const flushed = log.begin(region, region);
  if (flushed) log.flushDone(log.flushStarting());
  expect(log.isDurable(region, region)).toBe(true);
  log.end(region, region);
  return flushed;
}

/** Every region once, in an order without neighbours. */
function* scattered(count: number, regions = REGIONS): Generator<number> {
  for (let i = 0; i < count; i += 1) yield (i * 1597) % regions;
}

function flushesOf(log: IntentLog, regions: Iterable<number>): number {
  let flushes = 0;
  for (const r of regions) if (write(log, r)) flushes += 1;
  return flushes;
}

describe('marks ahead', () => {
  it('make a working set of 4096 regions cost some hundred flushes, in whatever order it is written', () => {
    const { log, marks } = newLog();
    expect(flushesOf(log, scattered(REGIONS))).toBeLessThan(400);
    expect(marks.count).toBe(REGIONS);
    expect(flushesOf(log, scattered(REGIONS))).toBe(0);
    expect(flushesOf(newLog({ aheadMax: 1 }).log, scattered(REGIONS))).toBe(REGIONS);
  });

  it('are left out for a few regions', () => {
    const { log, marks } = newLog();
    expect(flushesOf(log, scattered(31))).toBe(31);
    expect(marks.count).toBe(31);
  });

  it('end where the device does, and at the limit of marks', () => {
    const small = newLog({ regions: 67 });
    flushesOf(small.log, scattered(67, 67));
    expect(small.marks.count).toBe(67);
    const { log, marks } = newLog({ markedMax: 400 });
    for (const r of scattered(150)) log.begin(r, r);
    expect(marks.count).toBeGreaterThanOrEqual(200);
    for (const r of scattered(200)) log.begin(r, r);
    expect(log.pressure).toBe(false);
    expect(marks.count).toBeLessThanOrEqual(400);
  });

  it('are no data: not under way, nothing that a leg may lack, and gone first', () => {
    const { log, marks } = newLog();
    const written = [...scattered(300)];
    flushesOf(log, written);
    expect(marks.count).toBeGreaterThan(1000);
    expect(log.pending().count).toBe(0);
    const lacks = log.unproven();
    expect(lacks.count).toBe(300);
    expect(written.every((r) => lacks.get(r))).toBe(true);
    // No sync has proven a write: all that can go are marks ahead.
    log.collect({ keepMax: 0 });
    expect(marks.count).toBe(300);
    expect(written.every((r) => marks.get(r))).toBe(true);
    log.proven(log.seal());
    log.collect({ keepMax: 0 });
    expect(marks.count).toBe(0);
  });

  it('that are collected leave what comes after them to be marked again (M1)', () => {
    const { log, marks } = newLog();
    flushesOf(log, scattered(300));
    const ahead = Array.from({ length: REGIONS }, (_, r) => r).filter((r) => marks.get(r) && !log.unproven().get(r));
    const [first, second] = ahead;
    if (first === undefined || second === undefined) throw new Error('nothing was marked ahead');
    expect(log.begin(first, first)).toBe(false);
    log.collect({ keepMax: 0 });
    expect([marks.get(first), marks.get(second)]).toEqual([true, false]);
    expect(log.begin(second, second)).toBe(true);
  });

  it('are given up over a device that is larger than what may be marked', () => {
    const regions = 2 ** 20;
    const { log } = newLog({ regions, markedMax: 2048 });
    let flushes = 0;
    for (const r of scattered(100_000, regions)) {
      if (write(log, r)) flushes += 1;
      if (log.pressure) {
        log.proven(log.seal());
        log.collect({ keepMax: 1024 });
      }
    }
    expect(flushes).toBeGreaterThan(90_000);
    const before = log.markedRegions;
    write(log, 3);
    expect(log.markedRegions).toBe(before + 1);
  });

  it('never let a write pass whose region is not on disk, whatever comes', () => {
    const step = fc.record({ kind: fc.constantFrom('write', 'write', 'write', 'fail', 'prove', 'collect'), region: fc.nat(255) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 100, maxLength: 300 }), (steps) => {
        const { log, marks } = newLog({ regions: 256, markedMax: 64, aheadMax: 8 });
        /** As a crash now would leave it: the clears of `collect` may be there at any time. */
        let disk = marks.clone();
        for (const { kind, region } of steps) {
          if (kind === 'prove') log.proven(log.seal());
          else if (kind === 'collect') {
            log.collect({ keepMax: region % 32 });
            disk = and(disk, marks);
          } else {
            const token = log.begin(region, region) ? log.flushStarting() : undefined;
            if (token !== undefined && kind === 'fail') log.flushFailed(token);
            else {
              if (token !== undefined) {
                disk = marks.clone();
                log.flushDone(token);
              }
              expect(disk.get(region)).toBe(true);
            }
            log.end(region, region);
          }
        }
      }),
    );
  });
});

function and(a: DirtyBitmap, b: DirtyBitmap): DirtyBitmap {
  const not = a.clone();
  not.andNot(b);
  const both = a.clone();
  both.andNot(not);
  return both;
}

describe('the size of a group', () => {
  it('doubles after 32 writes that need a flush, up to its limit', () => {
    const a = new MarkAhead(4);
    expect(Array.from({ length: 31 }, () => a.missed())).toEqual(new Array(31).fill(1));
    expect(Array.from({ length: 32 }, () => a.missed())).toEqual(new Array(32).fill(2));
    expect(Array.from({ length: 100 }, () => a.missed())).toEqual(new Array(100).fill(4));
  });

  it('is halved when more marks were in vain than used, and takes eight times as long to double again', () => {
    const a = new MarkAhead(16);
    for (let i = 0; i < 64; i += 1) a.missed();
    expect(a.missed()).toBe(4);
    for (let i = 0; i < 10; i += 1) a.used();
    for (let i = 0; i < 73; i += 1) a.unused();
    expect(a.missed()).toBe(4);
    a.unused();
    expect(a.missed()).toBe(2);
    for (let i = 0; i < 254; i += 1) expect(a.missed()).toBe(2);
    expect(a.missed()).toBe(4);
  });

  it('has a limit that is a power of two', () => {
    for (const max of [0, 3, 1.5]) expect(() => new MarkAhead(max)).toThrow(RangeError);
  });
});
