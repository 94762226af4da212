/**
 * A process that stood still for as long as failureTimeout may have been given up by the others: it must answer nothing,
 * reads included, until its host has asked around (M9). The host ticks several times within the limit; every request and
 * every answer looks whether the last tick is too old.
 */
import type { Clock } from '../io/types.ts';

export class StallGuard {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onStall: () => void;
  #tickAt: number;

  constructor(clock: Clock, limitMs: number, onStall: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onStall = onStall;
    this.#tickAt = clock.now();
  }

  tick(): void {
    this.look();
    this.#tickAt = this.#clock.now();
  }

  look(): void {
    const stood = this.#clock.now() - this.#tickAt;
    if (stood >= this.#limitMs) this.stoodStill(stood);
  }

  /** Somebody else may have noticed it first. */
  stoodStill(ms: number): void {
    if (ms >= this.#limitMs) this.#onStall();
  }
}
