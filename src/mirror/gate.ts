/**
 * Why the device may not admit, issue or answer: sets of reasons, not flags, so that each party takes back only its own.
 *
 *   suspended   nothing is admitted, issued or answered, reads included; when that has lasted too long, all is answered
 *               with an error until it ends
 *   closed      nothing new is admitted; what was admitted goes on
 *   held        no write is issued
 *   settling    losses being settled: no reply to a write or FLUSH is given
 */

/** Nothing is answered now. Times in ms of the device's clock. */
export interface Suspension {
  reasons: string[];
  since: number;
  /** When all is answered with an error, unless it has ended by then; null: no such time is set. */
  errorsAt: number | null;
  /** Not 0: it is, with this. */
  errno: number;
}

/** Tells of each that is added. */
class Reasons extends Set<string> {
  readonly #added: () => void;

  constructor(added: () => void) {
    super();
    this.#added = added;
  }

  override add(reason: string): this {
    super.add(reason);
    this.#added();
    return this;
  }
}

export class Gate {
  /** Called when something may not go on that could before. */
  shut: () => void = () => undefined;
  readonly suspended = this.#reasons();
  readonly closed = this.#reasons();
  readonly held = this.#reasons();
  #stopped = 0;
  #settling = 0;
  #suspendedSince = 0;
  #errorsAt: number | null = null;
  /** Not 0: the suspension has lasted too long, and everything is answered with this until it ends. */
  whileSuspended = 0;

  #reasons(): Set<string> {
    return new Reasons(() => {
      this.shut();
    });
  }

  /** Not 0: the device has stopped, and answers this to everything. */
  get stopped(): number {
    return this.#stopped;
  }

  stop(errno: number): void {
    this.#stopped = errno;
    this.shut();
  }

  /** Nothing is in anybody's way. */
  get isOpen(): boolean {
    return this.#stopped === 0 && this.suspended.size === 0 && this.closed.size === 0 && this.held.size === 0;
  }

  /** What everything is answered with now; 0: as it went. */
  get refusal(): number {
    return this.stopped !== 0 || this.suspended.size === 0 ? this.stopped : this.whileSuspended;
  }

  get mayAdmit(): boolean {
    return this.suspended.size === 0 && this.closed.size === 0;
  }

  get mayIssue(): boolean {
    return this.suspended.size === 0 && this.held.size === 0;
  }

  mayReply(toWrite: boolean): boolean {
    if (this.refusal !== 0) return true;
    return this.suspended.size === 0 && !(toWrite && this.#settling > 0);
  }

  suspend(reason: string, now: number, errorsAt: number | null): void {
    if (this.suspended.size === 0) this.#suspendedSince = now;
    this.suspended.add(reason);
    this.#errorsAt = errorsAt ?? this.#errorsAt;
  }

  /** True: this was the last reason. */
  unsuspend(reason: string): boolean {
    if (!this.suspended.delete(reason) || this.suspended.size > 0) return false;
    this.whileSuspended = 0;
    this.#errorsAt = null;
    return true;
  }

  get suspension(): Suspension | null {
    if (this.suspended.size === 0) return null;
    return { reasons: [...this.suspended], since: this.#suspendedSince, errorsAt: this.#errorsAt, errno: this.whileSuspended };
  }

  /** A loss is being settled under this name: writes wait, and so do their replies. */
  beginSettling(hold: string): void {
    this.held.add(hold);
    this.#settling += 1;
  }

  endSettling(hold: string): void {
    this.held.delete(hold);
    this.#settling -= 1;
  }
}
