import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap, WINDOW_REGIONS } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionMap, RegionRangeError } from '../../../src/bitmap/regions.ts';

/** Three pages, the last one short and not a multiple of eight. */
const REGIONS = 2 * 32768 + 1003;

function bitsOf(b: DirtyBitmap): number[] {
  const out: number[] = [];
  for (const run of b.runs()) for (let i = 0; i < run.length; i += 1) out.push(run.first + i);
  return out;
}

function modelRuns(model: Uint8Array): { first: number; length: number }[] {
  const out: { first: number; length: number }[] = [];
  for (let i = 0; i < model.length; i += 1) {
    if (model[i] === 0) continue;
    const last = out[out.length - 1];
    if (last !== undefined && last.first + last.length === i) last.length += 1;
    else out.push({ first: i, length: 1 });
  }
  return out;
}

/** Regions near the edges of words, windows, pages and the map are likelier. */
const region = fc.oneof(
  fc.integer({ min: 0, max: REGIONS - 1 }),
  fc.constantFrom(0, 1, 31, 32, 511, 512, 32766, 32767, 32768, 32769, 65535, 65536, REGIONS - 2, REGIONS - 1),
);
const command = fc.oneof(
  fc.record({ kind: fc.constantFrom('set', 'clear'), first: region, last: region }),
  fc.record({ kind: fc.constantFrom('setRange', 'clearRange', 'or', 'andNot'), first: region, last: region }),
  fc.record({ kind: fc.constantFrom('setAll', 'clearAll'), first: region, last: region }),
);

function windowBytes(m: DirtyBitmap, window: number): Buffer {
  const bytes = Buffer.alloc(64, 0xff);
  return bytes.subarray(0, m.copyWindow(window, bytes, 0));
}

