import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap, WINDOW_REGIONS } from '../../../src/bitmap/dirty-bitmap.ts';
import { RecordWriter } from '../../../src/bitmap/record-writer.ts';
import { Content } from '../../../src/bitmap/records.ts';
import { decodeSector, PAYLOAD_MAX_BYTES, SECTOR_BYTES } from '../../../src/bitmap/sector.ts';
import { CodecError } from '../../../src/bitmap/varint.ts';

const REGIONS = 40_003;

function payloads(w: RecordWriter): Uint8Array[] {
  const bytes = w.finish({ header: 1, first: 1, flush: 1 });
  const out: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
    out.push(decodeSector(bytes.subarray(at, at + SECTOR_BYTES), 1, 1 + at / SECTOR_BYTES)?.payload ?? new Uint8Array());
  }
  return out;
}

describe('records', () => {
  it('bring a map up to date from the windows that changed, sector by sector in any order', () => {
    const range = fc.tuple(fc.nat(REGIONS - 1), fc.integer({ min: 0, max: 1500 }), fc.boolean());
    fc.assert(
      fc.property(fc.array(range), fc.array(range), (before, after) => {
        const map = new DirtyBitmap(REGIONS, { trackChanges: true });
        const play = (ranges: [number, number, boolean][]): void => {
          for (const [first, more, set] of ranges) {
            const last = Math.min(first + more, REGIONS - 1);
            if (set) map.setRange(first, last);
            else map.clearRange(first, last);
          }
        };
        play(before);
        for (let i = 0; i < REGIONS; i += 700) map.set(i);
        map.takeChanges();
        const base = new RecordWriter();
        base.select('m');
        base.whole(map);
        const old = map.clone();
        play(after);
        const delta = new RecordWriter();
        delta.select('m');
        const windows = map.takeChanges();
        if (windows !== undefined) delta.windows(map, windows);
        const deltas = payloads(delta);
        const content = new Content(REGIONS, '');
        for (const p of [...payloads(base), ...deltas.toReversed()]) content.apply(p, false);
        expect(content.maps.get('m')?.equals(map)).toBe(true);
        const additive = new Content(REGIONS, '');
        for (const p of [...payloads(base), ...deltas]) additive.apply(p, true);
        old.or(map);
        expect(additive.maps.get('m')?.equals(old)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('are of one flush alone, byte for byte, however often their writer was used, and for however much', () => {
    const range = fc.tuple(fc.nat(REGIONS - 1), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 600 }));
    const flushes = fc.array(fc.array(range, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(flushes, fc.boolean(), (all, large) => {
        const used = new RecordWriter();
        const map = new DirtyBitmap(large ? 4_000_000 : REGIONS, { trackChanges: true });
        // More sectors than its memory is kept for.
        if (large) for (let r = 0; r < map.regionCount; r += 13) map.set(r);
        let number = 1;
        for (const [i, ranges] of all.entries()) {
          for (const [first, step, count] of ranges) for (let n = 0; n < count; n += 1) map.set((first + n * step) % map.regionCount);
          const windows = map.takeChanges();
          used.reset();
          const fresh = new RecordWriter();
          for (const w of [used, fresh]) {
            if (i % 2 === 0) w.generation('a000000000000001');
            w.select(`m${String(i % 3)}`);
            if (windows !== undefined) w.windows(map, windows);
            w.select('gone');
            w.drop();
          }
          expect(used.sectors).toBe(fresh.sectors);
          const place = { header: 7, first: number, flush: 2 + i };
          const bytes = used.finish(place);
          expect(bytes.equals(fresh.finish(place))).toBe(true);
          for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
            const s = decodeSector(bytes.subarray(at, at + SECTOR_BYTES), 7, number);
            expect([s?.flush, s?.flushFirst, s?.last]).toEqual([2 + i, place.first, at + SECTOR_BYTES === bytes.length]);
            number += 1;
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  it.each([15, 16])('say a window of %i runs so that no more bytes are taken than its bits would, and are read back', (runs) => {
    const map = new DirtyBitmap(512);
    for (let i = 0; i < runs; i += 1) map.setRange(i * 32, i * 32 + 7);
    const w = new RecordWriter();
    w.select('m');
    w.whole(map);
    const [payload] = payloads(w);
    expect(payload?.length).toBe(3 + (runs === 15 ? 3 + 2 * 15 : 2 + 64));
    const content = new Content(512, '');
    content.apply(payload ?? new Uint8Array(), false);
    expect(content.maps.get('m')?.equals(map)).toBe(true);
  });

  it('say a whole map in a few bytes, its short last window included', () => {
    const map = new DirtyBitmap(REGIONS);
    map.setAll();
    const w = new RecordWriter();
    w.select('m');
    w.whole(map);
    const [payload] = payloads(w);
    expect(Buffer.from(payload ?? []).toString('hex')).toBe('01016d02004f');
  });

  it('say a whole map in the bytes of its windows, each once, however many runs lie in one', () => {
    const range = fc.tuple(fc.nat(REGIONS - 1), fc.nat(1200), fc.integer({ min: 2, max: 9 }));
    fc.assert(
      fc.property(fc.array(range), (ranges) => {
        const map = new DirtyBitmap(REGIONS);
        const windows = new DirtyBitmap(map.windowCount);
        for (const [first, more, step] of ranges) {
          for (let r = first; r <= Math.min(first + more, REGIONS - 1); r += step) {
            map.set(r);
            windows.set(Math.floor(r / WINDOW_REGIONS));
          }
        }
        const whole = new RecordWriter();
        whole.select('m');
        whole.whole(map);
        const each = new RecordWriter();
        each.select('m');
        each.windows(map, windows);
        expect(payloads(whole)).toEqual(payloads(each));
        const content = new Content(REGIONS, '');
        for (const p of payloads(whole)) content.apply(p, false);
        expect(content.maps.get('m')?.equals(map)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ['a kind that does not exist', [1, 1, 0x6d, 9, 0]],
    ['no map', [2, 0, 1]],
    ['windows past the end', [1, 1, 0x6d, 2, 78, 2]],
    ['no windows', [1, 1, 0x6d, 2, 0, 0]],
    ['a run that leaves its window', [1, 1, 0x6d, 4, 0, 1, 0xff, 0x03, 1]],
    ['bits past the end', [1, 1, 0x6d, 5, 78, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]],
    ['a record cut short', [1, 1, 0x6d, 5, 0, 0xff]],
    ['an empty name', [1, 0]],
    ['a name that is not UTF-8', [1, 1, 0xff]],
    ['a generation that is none', [7, ...Buffer.from('XXXXXXXXXXXXXXXX')]],
  ])('with %s are refused', (_what, bytes) => {
    expect(() => {
      new Content(REGIONS, '').apply(Uint8Array.from(bytes), false);
    }).toThrow(CodecError);
  });

  it('are refused when there are more maps than a file can have', () => {
    const content = new Content(REGIONS, '');
    for (let i = 0; i < 128; i += 1) content.apply(Uint8Array.from([1, 2, 0x41 + (i >> 4), 0x41 + (i & 15)]), false);
    expect(() => {
      content.apply(Uint8Array.from([1, 1, 0x7a]), false);
    }).toThrow(CodecError);
  });

  it('of any bytes end in a map or a typed error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: PAYLOAD_MAX_BYTES }), fc.boolean(), (bytes, additionsOnly) => {
        try {
          new Content(REGIONS, '').apply(Uint8Array.from([1, 1, 0x6d, ...bytes]), additionsOnly);
        } catch (e: unknown) {
          expect(e).toBeInstanceOf(CodecError);
        }
      }),
    );
  });
});
