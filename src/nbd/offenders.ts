/**
 * Addresses whose connections fail again and again before or in their handshake: for a while what comes from there is closed as soon
 * as it is accepted, so that it costs next to nothing. An honest client that is set up wrongly does not try that often. Whoever goes
 * on trying, twice as often as it takes, stays barred: else a crowd would be let in anew at the end of each time.
 */
import type { Clock } from '../io/types.ts';

export interface OffenderLimits {
  /** From here on an address is barred. */
  misdeedsMax: number;
  /** After each such time so many are forgiven. */
  withinMs: number;
}

const ADDRESSES_MAX = 4096;

export class Offenders {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #limits: OffenderLimits;
  /** In the order in which they were first known. */
  readonly #known = new Map<string, { since: number; misdeeds: number }>();

  constructor(clock: Pick<Clock, 'now'>, limits: OffenderLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** Undefined: not barred; else how many misdeeds it has. */
  barred(address: string): number | undefined {
    const k = this.#current(address);
    return k !== undefined && k.misdeeds >= this.#limits.misdeedsMax ? k.misdeeds : undefined;
  }

  /** Also of one that comes while it is barred. */
  note(address: string): void {
    const k = this.#current(address);
    if (k !== undefined) {
      // No more than what bars it for this time and the next: however long it went on, its end is soon forgotten.
      k.misdeeds = Math.min(k.misdeeds + 1, 2 * this.#limits.misdeedsMax);
      return;
    }
    if (this.#known.size >= ADDRESSES_MAX) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(address, { since: this.#clock.now(), misdeeds: 1 });
  }

  #current(address: string): { since: number; misdeeds: number } | undefined {
    const { misdeedsMax, withinMs } = this.#limits;
    const k = this.#known.get(address);
    if (k === undefined) return undefined;
    const times = Math.floor((this.#clock.now() - k.since) / withinMs);
    if (times === 0) return k;
    k.since += times * withinMs;
    k.misdeeds -= times * misdeedsMax;
    if (k.misdeeds > 0) return k;
    this.#known.delete(address);
    return undefined;
  }
}
