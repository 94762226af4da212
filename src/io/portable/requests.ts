/** The requests of all server connections, found by id. Records are reused; an id comes again after 2^33 requests. */
import type { Handle, OpId, RequestId } from '../types.ts';

const SLOTS_MAX = 2 ** 20;
/** Beyond it a number does not tell the ids of neighbours apart. */
const SERIAL_MAX = 2 ** 33 - 1;

/** The connection a request came on. */
export interface RequestOwner {
  reply(r: ServerRequest, op: OpId, errno: number, h: Handle, hOffset: number, length: number): void;
  replyBlockStatus(r: ServerRequest, op: OpId, chunks: readonly Uint8Array[]): void;
}

export interface ServerRequest {
  /** serial * 2^20 + slot while live; 0 when free. */
  id: RequestId;
  readonly slot: number;
  conn: RequestOwner | undefined;
  /** Its place in the connection's list. */
  place: number;
  cookieHi: number;
  cookieLo: number;
  cmd: number;
  offset: number;
  /** As it came, for extended replies. */
  offsetHi: number;
  offsetLo: number;
  length: number;
  /** What it counts for against the connection's `bytesMax`. */
  heldBytes: number;
  /** Its reply is on the way. */
  replying: boolean;
  /** Of the reply. */
  op: OpId;
  /** The reply's reference; 0: none. */
  handle: Handle;
}

export class RequestTable {
  readonly #all: ServerRequest[] = [];
  readonly #free: ServerRequest[] = [];
  #serial: number;

  /** `serial`: of the first request. */
  constructor(serial = 1) {
    this.#serial = serial;
  }

  take(conn: RequestOwner): ServerRequest {
    let r = this.#free.pop();
    if (r === undefined) {
      const slot = this.#all.length;
      if (slot >= SLOTS_MAX) throw new Error('too many requests');
      r = {
        id: 0,
        slot,
        conn: undefined,
        place: 0,
        cookieHi: 0,
        cookieLo: 0,
        cmd: 0,
        offset: 0,
        offsetHi: 0,
        offsetLo: 0,
        length: 0,
        heldBytes: 0,
        replying: false,
        op: 0,
        handle: 0,
      };
      this.#all.push(r);
    }
    r.id = this.#serial * SLOTS_MAX + r.slot;
    this.#serial = this.#serial < SERIAL_MAX ? this.#serial + 1 : 1;
    r.conn = conn;
    r.replying = false;
    r.op = 0;
    r.handle = 0;
    return r;
  }

  find(id: RequestId): ServerRequest | undefined {
    const r = this.#all[id % SLOTS_MAX];
    return r?.id === id && id !== 0 ? r : undefined;
  }

  at(slot: number): ServerRequest {
    const r = this.#all[slot];
    if (r === undefined) throw new Error('request slot is missing');
    return r;
  }

  give(r: ServerRequest): void {
    r.id = 0;
    r.conn = undefined;
    this.#free.push(r);
  }
}
