/** A log that says the same thing about the same peer at most once a minute, and then how often it kept quiet. */
import type { Log } from '../io/log.ts';
import type { Clock } from '../io/types.ts';

const KEYS_MAX = 256;

export class LimitedLog {
  readonly log: Log;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #everyMs: number;
  readonly #said = new Map<string, { at: number; kept: number }>();

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
      const oldest = this.#said.keys().next();
      if (oldest.done !== true) this.#said.delete(oldest.value);
    }
    this.#said.set(key, { at: now, kept: 0 });
    this.log.warn(message, last !== undefined && last.kept > 0 ? { ...fields, notLogged: last.kept } : fields);
  }
}
