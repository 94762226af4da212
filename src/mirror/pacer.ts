/**
 * Resync gives way to the application: at most `max` when the device is quiet, `min` while it is busy (LKDR_SPEED_LIMIT,
 * LKDR_SPEED_LIMIT_MIN). A token bucket in virtual time: pure, the caller does the waiting.
 */
export interface PacerLimits {
  rateMaxBytesPerSec: number;
  rateMinBytesPerSec: number;
}

/** The application counts as busy for this long after its last request. */
const BUSY_MS = 100;
/** Credit that may be saved up while nothing is copied. */
const BURST_MS = 50;

export class Pacer {
  readonly #limits: PacerLimits;
  /** When the bytes taken so far will have been paid for. */
  #paidUntil = -Infinity;

  constructor(limits: PacerLimits) {
    this.#limits = limits;
  }

  /** Takes `bytes`; answers how many milliseconds to wait before using them. */
  take(bytes: number, now: number, lastApplicationRequestAt: number): number {
    const busy = now - lastApplicationRequestAt < BUSY_MS;
    const rate = busy ? Math.min(this.#limits.rateMinBytesPerSec, this.#limits.rateMaxBytesPerSec) : this.#limits.rateMaxBytesPerSec;
    const from = Math.max(this.#paidUntil, now - BURST_MS);
    this.#paidUntil = from + (bytes / rate) * 1000;
    return Math.max(0, from - now);
  }
}
