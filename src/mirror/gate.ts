/**
 * Why the device may not admit, issue or answer: sets of reasons, not flags, so that each party takes back only its own.
 *
 *   suspended   nothing is admitted, issued or answered, reads included; when that has lasted too long, all is answered
 *               with an error until it ends
 *   closed      nothing new is admitted; what was admitted goes on
 *   held        no write is issued
 *   settling    losses being settled: no reply to a write or FLUSH is given
 */
export class Gate {
  readonly suspended = new Set<string>();
  readonly closed = new Set<string>();
  readonly held = new Set<string>();
  #settling = 0;
  /** Not 0: the device has stopped, and answers this to everything. */
  stopped = 0;
  /** Not 0: the suspension has lasted too long, and everything is answered with this until it ends. */
  whileSuspended = 0;

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
