/**
 * WRITEs that the engine executes and answers without telling (`Engine.serve`).
 *
 *   ServerConn --request--> a served connection's plain WRITE: touched, leg, touched --well--> reply
 *                           all else, and what failed ------------------------------> REQUEST
 */
import { NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import type { ConnId, Handle, LegId, OpId, RequestId, ServeRules } from '../types.ts';
import { Touched } from '../touched.ts';

interface Serve {
  rules: ServeRules;
  touched: Touched;
  ending: boolean;
  op: OpId;
  underWay: number;
  answered: number;
}

interface Write {
  serve: Serve;
  conn: ConnId;
  req: RequestId;
  offset: number;
  length: number;
  h: Handle;
}

/** What is asked of the engine. */
export interface ServesOwner {
  /** With an operation that `Serves.done` hears of. */
  write(op: OpId, leg: LegId, offset: number, h: Handle, length: number): void;
  reply(req: RequestId): void;
  tell(conn: ConnId, req: RequestId, offset: number, length: number, h: Handle): void;
  release(h: Handle): void;
  unserved(op: OpId, answered: number): void;
}

export class Serves {
  readonly #owner: ServesOwner;
  readonly #serves = new Map<ConnId, Serve>();
  readonly #writes: (Write | undefined)[] = [];
  readonly #free: number[] = [];

  constructor(owner: ServesOwner) {
    this.#owner = owner;
  }

  begin(conn: ConnId, rules: ServeRules): void {
    if (this.#serves.has(conn)) throw new Error(`connection ${String(conn)} is served already`);
    const touched = new Touched(rules.sizeBytes, rules.regionBytes, rules.touched);
    this.#serves.set(conn, { rules, touched, ending: false, op: 0, underWay: 0, answered: 0 });
  }

  end(op: OpId, conn: ConnId): void {
    const s = this.#serves.get(conn);
    if (s === undefined) {
      this.#owner.unserved(op, 0);
      return;
    }
    s.ending = true;
    s.op = op;
    this.#serves.delete(conn);
    if (s.underWay === 0) this.#owner.unserved(op, s.answered);
  }

  answered(conn: ConnId): number {
    return this.#serves.get(conn)?.answered ?? 0;
  }

  /** True: it takes over the request, and the reference to `h`. */
  takes(conn: ConnId, req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): boolean {
    const s = this.#serves.get(conn);
    if (s === undefined || cmd !== NBD_CMD_WRITE || flags !== 0 || length === 0 || h === 0) return false;
    const { sizeBytes, blockBytes, leg } = s.rules;
    if (offset % blockBytes !== 0 || length % blockBytes !== 0 || offset + length > sizeBytes) return false;
    const slot = this.#free.pop() ?? this.#writes.length;
    this.#writes[slot] = { serve: s, conn, req, offset, length, h };
    s.underWay += 1;
    s.touched.touch(offset, length);
    // Operations of these have numbers of their own, below 0.
    this.#owner.write(-1 - slot, leg, offset, h, length);
    return true;
  }

  done(op: OpId, errno: number): void {
    const slot = -1 - op;
    const w = this.#writes[slot];
    if (w === undefined) throw new Error(`a served write ended for record ${String(slot)}, which is free`);
    this.#writes[slot] = undefined;
    this.#free.push(slot);
    const { serve, conn, req, offset, length, h } = w;
    serve.touched.touch(offset, length);
    if (errno === 0) {
      serve.answered += 1;
      this.#owner.reply(req);
      this.#owner.release(h);
    } else this.#owner.tell(conn, req, offset, length, h);
    serve.underWay -= 1;
    if (serve.ending && serve.underWay === 0) this.#owner.unserved(serve.op, serve.answered);
  }
}
