/**
 * A target whose connection comes and goes: each loss holds writes up for as long as failureTimeout, so that one which is
 * lost again and again is connected again only after a while.
 *
 *   lost, lost, lost        within the window: connected again at once
 *   lost once more          waits; each further loss doubles the wait, up to its limit
 *
 * Pure: its owner says what time it is. Kept in memory, for one term of a source; an operator's resume or full resync ends it.
 */
const FREE_LOSSES = 3;
/** In failure timeouts. */
const WINDOW = 300;
const FIRST_WAIT = 2.5;
const LONGEST_WAIT = 30;
/** However long the failure timeout is. */
const WINDOW_MAX_MS = 3_600_000;
const WAIT_MAX_MS = 600_000;

export class Damping {
  readonly #timeoutMs: number;
  #losses: number[] = [];
  #untilMs = 0;
  #why = '';

  constructor(failureTimeoutMs: number) {
    this.#timeoutMs = failureTimeoutMs;
  }

  /** A target that was in sync has been lost, and nobody ordered it. */
  lost(nowMs: number): void {
    const windowMs = Math.min(WINDOW * this.#timeoutMs, WINDOW_MAX_MS);
    this.#losses = [...this.#losses.filter((at) => nowMs - at < windowMs), nowMs];
    const beyond = this.#losses.length - FREE_LOSSES;
    if (beyond <= 0) return;
    const longest = Math.min(LONGEST_WAIT * this.#timeoutMs, WAIT_MAX_MS);
    const waitMs = Math.min(longest, FIRST_WAIT * this.#timeoutMs * 2 ** (beyond - 1));
    this.#untilMs = nowMs + waitMs;
    const seconds = (ms: number): string => `${String(Math.ceil(ms / 1000))} s`;
    const [first = nowMs] = this.#losses;
    const times = `lost ${String(this.#losses.length)} times within ${seconds(nowMs - first)}`;
    this.#why = `${times}: connected again after ${seconds(waitMs)}, or when resume is said`;
  }

  /** For how much longer it is not connected, and why; null: it may be. */
  waits(nowMs: number): { ms: number; why: string } | null {
    const ms = this.#untilMs - nowMs;
    return ms <= 0 ? null : { ms, why: this.#why };
  }

  reset(): void {
    this.#losses = [];
    this.#untilMs = 0;
  }
}
