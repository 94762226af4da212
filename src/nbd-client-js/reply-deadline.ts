/**
 * One timer for all requests in flight: it stands for the one that is waited for longest (M14). A timer for each would cost
 * more than the request.
 */
import type { Clock, Timer } from '../io/types.ts';

export interface ReplyDeadlineOptions {
  clock: Clock;
  replyTimeoutMs: number;
  /** When the first of those that are out is overdue (see `Link`); undefined: none is out. Never goes back while none is sent. */
  dueAt: () => number | undefined;
  onLate: () => void;
}

export class ReplyDeadline {
  readonly #o: ReplyDeadlineOptions;
  #timer: Timer | undefined;
  #dueAt = 0;
  #ended = false;

  constructor(o: ReplyDeadlineOptions) {
    this.#o = o;
  }

  /** A request is sent now. */
  sent(now: number): void {
    if (this.#timer === undefined && !this.#ended) this.#arm(now + this.#o.replyTimeoutMs, now);
  }

  /** For good. */
  end(): void {
    this.#ended = true;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(dueAt: number, now: number): void {
    this.#dueAt = dueAt;
    this.#timer = this.#o.clock.after(Math.max(1, dueAt - now), () => {
      this.#timer = undefined;
      this.#tick();
    });
  }

  #tick(): void {
    const { clock, replyTimeoutMs, dueAt, onLate } = this.#o;
    const due = dueAt();
    if (this.#ended || due === undefined) return;
    const now = clock.now();
    if (now < due) {
      this.#arm(due, now);
    } else if (now - this.#dueAt > replyTimeoutMs / 2) {
      // The timer came far too late: this process was stopped, and replies may be waiting in the socket.
      this.#arm(now + replyTimeoutMs / 4, now);
    } else onLate();
  }
}
