import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { decodeRunsInto, encodeRuns, PIECE_MIN_BYTES, RunCodecError } from '../../../src/bitmap/run-codec.ts';

const REGIONS = 70000;

describe('run codec', () => {
  it('sends a map in pieces of bounded size, each of which stands alone', () => {
    const range = fc.tuple(fc.integer({ min: 0, max: REGIONS - 1 }), fc.integer({ min: 0, max: 500 }));
    fc.assert(
      fc.property(fc.array(range), fc.integer({ min: PIECE_MIN_BYTES, max: 200 }), (ranges, max) => {
        const map = new DirtyBitmap(REGIONS);
        for (const [first, more] of ranges) map.setRange(first, Math.min(first + more, REGIONS - 1));
        const pieces = [...encodeRuns(map, max)];
        expect(pieces.every((p) => p.length <= max)).toBe(true);
        const inOrder = new DirtyBitmap(REGIONS);
        let from = 0;
        for (const p of pieces) from = decodeRunsInto(p, inOrder, REGIONS, from);
        expect(inOrder.equals(map)).toBe(true);
        const reversed = new DirtyBitmap(REGIONS);
        for (const p of pieces.reverse()) decodeRunsInto(p, reversed, REGIONS);
        expect(reversed.equals(map)).toBe(true);
      }),
    );
  });

  it('says a whole device of 64 TiB in a dozen bytes, and an empty map in none', () => {
    const map = new DirtyBitmap(2 ** 28);
    expect([...encodeRuns(map, 64)]).toEqual([]);
    map.setAll();
    const pieces = [...encodeRuns(map, 64)];
    expect(pieces.map((p) => p.length <= 12)).toEqual([true]);
    const copy = new DirtyBitmap(2 ** 28);
    expect(decodeRunsInto(pieces[0] ?? new Uint8Array(), copy, 2 ** 28)).toBe(2 ** 28);
    expect(copy.equals(map)).toBe(true);
  });

  it.each([
    ['no bytes', [], 'too early'],
    ['another version', [2, 0], 'version 2'],
    ['a run past the end', [1, 1, 90, 10], 'out of range'],
    ['a second run past the end', [1, 2, 0, 1, 97, 1], 'out of range'],
    ['fewer runs than announced', [1, 2, 0, 1], 'too early'],
    ['more bytes than runs', [1, 1, 0, 1, 0], 'follow'],
    ['a number too long', [1, 1, 0x80, 0x00, 0], 'longer'],
  ])('refuses %s from a peer, and leaves the map as it was', (_what, bytes, message) => {
    const map = new DirtyBitmap(100);
    map.set(3);
    expect(() => decodeRunsInto(Uint8Array.from(bytes), map, 100)).toThrow(RunCodecError);
    expect(() => decodeRunsInto(Uint8Array.from(bytes), map, 100)).toThrow(message);
    expect([...map.runs()]).toEqual([{ first: 3, length: 1 }]);
  });

  it('refuses a piece that goes back behind the piece before it', () => {
    const map = new DirtyBitmap(100);
    const next = decodeRunsInto(Uint8Array.from([1, 1, 10, 4]), map, 100);
    expect(next).toBe(15);
    expect(() => decodeRunsInto(Uint8Array.from([1, 1, 14, 0]), map, 100, next)).toThrow(RunCodecError);
    expect(decodeRunsInto(Uint8Array.from([1, 1, 15, 0]), map, 100, next)).toBe(16);
  });

  it('refuses a map of another size, and pieces too small to hold a run', () => {
    expect(() => decodeRunsInto(Uint8Array.from([1, 0]), new DirtyBitmap(99), 100)).toThrow(RunCodecError);
    expect(() => [...encodeRuns(new DirtyBitmap(5), PIECE_MIN_BYTES - 1)]).toThrow(RangeError);
  });

  it('answers any bytes with a valid map or a typed error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (tail) => {
        const map = new DirtyBitmap(1000);
        try {
          decodeRunsInto(Uint8Array.from([1, ...tail]), map, 1000);
        } catch (e: unknown) {
          expect(e).toBeInstanceOf(RunCodecError);
          expect(map.count).toBe(0);
        }
      }),
    );
  });
});
