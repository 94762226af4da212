/**
 * WRITEs, and where there are marks READs, that the engine executes and answers without telling (`Engine.serve`).
 *
 *   ServerConn --request--> a served connection's plain WRITE: touched, leg, touched --well--> reply
 *                           its plain READ: leg ---------------------------------------well--> reply
 *                           all else, and what failed ------------------------------> REQUEST
 *
 * A WRITE whose region may be asked for waits, and is executed or told when that is answered.
 */
import { NBD_CMD_DISC, NBD_CMD_READ, NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import { Asks } from '../asks.ts';
import { Errno } from '../errno.ts';
import { type ServeRules, UNDER_WAY_READ } from '../serve.ts';
import type { ConnId, Handle, LegId, OpId, RequestId } from '../types.ts';
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
  asks: Asks | undefined;
  /** Their regions were asked for; in the order in which they came. */
  waiting: Waiting[];
  /** The operation that waits for more to be asked for; 0: none. */
  heeds: OpId;
  /** More was asked for than was told. */
  unheard: boolean;
}

interface Waiting {
  req: RequestId;
  offset: number;
  length: number;
  h: Handle;
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
  heeded(op: OpId, errno: number): void;
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
    const asks = rules.marks?.asks === undefined ? undefined : new Asks(rules.marks.asks);
    const s = { rules, touched, ending: false, op: 0, underWay: 0, answered: 0, asks, waiting: [], heeds: 0, unheard: false };
    this.#serves.set(conn, s);
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
    if (s.heeds !== 0) this.#owner.heeded(s.heeds, Errno.ESHUTDOWN);
    s.heeds = 0;
    this.#tellWaiting(conn, s);
    this.#lookAtEnd(conn);
    if (s.underWay === 0) this.#owner.unserved(op, s.answered);
  }

  heed(op: OpId, conn: ConnId): void {
    const s = this.#serves.get(conn);
    if (s === undefined) {
      this.#owner.heeded(op, Errno.ESHUTDOWN);
      return;
    }
    if (s.asks === undefined || s.heeds !== 0) {
      this.#owner.heeded(op, Errno.EINVAL);
      return;
    }
    s.heeds = op;
    this.#hear(s);
  }

  #hear(s: Serve): void {
    if (s.heeds === 0 || !s.unheard || s.asks?.isAnswered === true) return;
    const op = s.heeds;
    s.heeds = 0;
    s.unheard = false;
    this.#owner.heeded(op, 0);
  }

  /** What waits goes on, as far as it may; what it waited for in vain is told. */
  heeded(conn: ConnId): void {
    const s = this.#serves.get(conn);
    if (s === undefined) return;
    const all = s.waiting.splice(0);
    for (const [i, w] of all.entries()) {
      if (this.#execute(s, conn, w)) continue;
      if (s.asks?.isAnswered === true && !isAllowed(s.rules, w.offset)) {
        this.#owner.tell(conn, w.req, NBD_CMD_WRITE, w.offset, w.length, w.h);
        continue;
      }
      s.waiting = all.slice(i);
      break;
    }
    this.#lookAtEnd(conn);
  }

  /** False: it was not to be asked for. */
  #waits(s: Serve, req: RequestId, offset: number, length: number, h: Handle): boolean {
    if (s.asks === undefined || !isAlone(s.rules, offset, length) || isAllowed(s.rules, offset)) return false;
    if (!s.asks.ask(Math.floor(offset / s.rules.regionBytes))) return false;
    s.waiting.push({ req, offset, length, h });
    s.unheard = true;
    this.#hear(s);
    return true;
  }

  #execute(s: Serve, conn: ConnId, { req, offset, length, h }: Waiting): boolean {
    const word = wordFor(s.rules, NBD_CMD_WRITE, offset, length);
    if (word >= 0) this.#begin({ serve: s, conn, req, cmd: NBD_CMD_WRITE, offset, length, h, word });
    return word >= 0;
  }

  #tellWaiting(conn: ConnId, s: Serve): void {
    for (const w of s.waiting.splice(0)) this.#owner.tell(conn, w.req, NBD_CMD_WRITE, w.offset, w.length, w.h);
  }

  answered(conn: ConnId): number {
    return this.#serves.get(conn)?.answered ?? 0;
  }

  /** True: it takes over the request, and the reference to `h`. */
  takes(conn: ConnId, req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): boolean {
    const s = this.#serves.get(conn);
    // What came before the end of a connection is told before it.
    if (s !== undefined && cmd === NBD_CMD_DISC) this.#tellWaiting(conn, s);
    if (s === undefined || flags !== 0 || length === 0) return false;
    const { sizeBytes, blockBytes, marks } = s.rules;
    if (cmd === NBD_CMD_WRITE ? h === 0 : cmd !== NBD_CMD_READ || marks === undefined) return false;
    if (offset % blockBytes !== 0 || length % blockBytes !== 0 || offset + length > sizeBytes) return false;
    if (cmd === NBD_CMD_READ && length > READ_MAX_BYTES) return false;
    const word = wordFor(s.rules, cmd, offset, length);
    if (cmd === NBD_CMD_WRITE && word < 0) return this.#waits(s, req, offset, length, h);
    this.#begin({ serve: s, conn, req, cmd, offset, length, h, word });
    return true;
  }

  #begin(r: Request): void {
    const { leg, marks, regionBytes } = r.serve.rules;
    const slot = this.#free.pop() ?? this.#requests.length;
    this.#requests[slot] = r;
    r.serve.underWay += 1;
    // Operations of these have numbers of their own, below 0.
    if (r.cmd === NBD_CMD_READ) {
      if (r.word >= 0) marks?.underWay.fill(UNDER_WAY_READ, r.word, r.word + 1);
      this.#owner.read(-1 - slot, leg, r.offset, r.length);
    } else {
      marks?.underWay.fill(Math.floor(r.offset / regionBytes) + 1, r.word, r.word + 1);
      r.serve.touched.touch(r.offset, r.length);
      this.#owner.write(-1 - slot, leg, r.offset, r.h, r.length);
    }
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
    // What waits may have waited for a word of `underWay`.
    if (serve.waiting.length > 0) this.heeded(conn);
    if (serve.ending && serve.underWay === 0) this.#owner.unserved(serve.op, serve.answered);
    this.#lookAtEnd(conn);
  }

  #lookAtEnd(conn: ConnId): void {
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
    return this.#requests.some((r) => r?.conn === conn) || (this.#serves.get(conn)?.waiting.length ?? 0) > 0;
  }
}

/** A free word of `underWay` for a request that may be executed; below 0: it may not. */
function wordFor(rules: ServeRules, cmd: number, offset: number, length: number): number {
  const { marks } = rules;
  if (marks === undefined) return 0;
  if (cmd === NBD_CMD_READ) return marks.underWay.indexOf(0);
  return isAlone(rules, offset, length) && isAllowed(rules, offset) ? marks.underWay.indexOf(0) : -1;
}

/** Within one region. */
function isAlone({ regionBytes }: ServeRules, offset: number, length: number): boolean {
  return Math.floor((offset + length - 1) / regionBytes) === Math.floor(offset / regionBytes);
}

function isAllowed({ marks, regionBytes }: ServeRules, offset: number): boolean {
  const region = Math.floor(offset / regionBytes);
  return ((marks?.allowed[Math.floor(region / 32)] ?? 0) & (1 << (region % 32))) !== 0;
}
