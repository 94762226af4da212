/** A wait with an end (M14). */
import type { Clock } from '../io/types.ts';

/** In failure timeouts: for requests in hand, and for the flush of every leg. */
export const DRAIN_MAX = 3;

/** Whether the promise has resolved within that time; rejects as it does. */
export function endsWithin(clock: Clock, p: Promise<void>, ms: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => {
      resolve(false);
    });
    p.then(
      () => {
        timer.cancel();
        resolve(true);
      },
      (e: unknown) => {
        timer.cancel();
        reject(e instanceof Error ? e : new Error(String(e)));
      },
    );
  });
}
