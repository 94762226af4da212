import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { MarkBatch } from '../../../src/bitmap/mark-batch.ts';

const REGIONS = 100_000;

function regionsOf(map: DirtyBitmap): number[] {
  return [...map.runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));
}

describe('the marks of one flush', () => {
  it('move to another map as they are in the end, however they came and went', () => {
    const step = fc.record({
      kind: fc.constantFrom('add', 'add', 'add', 'range', 'clear', 'move'),
      region: fc.nat(40),
      length: fc.integer({ min: 1, max: 5 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const batch = new MarkBatch(REGIONS);
        const other = new DirtyBitmap(REGIONS);
        const [inBatch, inOther] = [new Set<number>(), new Set<number>()];
        for (const { kind, region, length } of steps) {
          const range = Array.from({ length: kind === 'range' ? length : 1 }, (_x, i) => region + i);
          if (kind === 'move') {
            batch.moveTo(other);
            for (const r of inBatch) inOther.add(r);
            inBatch.clear();
          } else if (kind === 'clear') {
            batch.map.clear(region);
            inBatch.delete(region);
          } else {
            if (kind === 'add') batch.add(region);
            else batch.addRange(region, region + length - 1);
            for (const r of range) inBatch.add(r);
          }
          expect(regionsOf(batch.map)).toEqual([...inBatch].sort((a, b) => a - b));
          expect(regionsOf(other)).toEqual([...inOther].sort((a, b) => a - b));
        }
      }),
    );
  });

  it('are all moved when they are too many for a list', () => {
    const batch = new MarkBatch(REGIONS);
    for (let i = 0; i < 20_000; i += 1) batch.add(i * 3);
    const other = new DirtyBitmap(REGIONS);
    batch.moveTo(other);
    expect([other.count, batch.map.count]).toEqual([20_000, 0]);
    batch.add(1);
    batch.moveTo(other);
    expect(other.count).toBe(20_001);
  });

  it('are forgotten when they are cleared', () => {
    const batch = new MarkBatch(REGIONS);
    batch.add(7);
    batch.clear();
    batch.add(8);
    const other = new DirtyBitmap(REGIONS);
    batch.moveTo(other);
    expect(regionsOf(other)).toEqual([8]);
  });
});
