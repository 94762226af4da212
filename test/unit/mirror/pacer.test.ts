import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pacer } from '../../../src/mirror/pacer.ts';

const limits = { rateMaxBytesPerSec: 1_000_000, rateMinBytesPerSec: 100_000 };
const never = -Infinity;

/** Takes pieces one after the other, waiting as told; when the last may be used. */
function copy(p: Pacer, pieces: number[], lastRequestAt: (now: number) => number): number {
  let now = 0;
  for (const bytes of pieces) now += p.take(bytes, now, lastRequestAt(now));
  return now;
}

describe('pacer', () => {
  it('lets a resync run at the upper limit while the application is quiet', () => {
    const ms = copy(
      new Pacer(limits),
      Array.from({ length: 101 }, () => 100_000),
      () => never,
    );
    expect(ms).toBeGreaterThan(9_800);
    expect(ms).toBeLessThanOrEqual(10_000);
  });

  it('keeps the lower limit while the application is busy', () => {
    const ms = copy(
      new Pacer(limits),
      Array.from({ length: 11 }, () => 100_000),
      (now) => now,
    );
    expect(ms).toBeGreaterThan(9_800);
    expect(ms).toBeLessThanOrEqual(10_000);
  });

  it('calls the application quiet a tenth of a second after its last request', () => {
    const p = new Pacer(limits);
    p.take(100_000, 1000, 900);
    expect(p.take(1, 1000, 900)).toBeCloseTo(50);
    const q = new Pacer(limits);
    q.take(100_000, 1000, 901);
    expect(q.take(1, 1000, 901)).toBeCloseTo(950);
  });

  it('does not save up more than a short burst while nothing is copied', () => {
    const p = new Pacer(limits);
    p.take(1, 0, never);
    const waits = Array.from({ length: 3 }, () => p.take(100_000, 60_000, never));
    expect(waits[0]).toBe(0);
    expect(waits[1]).toBeCloseTo(50);
    expect(waits[2]).toBeCloseTo(150);
  });

  it('never exceeds the upper limit by more than the burst and one piece, whatever the pieces', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 2, maxLength: 40 }), fc.boolean(), (pieces, busy) => {
        const ms = copy(new Pacer(limits), pieces, (now) => (busy ? now : never));
        const before = pieces.slice(0, -1).reduce((a, b) => a + b, 0);
        const rate = busy ? limits.rateMinBytesPerSec : limits.rateMaxBytesPerSec;
        expect(ms).toBeGreaterThanOrEqual((before / rate) * 1000 - 50 - 1e-6);
      }),
    );
  });
});
