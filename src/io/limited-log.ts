/** A log that says the same thing about the same peer at most once a minute, and then how often it kept quiet; and of no more peers than a bounded number. */
import type { Log } from './log.ts';
import type { Clock } from './types.ts';

const KEYS_MAX = 256;

export class LimitedLog {
  readonly log: Log;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #everyMs: number;
  readonly #said = new Map<string, { at: number; kept: number }>();
  /** Of more keys than are told apart. */
  #others = 0;

  constructor(log: Log, clock: Pick<Clock, 'now'>, everyMs = 60_000) {
    this.log = log;
    this.#clock = clock;
    this.#everyMs = everyMs;
  }

  /** `key`: what counts as the same thing, e.g. the peer's name and the kind of fault. */
  warn(key: string, message: string, fields: Record<string, unknown> = {}): void {
    const now = this.#clock.now();
    const last = this.#said.get(key);
    if (last !== undefined && now - last.at < this.#everyMs) {
      last.kept += 1;
      return;
    }
    this.#said.delete(key);
    if (this.#said.size >= KEYS_MAX) {
      // In the order in which they were said.
      const [oldest] = this.#said;
      if (oldest !== undefined && now - oldest[1].at < this.#everyMs) {
        this.#others += 1;
        return;
      }
      if (oldest !== undefined) this.#said.delete(oldest[0]);
    }
    this.#said.set(key, { at: now, kept: 0 });
    const kept = last !== undefined && last.kept > 0 ? { notLogged: last.kept } : {};
    const others = this.#others > 0 ? { othersNotLogged: this.#others } : {};
    this.#others = 0;
    this.log.warn(message, { ...fields, ...kept, ...others });
  }
}
