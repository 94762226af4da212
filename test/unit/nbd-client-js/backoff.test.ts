import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backoffMs } from '../../../src/nbd-client-js/backoff.ts';

describe('the wait before another attempt', () => {
  it('doubles from the first to the longest, half of it by chance', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8].map((n) => backoffMs(n, 0.5))).toEqual([75, 150, 300, 600, 1200, 2400, 3750, 3750]);
    expect(backoffMs(1, 0)).toBe(50);
    expect(backoffMs(100, 0)).toBe(2500);
  });

  it('stays within its bounds for any count of failures', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, chance) => {
        const ms = backoffMs(failures, chance);
        expect(ms).toBeGreaterThanOrEqual(50);
        expect(ms).toBeLessThanOrEqual(5000);
      }),
    );
  });
});
