import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Damping } from '../../../src/failover/damping.ts';

const TIMEOUT_MS = 2000;
/** Lost each time that it has been connected for `upMs`; the waits, in the order of the losses. */
function flaps(d: Damping, times: number, upMs: number, from = 0): number[] {
  let now = from;
  return Array.from({ length: times }, () => {
    now += upMs;
    d.lost(now);
    const ms = d.waits(now)?.ms ?? 0;
    now += ms;
    expect(d.waits(now)).toBeNull();
    return ms;
  });
}

it('a few losses cost nothing, each further one doubles the wait, up to a limit', () => {
  expect(flaps(new Damping(TIMEOUT_MS), 9, 1000)).toEqual([0, 0, 0, 5000, 10_000, 20_000, 40_000, 60_000, 60_000]);
});

it('losses that are long ago do not count', () => {
  expect(flaps(new Damping(TIMEOUT_MS), 20, 250_000).every((ms) => ms === 0)).toBe(true);
});

it('says how often it was lost, and when it is connected again', () => {
  const d = new Damping(TIMEOUT_MS);
  for (const at of [0, 1000, 2000, 3000]) d.lost(at);
  expect(d.waits(3500)?.why).toBe('lost 4 times within 3 s: connected again after 5 s, or when resume is said');
});

it('an operator ends it, and it begins anew', () => {
  const d = new Damping(TIMEOUT_MS);
  flaps(d, 6, 10);
  d.lost(100_000);
  d.reset();
  expect(d.waits(100_000)).toBeNull();
  expect(flaps(d, 4, 10, 100_000)).toEqual([0, 0, 0, 5000]);
});

it('whatever happens, no wait is longer than its limit', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 30_000 }), { minLength: 1, maxLength: 200 }),
      fc.integer({ min: 100, max: 3_600_000 }),
      (ups, timeoutMs) => {
        const d = new Damping(timeoutMs);
        let now = 0;
        for (const up of ups) {
          now += up;
          d.lost(now);
          const ms = d.waits(now)?.ms ?? 0;
          expect(ms).toBeLessThanOrEqual(Math.min(30 * timeoutMs, 600_000));
          now += ms;
        }
      },
    ),
  );
});
