import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Touched } from '../../../src/io/touched.ts';

function taken(t: Touched): [number, number][] {
  const runs: [number, number][] = [];
  t.take((first, last) => runs.push([first, last]));
  return runs;
}

test('what was touched is taken once, as runs of whole regions', () => {
  const t = new Touched(200 * 4096, 4096);
  t.touch(0, 1);
  t.touch(4096 * 2 - 1, 2);
  t.touch(4096 * 31, 4096 * 2);
  t.touch(4096 * 64, 4096 * 32);
  t.touch(4096 * 199, 4096);
  // A word at a time.
  expect(taken(t)).toEqual([
    [0, 2],
    [31, 31],
    [32, 32],
    [64, 95],
    [199, 199],
  ]);
  expect(taken(t)).toEqual([]);
  t.touch(4096, 1);
  expect(taken(t)).toEqual([[1, 1]]);
});

test('whatever is touched, the runs name exactly its regions', () => {
  const touches = fc.array(fc.tuple(fc.integer({ min: 0, max: 99 }), fc.integer({ min: 1, max: 40 })), { maxLength: 20 });
  fc.assert(
    fc.property(touches, (all) => {
      const t = new Touched(1400, 10);
      const expected = new Set<number>();
      for (const [region, count] of all) {
        t.touch(region * 10, count * 10);
        for (let i = region; i < region + count; i += 1) expected.add(i);
      }
      const got = taken(t).flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_x, i) => first + i));
      expect(got).toEqual([...expected].sort((a, b) => a - b));
    }),
  );
});

test('the words of another are shared, and must be enough', () => {
  const t = new Touched(64 * 512, 512);
  const other = new Touched(64 * 512, 512, t.words);
  other.touch(512 * 40, 1);
  expect(taken(t)).toEqual([[40, 40]]);
  expect(() => new Touched(65 * 512, 512, t.words)).toThrow(RangeError);
});
