/**
 * Notices that this process itself stood still (frozen, starved, its machine suspended).
 *
 * A node that wakes up finds every silence clock run out although nobody was silent. So whoever reads such a clock
 * calls `check` first: the stall is found then, even when the late tick has not had its turn yet.
 */
import type { Clock, Timer } from '../io/types.ts';

/** A check tells of a stall again once it is longer by this part of the least stall; the tick that ends it, in any case. */
const TOLD_AGAIN = 4;

export interface StallEvents {
  onTick(now: number): void;
  /**
   * `stalledForMs`: from the last tick to now, which is never less than the stall itself. Called again, with the whole, when
   * the process has stood still further before its next tick.
   */
  onStall(stalledForMs: number, now: number): void;
}

export class StallWatch {
  readonly #clock: Clock;
  #tickMs: number;
  #stallMinMs: number;
  readonly #events: StallEvents;
  #lastTick = 0;
  /** How much of the time since the last tick was told as a stall. */
  #toldMs = 0;
  #timer: Timer | undefined;

  /** A tick that is late by `stallMinMs` or more is a stall. */
  constructor(clock: Clock, tickMs: number, stallMinMs: number, events: StallEvents) {
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#stallMinMs = stallMinMs;
    this.#events = events;
  }

  /** Another pace from now on; it begins with a tick, which tells others of it. */
  setPace(tickMs: number, stallMinMs: number): void {
    if (tickMs === this.#tickMs && stallMinMs === this.#stallMinMs) return;
    // What has passed, passed at the pace before.
    this.check();
    this.#tickMs = tickMs;
    this.#stallMinMs = stallMinMs;
    if (this.#timer === undefined) return;
    this.#timer.cancel();
    this.#tick();
  }

  start(): void {
    this.#lastTick = this.#clock.now();
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  check(): void {
    if (this.#timer !== undefined) this.#look(this.#clock.now());
  }

  #look(now: number): void {
    const gap = now - this.#lastTick;
    if (gap < (this.#toldMs === 0 ? this.#tickMs + this.#stallMinMs : this.#toldMs + this.#stallMinMs / TOLD_AGAIN)) return;
    this.#tell(gap, now);
  }

  #tell(gap: number, now: number): void {
    this.#toldMs = gap;
    this.#events.onStall(gap, now);
  }

  #arm(): void {
    this.#timer = this.#clock.after(this.#tickMs, () => {
      this.#look(this.#clock.now());
      this.#tick();
    });
  }

  #tick(): void {
    const woke = this.#clock.now();
    // However little was added since: the whole must not be told too short.
    if (this.#toldMs > 0 && woke - this.#lastTick > this.#toldMs) this.#tell(woke - this.#lastTick, woke);
    const now = this.#clock.now();
    this.#lastTick = now;
    this.#toldMs = 0;
    this.#events.onTick(now);
    if (this.#timer !== undefined) this.#arm();
  }
}