describe('dirty bitmap', () => {
  it('equals a plain array under random commands', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 20 }), (commands) => {
        const map = new DirtyBitmap(REGIONS);
        const model = new Uint8Array(REGIONS);
        const fill = (first: number, last: number, bit: 0 | 1): number => {
          let changed = 0;
          for (let i = first; i <= last; i += 1) if (model[i] !== bit) changed += 1;
          model.fill(bit, first, last + 1);
          return changed;
        };
        for (const c of commands) {
          const first = Math.min(c.first, c.last);
          const last = Math.max(c.first, c.last);
          const other = new DirtyBitmap(REGIONS);
          other.setRange(first, last);
          const version = map.version;
          let got: number;
          let want: number;
          switch (c.kind) {
            case 'set':
              got = Number(map.set(c.first));
              want = fill(c.first, c.first, 1);
              break;
            case 'clear':
              got = Number(map.clear(c.first));
              want = fill(c.first, c.first, 0);
              break;
            case 'setRange':
            case 'or':
              got = c.kind === 'or' ? map.or(other) : map.setRange(first, last);
              want = fill(first, last, 1);
              break;
            case 'clearRange':
            case 'andNot':
              got = c.kind === 'andNot' ? map.andNot(other) : map.clearRange(first, last);
              want = fill(first, last, 0);
              break;
            case 'setAll':
              got = map.setAll();
              want = fill(0, REGIONS - 1, 1);
              break;
            default:
              got = map.clearAll();
              want = fill(0, REGIONS - 1, 0);
          }
          expect(got).toBe(want);
          expect(map.version !== version).toBe(want > 0);
          expect(map.get(c.last)).toBe(model[c.last] === 1);
          expect(map.coversRange(first, last)).toBe(model.subarray(first, last + 1).every((b) => b === 1));
          const runs = modelRuns(model);
          expect([...map.runs()]).toEqual(runs);
          expect(map.count).toBe(runs.reduce((n, r) => n + r.length, 0));
        }
        const copy = map.clone();
        expect(copy.equals(map)).toBe(true);
        if (copy.get(0)) copy.clear(0);
        else copy.set(0);
        expect(copy.equals(map)).toBe(false);
        expect([...map.runs()]).toEqual(modelRuns(model));
      }),
      { numRuns: 60 },
    );
  });

  it('combines maps as sets combine', () => {
    const sets = fc.uniqueArray(region, { maxLength: 60 });
    fc.assert(
      fc.property(sets, sets, (a, b) => {
        const make = (bits: number[]): DirtyBitmap => {
          const m = new DirtyBitmap(REGIONS);
          for (const i of bits) m.set(i);
          return m;
        };
        const union = make(a);
        expect(union.or(make(b))).toBe(b.filter((i) => !a.includes(i)).length);
        expect(bitsOf(union)).toEqual([...new Set([...a, ...b])].sort((x, y) => x - y));
        const rest = make(a);
        expect(rest.andNot(make(b))).toBe(a.filter((i) => b.includes(i)).length);
        expect(bitsOf(rest)).toEqual(a.filter((i) => !b.includes(i)).sort((x, y) => x - y));
      }),
    );
  });

  it('finds the next run from any place, cut to a length and an end', () => {
    const m = new DirtyBitmap(REGIONS);
    m.setRange(100, 199);
    m.setRange(32000, 40000);
    expect(m.nextDirtyRun(0)).toEqual({ first: 100, length: 100 });
    expect(m.nextDirtyRun(150)).toEqual({ first: 150, length: 50 });
    expect(m.nextDirtyRun(150, 7)).toEqual({ first: 150, length: 7 });
    expect(m.nextDirtyRun(200)).toEqual({ first: 32000, length: 8001 });
    expect(m.nextDirtyRun(200, 100, 32010)).toEqual({ first: 32000, length: 10 });
    expect(m.nextDirtyRun(200, 100, 32000)).toBeUndefined();
    expect(m.nextDirtyRun(40001)).toBeUndefined();
    expect(m.nextDirtyRun(REGIONS)).toBeUndefined();
  });

  it('counts bytes, and the short last region as what it is', () => {
    const regions = new RegionMap({ deviceBytes: 10000, regionBytes: 4096 });
    const m = new DirtyBitmap(3);
    m.set(0);
    expect(m.dirtyBytes(regions)).toBe(4096);
    m.set(2);
    expect(m.dirtyBytes(regions)).toBe(4096 + 1808);
    expect(() => new DirtyBitmap(4).dirtyBytes(regions)).toThrow(RegionRangeError);
  });

  it('finds the next set bit and the next clear one, empties itself, and says of single bits whether they changed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(99_999), fc.nat(40_000), fc.boolean())), fc.nat(100_000), fc.nat(100_000), (ranges, a, b) => {
        const m = new DirtyBitmap(100_000, { trackChanges: true });
        const bits = new Uint8Array(100_000);
        for (const [first, more, one] of ranges) {
          const last = one ? first : Math.min(first + more, 99_999);
          const set = more % 3 !== 0;
          if (one) expect(set ? m.set(first) : m.clear(first)).toBe((bits[first] === 1) !== set);
          else if (set) m.setRange(first, last);
          else m.clearRange(first, last);
          bits.fill(set ? 1 : 0, first, last + 1);
        }
        const [from, end] = a < b ? [a, b] : [b, a];
        const next = (bit: number): number => {
          const at = bits.subarray(from, end).indexOf(bit);
          return at < 0 ? end : from + at;
        };
        expect([m.nextSet(from, end), m.nextClear(from, end)]).toEqual([next(1), next(0)]);
        const count = bits.reduce((n, bit) => n + bit, 0);
        m.takeChanges();
        expect([m.count, m.clearAll(), m.count, m.hasChanges, m.nextSet(0)]).toEqual([count, count, 0, count > 0, 100_000]);
        expect(m.equals(new DirtyBitmap(100_000))).toBe(true);
        // What it gives back is clean for others.
        const other = new DirtyBitmap(100_000);
        other.set(70_000);
        expect(bitsOf(other)).toEqual([70_000]);
      }),
      { numRuns: 60 },
    );
    expect(() => new DirtyBitmap(10).nextSet(0, 11)).toThrow(RegionRangeError);
    expect(() => new DirtyBitmap(10).nextClear(-1)).toThrow(RegionRangeError);
  });

  it('remembers which windows changed, and only those', () => {
    const m = new DirtyBitmap(REGIONS, { trackChanges: true });
    expect(m.takeChanges()).toBeUndefined();
    m.set(5);
    m.set(5);
    m.setRange(WINDOW_REGIONS * 3, WINDOW_REGIONS * 4);
    const changed = m.takeChanges();
    expect(changed === undefined ? [] : bitsOf(changed)).toEqual([0, 3, 4]);
    expect(m.hasChanges).toBe(false);
    m.set(5);
    m.clear(6);
    expect(m.hasChanges).toBe(false);
    m.clear(5);
    expect(m.hasChanges).toBe(true);
  });

  it('hands out windows as bytes whose bit 0 is 0x80, and takes them back', () => {
    const m = new DirtyBitmap(REGIONS);
    m.set(0);
    m.set(9);
    m.set(REGIONS - 1);
    expect([...windowBytes(m, 0).subarray(0, 2)]).toEqual([0x80, 0x40]);
    const last = m.windowCount - 1;
    const copy = new DirtyBitmap(REGIONS);
    expect(copy.orWindowBytes(0, windowBytes(m, 0))).toBe(2);
    expect(copy.orWindowBytes(0, windowBytes(m, 0))).toBe(0);
    expect(copy.orWindowBytes(last, windowBytes(m, last))).toBe(1);
    expect(copy.equals(m)).toBe(true);
    const past = windowBytes(m, last);
    past[past.length - 1] = 0xff;
    expect(() => copy.orWindowBytes(last, past)).toThrow(RegionRangeError);
    expect(() => copy.orWindowBytes(0, new Uint8Array(63))).toThrow(RegionRangeError);
  });

  it('keeps regions beyond 2^30 apart from the first ones, though the pager below would not', () => {
    const m = new DirtyBitmap(2 ** 34);
    expect(m.set(2 ** 30)).toBe(true);
    expect(m.get(0)).toBe(false);
    m.set(2 ** 34 - 1);
    m.set(2 ** 33 + 7);
    expect([...m.runs()]).toEqual([
      { first: 2 ** 30, length: 1 },
      { first: 2 ** 33 + 7, length: 1 },
      { first: 2 ** 34 - 1, length: 1 },
    ]);
  });

  it('marks a whole device of 64 TiB without memory for its bits', () => {
    const m = new DirtyBitmap(2 ** 28);
    const before = process.memoryUsage().arrayBuffers;
    expect(m.setAll()).toBe(2 ** 28);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    expect(m.clear(2 ** 27)).toBe(true);
    expect([...m.runs()]).toEqual([
      { first: 0, length: 2 ** 27 },
      { first: 2 ** 27 + 1, length: 2 ** 27 - 1 },
    ]);
    expect(m.get(1)).toBe(true);
  });

  it('walks a thousand runs among 16 Mi regions without looking at each region', () => {
    const m = new DirtyBitmap(2 ** 24);
    for (let i = 0; i < 1000; i += 1) m.set(i * 16384 + 5);
    // The best of a few, so that what else the machine does counts on neither side.
    const best = (f: () => number, expected: number): number => {
      let least = Infinity;
      for (let i = 0; i < 5; i += 1) {
        const start = process.hrtime.bigint();
        expect(f()).toBe(expected);
        least = Math.min(least, Number(process.hrtime.bigint() - start));
      }
      return least;
    };
    const walk = best(() => {
      let runs = 0;
      for (const run of m.runs()) runs += run.length;
      return runs;
    }, 1000);
    const sixteenth = best(() => {
      let set = 0;
      for (let i = 0; i < 2 ** 20; i += 1) if (m.get(i)) set += 1;
      return set;
    }, 64);
    expect(walk).toBeLessThan((sixteenth * 16) / 4);
  });

  it('refuses what is not a region of it', () => {
    const m = new DirtyBitmap(100);
    for (const i of [-1, 100, 1.5, NaN, Infinity]) {
      expect(() => m.set(i)).toThrow(RegionRangeError);
      expect(() => m.get(i)).toThrow(RegionRangeError);
    }
    expect(() => m.setRange(5, 4)).toThrow(RegionRangeError);
    expect(() => m.clearRange(5, 100)).toThrow(RegionRangeError);
    expect(() => m.nextDirtyRun(-1)).toThrow(RegionRangeError);
    expect(() => m.nextDirtyRun(0, 0)).toThrow(RegionRangeError);
    expect(() => m.nextDirtyRun(0, 1, 101)).toThrow(RegionRangeError);
    expect(() => m.or(new DirtyBitmap(99))).toThrow(RegionRangeError);
    expect(() => windowBytes(m, 1)).toThrow(RegionRangeError);
    expect(() => new DirtyBitmap(0)).toThrow(RegionRangeError);
    expect(() => new DirtyBitmap(2 ** 34 + 1)).toThrow(RegionRangeError);
    expect(m.count).toBe(0);
  });

  it('tells the runs of a window, and when they are more than there is room for', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(40_999), { maxLength: 300 }), fc.nat(80), fc.integer({ min: 0, max: 6 }), (regions, window, room) => {
        const map = new DirtyBitmap(41_000);
        for (const r of regions) map.setRange(r, Math.min(r + (r % 7), 40_999));
        const first = window * WINDOW_REGIONS;
        const stop = Math.min(first + WINDOW_REGIONS, 41_000);
        const want: number[] = [];
        let end = first;
        for (let run = map.nextDirtyRun(first, WINDOW_REGIONS, stop); run !== undefined; run = map.nextDirtyRun(end, WINDOW_REGIONS, stop)) {
          want.push(run.first - end, run.length);
          end = run.first + run.length;
        }
        const into = new Uint16Array(2 * room);
        const count = map.windowRuns(window, into);
        expect(count).toBe(Math.min(want.length / 2, room + 1));
        expect(map.windowRunCount(window)).toBe(want.length / 2);
        expect([...into.subarray(0, Math.min(2 * count, 2 * room))]).toEqual(want.slice(0, 2 * Math.min(count, room)));
      }),
    );
    expect(() => new DirtyBitmap(10).windowRuns(1, new Uint16Array(2))).toThrow(RegionRangeError);
  });
});
