/**
 * What callers asked for, as reused records: they grow to the number in flight and allocate nothing afterwards. The queue
 * runs through the records themselves.
 */
import type { OpOwner } from '../io/hub.ts';
import type { EngineValue, Handle } from '../io/types.ts';

export class Request {
  owner: OpOwner | undefined;
  tag = 0;
  cmd = 0;
  flags = 0;
  offset = 0;
  length = 0;
  h: Handle = 0;
  hOffset = 0;
  pieceMaxBytes = 0;
  /** The server has no FUA: a flush follows the last piece. */
  flushAfter = false;
  /** The pipeline holds a reference to `h`. */
  holds = false;
  /** In the queue; pieces of it may be out already. */
  queued = false;
  /** Bytes for which a piece was sent. */
  sentBytes = 0;
  /** Pieces without a reply. */
  piecesOut = 0;
  errno = 0;
  /** What onDone tells: bytes asked for, or covered by a block status. */
  doneBytes = 0;
  /** READ: the data. */
  data: Handle = 0;
  value: EngineValue | undefined;
  next: Request | undefined;

  clear(): void {
    this.owner = undefined;
    this.h = 0;
    this.hOffset = 0;
    this.flushAfter = false;
    this.holds = false;
    this.queued = false;
    this.sentBytes = 0;
    this.piecesOut = 0;
    this.errno = 0;
    this.doneBytes = 0;
    this.data = 0;
    this.value = undefined;
    this.next = undefined;
  }
}

/** First in, first out; a flush that completes a write goes to the front. */
export class RequestQueue {
  #first: Request | undefined;
  #last: Request | undefined;
  #size = 0;

  get first(): Request | undefined {
    return this.#first;
  }

  get size(): number {
    return this.#size;
  }

  push(r: Request): void {
    r.queued = true;
    r.next = undefined;
    if (this.#last === undefined) this.#first = r;
    else this.#last.next = r;
    this.#last = r;
    this.#size += 1;
  }

  pushFront(r: Request): void {
    r.queued = true;
    r.next = this.#first;
    this.#first = r;
    this.#last ??= r;
    this.#size += 1;
  }

  shift(): Request | undefined {
    const r = this.#first;
    if (r === undefined) return undefined;
    this.#first = r.next;
    if (this.#first === undefined) this.#last = undefined;
    r.next = undefined;
    r.queued = false;
    this.#size -= 1;
    return r;
  }
}
