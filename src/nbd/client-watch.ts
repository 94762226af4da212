/**
 * Clients that cost memory or a place and do nothing: those that take no reply, or leave a request in half, and, where that is
 * asked for, those that ask for nothing. Looked at from time to time, so that a request costs nothing for it.
 *
 * Invariant: who was held up itself ends nobody for that: what has come meanwhile lies there unseen, and what was to leave did not. Who is
 * held up again and again has seen all of that between its looks, so that it ends in the end whoever does nothing (M14).
 */
import type { Clock, Timer } from '../io/types.ts';

export interface ClientWatchLimits {
  /** How long a client may take no byte of the replies that wait for it, or leave a request in half. 0: as long as it likes. */
  stalledMs: number;
  /** How long it may ask for nothing. 0: as long as it likes. */
  idleMs: number;
}

export interface WatchedClient {
  /** See `Engine.awaited`. */
  awaited(): number | undefined;
  readonly requestsTotal: number;
  readonly requestsInFlight: number;
  end(why: 'stalled' | 'idle'): void;
}

interface Seen {
  awaited: number | undefined;
  awaitedSince: number;
  requests: number;
  idleSince: number;
  /** Looks that came too late since it last did anything, as far as its time began anew for them. */
  stalledExcuses: number;
  idleExcuses: number;
}

/** A limit is kept to within a quarter of itself. */
const LOOKS = 4;
/** So often at most a client's time begins anew because whoever looks was held up. */
const EXCUSES_MAX = 3;

export class ClientWatch {
  readonly #clock: Clock;
  readonly #limits: ClientWatchLimits;
  readonly #clients = new Map<WatchedClient, Seen>();
  #timer: Timer | undefined;
  /** When the next look is due. */
  #dueAt = 0;

  constructor(clock: Clock, limits: ClientWatchLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  add(c: WatchedClient): void {
    const { stalledMs, idleMs } = this.#limits;
    if (stalledMs === 0 && idleMs === 0) return;
    const now = this.#clock.now();
    this.#clients.set(c, { awaited: undefined, awaitedSince: now, requests: c.requestsTotal, idleSince: now, stalledExcuses: 0, idleExcuses: 0 });
    this.#lookLater();
  }

  remove(c: WatchedClient): void {
    this.#clients.delete(c);
    if (this.#clients.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  get #betweenMs(): number {
    const { stalledMs, idleMs } = this.#limits;
    return Math.min(...[stalledMs, idleMs].filter((ms) => ms > 0)) / LOOKS;
  }

  #lookLater(): void {
    if (this.#timer !== undefined) return;
    this.#dueAt = this.#clock.now() + this.#betweenMs;
    this.#timer = this.#clock.after(this.#betweenMs, () => {
      this.#timer = undefined;
      this.#look();
      if (this.#clients.size > 0) this.#lookLater();
    });
  }

  #look(): void {
    const now = this.#clock.now();
    const { stalledMs, idleMs } = this.#limits;
    const lateMs = now - this.#dueAt;
    for (const [c, seen] of [...this.#clients]) {
      const awaited = c.awaited();
      if (awaited === undefined || awaited !== seen.awaited) {
        seen.awaitedSince = now;
        seen.stalledExcuses = 0;
      } else if (lateMs > stalledMs / LOOKS && seen.stalledExcuses < EXCUSES_MAX) {
        seen.awaitedSince = now;
        seen.stalledExcuses += 1;
      }
      seen.awaited = awaited;
      if (c.requestsInFlight > 0 || awaited !== undefined || c.requestsTotal !== seen.requests) {
        seen.idleSince = now;
        seen.idleExcuses = 0;
      } else if (lateMs > idleMs / LOOKS && seen.idleExcuses < EXCUSES_MAX) {
        seen.idleSince = now;
        seen.idleExcuses += 1;
      }
      seen.requests = c.requestsTotal;
      if (stalledMs > 0 && now - seen.awaitedSince >= stalledMs) c.end('stalled');
      else if (idleMs > 0 && now - seen.idleSince >= idleMs) c.end('idle');
    }
  }
}
