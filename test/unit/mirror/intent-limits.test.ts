import { describe, expect, it } from 'vitest';
import { intentLimits } from '../../../src/mirror/intent-limits.ts';

const KIB = 1024;
const none = { keepMax: null, markedMax: null };

describe('the limits of the intent log', () => {
  it.each([
    [16 * KIB, 131_072, 262_144],
    [64 * KIB, 32_768, 65_536],
    [256 * KIB, 8192, 16_384],
  ])('are 2 GiB kept and 4 GiB marked, of regions of %i bytes', (regionBytes, keepMax, markedMax) => {
    expect(intentLimits(none, regionBytes)).toEqual({ keepMax, markedMax });
    expect([keepMax * regionBytes, markedMax * regionBytes]).toEqual([2 ** 31, 2 ** 32]);
  });

  it('are no fewer regions where they are large, and no more where they are small', () => {
    expect(intentLimits(none, 64 * KIB * KIB)).toEqual({ keepMax: 8192, markedMax: 16_384 });
    expect(intentLimits(none, 4 * KIB)).toEqual({ keepMax: 131_072, markedMax: 262_144 });
  });

  it('are what is set, and the other one goes with it', () => {
    expect(intentLimits({ keepMax: 0, markedMax: 10 }, 16 * KIB)).toEqual({ keepMax: 0, markedMax: 10 });
    expect(intentLimits({ keepMax: 5, markedMax: null }, 256 * KIB)).toEqual({ keepMax: 5, markedMax: 16_384 });
    expect(intentLimits({ keepMax: 900_000, markedMax: null }, 256 * KIB)).toEqual({ keepMax: 900_000, markedMax: 900_000 });
    expect(intentLimits({ keepMax: null, markedMax: 10 }, 256 * KIB)).toEqual({ keepMax: 10, markedMax: 10 });
    expect(intentLimits({ keepMax: null, markedMax: 10_000_000 }, 256 * KIB)).toEqual({ keepMax: 8192, markedMax: 10_000_000 });
  });
});
