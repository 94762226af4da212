/** When to try again. Pure: the caller brings chance and time. */

export interface BackoffOptions {
  firstMs: number;
  maxMs: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 100, maxMs: 5000 };

/**
 * Wait before the next attempt, ms, after `failures` (1, 2, …) in a row: doubles from `firstMs` up to `maxMs`, of which half
 * is certain and half is chance, so that many clients of one server do not come back together. `chance` is in [0, 1).
 * The result is in [firstMs / 2, maxMs].
 */
export function backoffMs(failures: number, chance: number, o: BackoffOptions = DEFAULT_BACKOFF): number {
  // 2^30 is beyond any sensible ratio, and keeps the arithmetic exact.
  const ceiling = Math.min(o.maxMs, o.firstMs * 2 ** Math.min(Math.max(failures - 1, 0), 30));
  return ceiling / 2 + (ceiling / 2) * chance;
}
