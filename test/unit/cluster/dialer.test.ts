import fc from 'fast-check';
import { expect, it } from 'vitest';
import { backoffMs } from '../../../src/cluster/dialer.ts';

it('waits 100 ms after the first failure and doubles up to half of failureTimeout', () => {
  expect([1, 2, 3, 4, 5, 6, 500].map((n) => backoffMs(n, 2000, 0))).toEqual([100, 200, 400, 800, 1000, 1000, 1000]);
});

it('a short failureTimeout shortens the first wait too', () => {
  expect(backoffMs(1, 100, 0)).toBe(50);
});

it('chance takes off up to half, and never all', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 1, max: 100_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (n, t, r) => {
        const full = backoffMs(n, t, 0);
        expect(backoffMs(n, t, r)).toBeGreaterThanOrEqual(full / 2);
        expect(backoffMs(n, t, r)).toBeLessThanOrEqual(full);
        expect(full).toBeGreaterThan(0);
      },
    ),
  );
});
