/**
 * The connections of one client, and the pieces out on each: a piece is one NBD request on the wire. Pieces are reused
 * records in a list of their link, oldest first.
 */
import type { ConnId } from '../io/types.ts';
import type { Request } from './request-pool.ts';

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

/** One connection: what is out on it, oldest first. */
export class Link {
  readonly conn: ConnId;
  open = true;
  requests = 0;
  bytes = 0;
  oldest: Piece | undefined;
  #newest: Piece | undefined;

  constructor(conn: ConnId) {
    this.conn = conn;
  }

  add(p: Piece, now: number): void {
    p.link = this;
    p.sentAt = now;
    p.prev = this.#newest;
    p.next = undefined;
    if (this.#newest === undefined) this.oldest = p;
    else this.#newest.next = p;
    this.#newest = p;
    this.requests += 1;
    this.bytes += p.payloadBytes;
  }

  remove(p: Piece): void {
    if (p.prev === undefined) this.oldest = p.next;
    else p.prev.next = p.next;
    if (p.next === undefined) this.#newest = p.prev;
    else p.next.prev = p.prev;
    this.requests -= 1;
    this.bytes -= p.payloadBytes;
  }
}

export interface LinkLimits {
  /** Pieces without a reply, and their payload bytes, on each connection. */
  requestsMax: number;
  bytesMax: number;
}

export class Links {
  readonly #limits: LinkLimits;
  readonly #all: Link[] = [];

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

  /** The least busy one with room for a piece of so many payload bytes; a piece alone always has room. */
  pick(bytes: number): Link | undefined {
    let best: Link | undefined;
    for (const link of this.#all) {
      if (!link.open || link.requests >= this.#limits.requestsMax) continue;
      if (link.requests > 0 && link.bytes + bytes > this.#limits.bytesMax) continue;
      if (best === undefined || link.requests < best.requests) best = link;
    }
    return best;
  }

  /** When the oldest piece without a reply was sent. */
  oldestSentAt(): number | undefined {
    let oldest: number | undefined;
    for (const link of this.#all) {
      const p = link.oldest;
      if (p !== undefined && (oldest === undefined || p.sentAt < oldest)) oldest = p.sentAt;
    }
    return oldest;
  }
}
