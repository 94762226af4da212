import type { Clock, Timer } from '../../../src/io/types.ts';

/** A clock moved by hand. `jump` moves time without running timers, as a frozen process sees it. */
export class HandClock implements Clock {
  #now = 0;
  #timers: { at: number; f: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now;
  }

  after(ms: number, f: () => void): Timer {
    const timer = { at: this.#now + ms, f };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((t) => t !== timer);
      },
    };
  }

  soon(f: () => void): void {
    this.after(0, f);
  }

  jump(ms: number): void {
    this.#now += ms;
  }

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter((t) => t.at <= until).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers = this.#timers.filter((t) => t !== due);
      this.#now = Math.max(this.#now, due.at);
      due.f();
    }
    this.#now = Math.max(this.#now, until);
  }
}
