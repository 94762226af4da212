import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap, WINDOW_REGIONS } from '../../../src/bitmap/dirty-bitmap.ts';
import { Content, RecordWriter } from '../../../src/bitmap/records.ts';
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
