/**
 * WRITEs, and where there are marks READs, that the engine executes and answers without telling (`Engine.serve`).
 *
 *   ServerConn --request--> a served connection's plain WRITE: touched, leg, touched --well--> reply
 *                           its plain READ: leg ---------------------------------------well--> reply
 *                           all else, and what failed ------------------------------> REQUEST
 */
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import { type ConnId, type Handle, type LegId, type OpId, type RequestId, type ServeRules, UNDER_WAY_READ } from '../types.ts';
import { Touched } from '../touched.ts';

/** Longer ones are told, as by the native engine. */
const READ_MAX_BYTES = 48 * 1024;

interface Serve {
  rules: ServeRules;
  touched: Touched;
  ending: boolean;
  op: OpId;
  underWay: number;
  answered: number;
}

interface Request {
  serve: Serve;
  conn: ConnId;
  req: RequestId;
  cmd: number;
  offset: number;
  length: number;
  h: Handle;
  /** Where there are marks: its word in `underWay`; below 0: a read that found none. */
  word: number;
}

/** What is asked of the engine. */
export interface ServesOwner {
  /** With an operation that `Serves.done` hears of. */
  write(op: OpId, leg: LegId, offset: number, h: Handle, length: number): void;
  read(op: OpId, leg: LegId, offset: number, length: number): void;
  /** A WRITE: `h` and `length` are 0. */
  reply(req: RequestId, h: Handle, length: number): void;
  tell(conn: ConnId, req: RequestId, cmd: number, offset: number, length: number, h: Handle): void;
  release(h: Handle): void;
  unserved(op: OpId, answered: number): void;
}

export class Serves {
  readonly #owner: ServesOwner;
  readonly #serves = new Map<ConnId, Serve>();
  readonly #requests: (Request | undefined)[] = [];
  readonly #free: number[] = [];
  /** Connections that are to be closed in order. */
  readonly #closing = new Map<ConnId, () => void>();

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
    if (s === undefined || flags !== 0 || length === 0) return false;
    const { sizeBytes, blockBytes, leg, marks } = s.rules;
    if (cmd === NBD_CMD_WRITE ? h === 0 : cmd !== NBD_CMD_READ || marks === undefined) return false;
    if (offset % blockBytes !== 0 || length % blockBytes !== 0 || offset + length > sizeBytes) return false;
    if (cmd === NBD_CMD_READ && length > READ_MAX_BYTES) return false;
    const word = wordFor(s.rules, cmd, offset, length);
    if (cmd === NBD_CMD_WRITE && word < 0) return false;
    const slot = this.#free.pop() ?? this.#requests.length;
    this.#requests[slot] = { serve: s, conn, req, cmd, offset, length, h, word };
    s.underWay += 1;
    // Operations of these have numbers of their own, below 0.
    if (cmd === NBD_CMD_READ) {
      if (word >= 0) marks?.underWay.fill(UNDER_WAY_READ, word, word + 1);
      this.#owner.read(-1 - slot, leg, offset, length);
    } else {
      marks?.underWay.fill(Math.floor(offset / s.rules.regionBytes) + 1, word, word + 1);
      s.touched.touch(offset, length);
      this.#owner.write(-1 - slot, leg, offset, h, length);
    }
    return true;
  }

  done(op: OpId, errno: number, data: Handle): void {
    const slot = -1 - op;
    const r = this.#requests[slot];
    if (r === undefined) throw new Error(`a served request ended for record ${String(slot)}, which is free`);
    this.#requests[slot] = undefined;
    this.#free.push(slot);
    const { serve, conn, req, cmd, offset, length, word } = r;
    if (cmd === NBD_CMD_WRITE) serve.touched.touch(offset, length);
    if (word >= 0) serve.rules.marks?.underWay.fill(0, word, word + 1);
    const h = cmd === NBD_CMD_WRITE ? r.h : data;
    if (errno === 0) {
      serve.answered += 1;
      this.#owner.reply(req, data, cmd === NBD_CMD_WRITE ? 0 : length);
      this.#owner.release(h);
    } else {
      if (data !== 0) this.#owner.release(data);
      this.#owner.tell(conn, req, cmd, offset, length, r.h);
    }
    serve.underWay -= 1;
    if (serve.ending && serve.underWay === 0) this.#owner.unserved(serve.op, serve.answered);
    const close = this.#closing.get(conn);
    if (close === undefined || this.#isUnderWay(conn)) return;
    this.#closing.delete(conn);
    close();
  }

  /** True: `close` is called when all that is under way for it has been answered. */
  closesLater(conn: ConnId, close: () => void): boolean {
    if (!this.#isUnderWay(conn)) return false;
    this.#closing.set(conn, close);
    return true;
  }

  #isUnderWay(conn: ConnId): boolean {
    return this.#requests.some((r) => r?.conn === conn);
  }
}

/** A free word of `underWay` for a request that may be executed; below 0: it may not. */
function wordFor({ marks, regionBytes }: ServeRules, cmd: number, offset: number, length: number): number {
  if (marks === undefined) return 0;
  if (cmd === NBD_CMD_READ) return marks.underWay.indexOf(0);
  const region = Math.floor(offset / regionBytes);
  const alone = Math.floor((offset + length - 1) / regionBytes) === region;
  const allowed = ((marks.allowed[Math.floor(region / 32)] ?? 0) & (1 << (region % 32))) !== 0;
  return alone && allowed ? marks.underWay.indexOf(0) : -1;
}
