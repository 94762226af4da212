import { performance } from 'node:perf_hooks';
import type { Clock, Timer } from '../types.ts';

/** Node fires longer timeouts at once. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

export const nodeClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after(ms: number, f: () => void): Timer {
    const due = performance.now() + ms;
    let timeout: NodeJS.Timeout;
    // A timeout counts in whole milliseconds of a clock that drops fractions: it can come up to one early.
    const wait = (left: number): void => {
      timeout = setTimeout(
        () => {
          const stillLeft = due - performance.now();
          if (stillLeft > 0) wait(stillLeft);
          else f();
        },
        Math.min(Math.ceil(left), TIMEOUT_MAX_MS),
      );
      timeout.unref();
    };
    wait(ms);
    return {
      cancel: () => {
        clearTimeout(timeout);
      },
    };
  },
  soon(f: () => void): void {
    setImmediate(f);
  },
};
