/** A clock that stands still until the test moves it. */
import type { Clock, Timer } from '../../src/io/types.ts';

interface Due {
  at: number;
  f: () => void;
}

export class ManualClock implements Clock {
  #now = 0;
  readonly #timers = new Set<Due>();

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now;
  }

  get pending(): number {
    return this.#timers.size;
  }

  after(ms: number, f: () => void): Timer {
    const due = { at: this.#now + ms, f };
    this.#timers.add(due);
    return { cancel: () => void this.#timers.delete(due) };
  }

  soon(f: () => void): void {
    queueMicrotask(f);
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = [...this.#timers].filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.f();
    }
    this.#now = end;
  }
}

/** Lets everything run that is queued as microtasks, and what they queue. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 200; i += 1) await Promise.resolve();
}
