/**
 * Addresses whose connections fail again and again before or in their handshake: for a while what comes from there is closed as soon
 * as it is accepted, so that it costs next to nothing. An honest client that is set up wrongly does not try that often.
 */
import type { Clock } from '../io/types.ts';

export interface OffenderLimits {
  /** From here on an address is barred. */
  misdeedsMax: number;
  /** Counted, and barred, for so long. */
  withinMs: number;
}

const ADDRESSES_MAX = 4096;

export class Offenders {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #limits: OffenderLimits;
  /** In the order in which their time began. */
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

  note(address: string): void {
    const k = this.#current(address);
    if (k !== undefined) {
      k.misdeeds += 1;
      return;
    }
    if (this.#known.size >= ADDRESSES_MAX) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(address, { since: this.#clock.now(), misdeeds: 1 });
  }

  #current(address: string): { since: number; misdeeds: number } | undefined {
    const k = this.#known.get(address);
    if (k === undefined || this.#clock.now() - k.since < this.#limits.withinMs) return k;
    this.#known.delete(address);
    return undefined;
  }
}
