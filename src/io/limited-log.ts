/** A log that says the same thing about the same peer at most once a minute, or so often, and then how often it kept quiet; and of no more peers than a bounded number. */
import type { Log } from './log.ts';
import type { Clock } from './types.ts';

const KEYS_MAX = 256;

interface LogLimits {
  everyMs: number;
  /** Lines of one key in that time. */
  linesMax: number;
}

export class LimitedLog {
  readonly log: Log;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #limits: LogLimits;
  /** In the order in which their time began. */
  readonly #said = new Map<string, { since: number; lines: number; kept: number }>();
  /** Of more keys than are told apart. */
  #others = 0;

  constructor(log: Log, clock: Pick<Clock, 'now'>, { everyMs = 60_000, linesMax = 1 }: Partial<LogLimits> = {}) {
    this.log = log;
    this.#clock = clock;
    this.#limits = { everyMs, linesMax };
  }

  /** `key`: what counts as the same thing, e.g. the peer's name and the kind of fault. */
  warn(key: string, message: string, fields: Record<string, unknown> = {}): void {
    const kept = this.#mayBeSaid(key);
    if (kept !== undefined) this.log.warn(message, { ...fields, ...kept });
  }

  info(key: string, message: string, fields: Record<string, unknown> = {}): void {
    const kept = this.#mayBeSaid(key);
    if (kept !== undefined) this.log.info(message, { ...fields, ...kept });
  }

  /** Undefined: not now; else what is to be said of how often it kept quiet. */
  #mayBeSaid(key: string): Record<string, number> | undefined {
    const now = this.#clock.now();
    const { everyMs, linesMax } = this.#limits;
    const last = this.#said.get(key);
    if (last !== undefined && now - last.since < everyMs) {
      if (last.lines >= linesMax) {
        last.kept += 1;
        return undefined;
      }
      last.lines += 1;
      return {};
    }
    this.#said.delete(key);
    if (this.#said.size >= KEYS_MAX) {
      const [oldest] = this.#said;
      if (oldest !== undefined && now - oldest[1].since < everyMs) {
        this.#others += 1;
        return undefined;
      }
      if (oldest !== undefined) this.#said.delete(oldest[0]);
    }
    this.#said.set(key, { since: now, lines: 1, kept: 0 });
    const kept = last !== undefined && last.kept > 0 ? { notLogged: last.kept } : {};
    const others = this.#others > 0 ? { othersNotLogged: this.#others } : {};
    this.#others = 0;
    return { ...kept, ...others };
  }
}
