/**
 * A TRIM or WRITE_ZEROES longer than what a device is given at once, as pieces, each begun when the one before it was answered.
 *
 *   request --> piece --> device --ok--> next piece --> ... --ok--> ok of the request
 *                                \--error, or nobody to answer--> the end; what is done stays done
 *
 * Why: a device holds a range (its lock, its marks, its targets' time) for as long as a request of it lasts; extended headers
 * let one request name a whole device.
 *
 * Invariants:
 * - one piece at a time is with the device, and none is begun for a request that is not open any more (M4)
 * - every piece is judged again when it begins: the device may have become smaller, or have stopped, since the last one
 * - with FUA every piece is durable before the next
 */
import type { Replier } from './device.ts';
import type { RequestId } from '../io/types.ts';

/** A whole number of the largest minimum block size. As long as what our own client asks for where headers are compact. */
export const PIECE_MAX_BYTES = 1024 * 1024 * 1024;

export interface LongChangeOwner extends Replier {
  isOpen(req: RequestId): boolean;
  /** An NBD error number, or 0. */
  judgePiece(cmd: number, flags: number, offset: number, length: number): number;
  beginPiece(r: Replier, req: RequestId, cmd: number, flags: number, offset: number, length: number): void;
}

export class LongChange implements Replier {
  readonly #owner: LongChangeOwner;
  readonly #cmd: number;
  readonly #flags: number;
  readonly #end: number;
  #at: number;
  #pieceBytes = 0;
  /** A device that answers at once does so from within `beginPiece`: no deeper for each piece. */
  #beginning = false;
  #answered = false;

  /** The whole range has been judged. */
  constructor(owner: LongChangeOwner, cmd: number, flags: number, offset: number, length: number) {
    this.#owner = owner;
    this.#cmd = cmd;
    this.#flags = flags;
    this.#at = offset;
    this.#end = offset + length;
  }

  begin(req: RequestId): void {
    this.#beginning = true;
    do {
      this.#answered = false;
      this.#pieceBytes = Math.min(PIECE_MAX_BYTES, this.#end - this.#at);
      const errno = this.#owner.judgePiece(this.#cmd, this.#flags, this.#at, this.#pieceBytes);
      if (errno === 0) this.#owner.beginPiece(this, req, this.#cmd, this.#flags, this.#at, this.#pieceBytes);
      else this.#owner.error(req, errno);
    } while (this.#hasAnswered());
    this.#beginning = false;
  }

  // A method because the answer comes behind the compiler's back.
  #hasAnswered(): boolean {
    return this.#answered;
  }

  ok(req: RequestId): void {
    if (!this.#owner.isOpen(req)) return;
    this.#at += this.#pieceBytes;
    if (this.#at === this.#end) this.#owner.ok(req);
    else if (this.#beginning) this.#answered = true;
    else this.begin(req);
  }

  error(req: RequestId, errno: number): void {
    this.#owner.error(req, errno);
  }

  data(): void {
    throw new Error('a change was answered with data');
  }

  extents(): void {
    throw new Error('a change was answered with extents');
  }
}
