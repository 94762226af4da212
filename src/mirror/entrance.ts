/** Requests that may not be admitted yet wait here, in order; and whoever waits for the device to be idle. */
import type { Gate } from './gate.ts';
import type { MirrorRequest, RequestPool } from './request.ts';

export class Entrance {
  readonly #gate: Gate;
  readonly #pool: RequestPool;
  readonly #requestsMax: number;
  #waiting: MirrorRequest[] = [];
  #idleWaiters: (() => void)[] = [];
  #answerWaiters: { serial: number; tell: () => void }[] = [];

  constructor(gate: Gate, pool: RequestPool, requestsMax: number) {
    this.#gate = gate;
    this.#pool = pool;
    this.#requestsMax = requestsMax;
  }

  /** Admitted and not yet answered. */
  get inHand(): number {
    return this.#pool.busy - this.#waiting.length;
  }

  /** False: the request, which is in the pool already, waits here. */
  admits(m: MirrorRequest): boolean {
    if (this.#gate.mayAdmit && this.inHand <= this.#requestsMax) return true;
    this.#waiting.push(m);
    this.tellIdle();
    return false;
  }

  /** An answer has made room for one more. */
  next(): MirrorRequest | undefined {
    return this.#gate.mayAdmit && this.#gate.stopped === 0 ? this.#waiting.shift() : undefined;
  }

  takeAll(): MirrorRequest[] {
    const all = this.#waiting;
    this.#waiting = [];
    return all;
  }

  tellIdle(): void {
    if (this.#answerWaiters.length > 0) this.#tellAnswered();
    if (this.#idleWaiters.length === 0 || this.inHand > 0) return;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const f of waiters) f();
  }

  /** Resolves when all that has come by now is answered, also what waits here. */
  answered(): Promise<void> {
    if (this.#pool.busy === 0) return Promise.resolve();
    return new Promise((tell) => this.#answerWaiters.push({ serial: this.#pool.taken, tell }));
  }

  #tellAnswered(): void {
    let oldest = Infinity;
    for (const m of this.#pool.active()) oldest = Math.min(oldest, m.serial);
    const waiters = this.#answerWaiters;
    this.#answerWaiters = waiters.filter((w) => w.serial >= oldest);
    for (const w of waiters) if (w.serial < oldest) w.tell();
  }

  /** Resolves when no request is in hand but those that wait here. */
  idle(): Promise<void> {
    if (this.inHand <= 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }
}
