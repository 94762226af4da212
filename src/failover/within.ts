/** A wait with an end (M14). */
import type { Clock } from '../io/types.ts';

/** Whether the promise, which never rejects, has resolved within that time. */
export function endsWithin(clock: Clock, p: Promise<void>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => {
      resolve(false);
    });
    void p.then(() => {
      timer.cancel();
      resolve(true);
    });
  });
}
