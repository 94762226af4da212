/**
 * The connections of one client, and the pieces out on each: a piece is one NBD request on the wire. Pieces are reused
 * records in a list of their link, oldest first.
 */
import type { ConnId } from '../io/types.ts';
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../nbd/wire/constants.ts';
import type { Request } from './request-pool.ts';

/** What a request counts for against a connection's bytes. */
export function payloadBytes(cmd: number, length: number): number {
  return cmd === NBD_CMD_READ || cmd === NBD_CMD_WRITE ? length : 0;
}

export class Piece {
  /** Its number in the pool, which is the tag of its engine operation. */
  readonly index: number;
  request: Request | undefined;
  link: Link | undefined;
  /** Within the request. */
  start = 0;
  length = 0;
  payloadBytes = 0;
  sentAt = 0;
  /** How often it was; more than once when it came damaged. */
  sent = 0;
  prev: Piece | undefined;
  next: Piece | undefined;

  constructor(index: number) {
    this.index = index;
  }
}

export class PiecePool {
  readonly #pieces: Piece[] = [];
  readonly #free: Piece[] = [];

  take(): Piece {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    const p = new Piece(this.#pieces.length);
    this.#pieces.push(p);
    return p;
  }

  at(index: number): Piece {
    const p = this.#pieces[index];
    if (p === undefined) throw new Error(`piece ${String(index)} does not exist`);
    return p;
  }

  give(p: Piece): void {
    p.request = undefined;
    p.link = undefined;
    p.prev = undefined;
    p.next = undefined;
    this.#free.push(p);
  }
}

/** Times replyTimeoutMs that a piece is waited for at most, whatever is answered meanwhile. */
const AGE_MAX = 10;

/**
 * One connection: what is out on it, oldest first.
 *
 * On a slow link a piece waits while what was sent before it is carried, which is nobody's fault: a piece is waited for from when
 * it was sent, or from the last answer to an older one, whichever is later. Of all that are out, the oldest is the one waited for
 * longest, so that one number a connection stands for all. An answer to a younger one is none to it: it may hang for itself.
 *
 * All that has an end: a disk that answers one by one, each of them just in time, is not waited for without one (M14). Nor is a piece
 * whose answers come damaged: it is sent again from its old place, with nothing of its time given back.
 */
export class Link {
  readonly conn: ConnId;
  open = true;
  requests = 0;
  bytes = 0;
  #oldest: Piece | undefined;
  #newest: Piece | undefined;
  /** When the oldest piece became that: sent with none before it, or the last before it was answered. */
  #oldestSince = 0;

  constructor(conn: ConnId) {
    this.conn = conn;
  }

  add(p: Piece, now: number): void {
    p.link = this;
    p.sentAt = now;
    p.prev = this.#newest;
    p.next = undefined;
    if (this.#newest === undefined) {
      this.#oldest = p;
      this.#oldestSince = now;
    } else this.#newest.next = p;
    this.#newest = p;
    this.requests += 1;
    this.bytes += p.payloadBytes;
  }

  /** It was answered. */
  remove(p: Piece, now: number): void {
    if (p.prev === undefined) {
      this.#oldest = p.next;
      this.#oldestSince = now;
    } else p.prev.next = p.next;
    if (p.next === undefined) this.#newest = p.prev;
    else p.next.prev = p.prev;
    this.requests -= 1;
    this.bytes -= p.payloadBytes;
  }

  /** When a reply is overdue, if none comes before; undefined: none is out. */
  dueAt(replyTimeoutMs: number): number | undefined {
    if (this.#oldest === undefined) return undefined;
    return Math.min(this.#oldestSince + replyTimeoutMs, this.#oldest.sentAt + replyTimeoutMs * AGE_MAX);
  }
}

/**
 * Short writes stay together on one connection, up to so many bytes without a reply: what leaves in one send, is received by one call and
 * executed by one thread costs a fraction of the same spread over all of them. What is long is carried by several at a time.
 */
export const TOGETHER_BYTES = 256 * 1024;
const SHORT_MAX_BYTES = 32 * 1024;

export interface LinkLimits {
  /** Pieces without a reply, and their payload bytes, on each connection. */
  requestsMax: number;
  bytesMax: number;
  /** Short writes do not stay together. */
  spread?: boolean;
}

export class Links {
  readonly #limits: LinkLimits;
  readonly #all: Link[] = [];
  /** The one that the last short write went to. */
  #last: Link | undefined;

  constructor(limits: LinkLimits) {
    this.#limits = limits;
  }

  get all(): readonly Link[] {
    return this.#all;
  }

  add(conn: ConnId): Link {
    const link = new Link(conn);
    this.#all.push(link);
    return link;
  }

  get anyOpen(): boolean {
    return this.#all.some((l) => l.open);
  }

  /** For a piece of that kind; undefined: none has room. See TOGETHER_BYTES. */
  pickFor(cmd: number, flags: number, length: number): Link | undefined {
    if (this.#limits.spread === true || cmd !== NBD_CMD_WRITE || flags !== 0 || length > SHORT_MAX_BYTES) return this.pick(payloadBytes(cmd, length));
    const last = this.#last;
    if (last?.open === true && last.bytes + length <= TOGETHER_BYTES && this.#hasRoom(last, length)) return last;
    this.#last = this.pick(length);
    return this.#last;
  }

  #hasRoom(link: Link, bytes: number): boolean {
    return link.requests < this.#limits.requestsMax && (link.requests === 0 || link.bytes + bytes <= this.#limits.bytesMax);
  }

  /** The least busy one with room for a piece of so many payload bytes; a piece alone always has room. */
  pick(bytes: number): Link | undefined {
    let best: Link | undefined;
    for (const link of this.#all) {
      if (!link.open || !this.#hasRoom(link, bytes)) continue;
      if (best === undefined || link.requests < best.requests) best = link;
    }
    return best;
  }

  /** When the first reply is overdue, if none comes before. */
  dueAt(replyTimeoutMs: number): number | undefined {
    let first: number | undefined;
    for (const link of this.#all) {
      const due = link.dueAt(replyTimeoutMs);
      if (due !== undefined && (first === undefined || due < first)) first = due;
    }
    return first;
  }
}
