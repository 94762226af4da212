/**
 * Requests in flight over one or more connections to one export, and what becomes of them when one is lost.
 *
 *   submit -> [queue, bounded] -> piece, piece, …  -> engine.send on a link (links.ts)
 *                ^ flush of a write whose server has no FUA        | done
 *                                                                  v
 *                     owner.onDone, once  <-  last piece done, or first error and no piece out
 *
 * Why: an engine sends what it is given; bounds, splitting, deadlines and "a leg is lost as a whole" are decisions, so
 * they are made here, once for every request kind.
 *
 * Invariants:
 * - each request ends in exactly one onDone, never before `submit` has returned; one refused here ends in a later turn
 * - a payload is referenced by a piece's operation or, while queued, by the pipeline; with checksums by both, to the end
 * - what came damaged (EBADMSG) is sent again before anybody hears of it: whoever asked still holds its range (M4)
 * - one timer: it stands for the piece that has been waited for longest (M14)
 * - the loss of any connection closes all; `lost` is set before the first onDone that follows from it (but for an answer
 *   that broke the protocol: its connection's requests end with EINVAL), and the closed listeners are called once, after
 *   the last
 */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import { type Clock, type ConnId, type EngineValue, Errno, type Handle } from '../io/types.ts';
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_DISC, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLUSH, NBD_CMD_READ } from '../nbd/wire/constants.ts';
import { statusPayloadBytes } from '../nbd/wire/extended.ts';
import { type Link, type LinkLimits, Links, payloadBytes, type Piece, PiecePool } from './links.ts';
import type { Mismatches } from './mismatches.ts';
import { gatherRead, translateStatus } from './reply-data.ts';
import { ReplyDeadline } from './reply-deadline.ts';
import { opErrno, serverErrno, tellsOfConnection, whyClosed } from './reply-error.ts';
import { Request, RequestQueue } from './request-pool.ts';

export interface PipelineOptions extends LinkLimits {
  hub: EngineHub;
  clock: Clock;
  /** Peer's name, for messages. */
  remote: string;
  /** Requests that wait for a connection with room. */
  queueMax: number;
  replyTimeoutMs: number;
  baseAllocationContextId: number | undefined;
  /** Its connections have checksums; undefined: they have none. */
  mismatches: Mismatches | undefined;
}

/** Why there is no connection any more; errno 0 after `disconnect`. */
export interface Loss {
  errno: number;
  reason: string;
}

export class Pipeline {
  readonly #o: PipelineOptions;
  readonly #links: Links;
  readonly #deadline: ReplyDeadline;
  readonly #queue = new RequestQueue();
  readonly #pieces = new PiecePool();
  readonly #freeRequests: Request[] = [];
  readonly #pieceOwner: OpOwner;
  /** Requests taken and not yet ended. */
  #live = 0;
  #pumping = false;
  #refused: Request[] = [];
  #draining = false;
  #lost: Loss | undefined;
  #closedReported = false;
  #closedListeners: ((loss: Loss) => void)[] = [];
  readonly #idleListeners: (() => void)[] = [];

  constructor(o: PipelineOptions) {
    this.#o = o;
    this.#links = new Links(o);
    this.#deadline = new ReplyDeadline({
      clock: o.clock,
      replyTimeoutMs: o.replyTimeoutMs,
      dueAt: () => this.#links.dueAt(o.replyTimeoutMs),
      onLate: () => {
        this.#lose(Errno.ETIMEDOUT, `no reply within ${String(o.replyTimeoutMs)} ms`);
      },
    });
    this.#pieceOwner = {
      onDone: (index, errno, length, h, value) => {
        this.#pieceDone(index, errno, length, h, value);
      },
    };
  }

  get lost(): Loss | undefined {
    return this.#lost;
  }

  get connections(): number {
    return this.#links.all.length;
  }

  get requestsInFlight(): number {
    return this.#live;
  }

  addConnection(conn: ConnId): void {
    const link = this.#links.add(conn);
    this.#o.hub.own(conn, {
      onRequest: () => {
        throw new Error('engine reported a request on a client connection');
      },
      onClosed: (errno) => {
        link.open = false;
        this.#lose(errno === 0 ? Errno.ESHUTDOWN : errno, whyClosed(errno));
        this.#reportClosed();
      },
    });
  }

  /** So many further requests are surely taken; beyond it one may be refused with EAGAIN. 0 when lost or draining. */
  room(): number {
    return this.#lost !== undefined || this.#draining ? 0 : Math.max(0, this.#o.queueMax - this.#queue.size);
  }

  submit(
    owner: OpOwner,
    tag: number,
    cmd: number,
    flags: number,
    offset: number,
    length: number,
    h: Handle,
    hOffset: number,
    pieceMaxBytes: number,
    flushAfter: boolean,
  ): void {
    if (this.#lost !== undefined) {
      this.refuse(owner, tag, opErrno(this.#lost));
      return;
    }
    if (this.#draining) {
      this.refuse(owner, tag, Errno.ESHUTDOWN);
      return;
    }
    if (this.#queue.size >= this.#o.queueMax) {
      this.refuse(owner, tag, Errno.EAGAIN);
      return;
    }
    const r = this.#take(owner, tag);
    r.cmd = cmd;
    r.flags = flags;
    r.offset = offset;
    r.length = length;
    r.doneBytes = length;
    r.h = h;
    r.hOffset = hOffset;
    r.pieceMaxBytes = pieceMaxBytes;
    r.flushAfter = flushAfter;
    if (this.#o.mismatches !== undefined) this.#hold(r);
    if (length <= pieceMaxBytes && this.#queue.first === undefined) {
      const link = this.#links.pickFor(cmd, flags, length);
      if (link !== undefined) {
        this.#send(r, link);
        return;
      }
    }
    this.#hold(r);
    this.#queue.push(r);
    this.#pump();
  }

  #hold(r: Request): void {
    if (r.h === 0 || r.holds) return;
    this.#o.hub.engine.retain(r.h);
    r.holds = true;
  }

  /** Ends a request that is not taken, in a later turn. */
  refuse(owner: OpOwner, tag: number, errno: number): void {
    const r = this.#take(owner, tag);
    r.errno = errno;
    this.#endLater(r);
  }

  /** Once, after every request has ended; in a later turn when that has happened already. */
  onClosed(f: (loss: Loss) => void): void {
    const loss = this.#lost;
    if (this.#closedReported && loss !== undefined) {
      this.#o.clock.soon(() => {
        f(loss);
      });
    } else this.#closedListeners.push(f);
  }

  /** Closes every connection now; requests end with `errno`. */
  close(errno: number, reason: string): void {
    this.#lose(errno, reason);
    this.#closeLinks();
    this.#reportClosed();
  }

  /** Takes no more requests, waits for those in flight, says goodbye, closes. Resolves when all is closed; never rejects. */
  async disconnect(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.onClosed(() => {
        resolve();
      });
    });
    this.#draining = true;
    if (this.#live > 0) {
      await new Promise<void>((resolve) => {
        this.#idleListeners.push(resolve);
      });
    }
    if (this.#lost === undefined) {
      this.#lost = { errno: 0, reason: 'disconnected' };
      for (const link of this.#links.all) void this.#sayGoodbye(link);
    }
    await closed;
  }

  async #sayGoodbye(link: Link): Promise<void> {
    const { hub, clock, replyTimeoutMs } = this.#o;
    const close = (): void => {
      if (link.open) hub.engine.close(link.conn, 0);
    };
    const timer = clock.after(replyTimeoutMs, close);
    // NBD_CMD_DISC has no reply: it is done when sent, or when the server has closed the connection in answer.
    await hub.run((op) => {
      hub.engine.send(op, link.conn, NBD_CMD_DISC, 0, 0, 0, 0, 0);
    });
    timer.cancel();
    close();
  }

  // ------------------------------------------------------------------------------------------------------- sending

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    for (;;) {
      const r = this.#queue.first;
      if (r === undefined) break;
      if (r.errno !== 0) {
        this.#queue.shift();
        if (r.piecesOut === 0) this.#end(r);
        continue;
      }
      const link = this.#links.pickFor(r.cmd, r.flags, Math.min(r.length - r.sentBytes, r.pieceMaxBytes));
      if (link === undefined) break;
      if (r.length - r.sentBytes <= r.pieceMaxBytes) this.#queue.shift();
      this.#send(r, link);
    }
    this.#pumping = false;
  }

  #send(r: Request, link: Link): void {
    const { hub, mismatches } = this.#o;
    const p = this.#pieces.take();
    p.request = r;
    p.start = r.sentBytes;
    p.length = Math.min(r.length - r.sentBytes, r.pieceMaxBytes);
    p.payloadBytes = payloadBytes(r.cmd, p.length);
    p.sent = 0;
    r.sentBytes += p.length;
    r.piecesOut += 1;
    const held = r.holds && !r.queued && mismatches === undefined ? r.h : 0;
    if (held !== 0) r.holds = false;
    this.#transmit(p, r, link);
    // The operation has its own reference now.
    if (held !== 0) hub.engine.release(held);
  }

  #transmit(p: Piece, r: Request, link: Link): void {
    const { hub, clock } = this.#o;
    // What is sent again keeps its place, and so its deadline: a damaged answer is none, and whoever asked waits no longer for it (M14).
    if (p.sent === 0) {
      link.add(p, clock.now());
      this.#deadline.sent(p.sentAt);
    }
    p.sent += 1;
    // A block status that names its context says the length of its range in its payload.
    const length = (r.flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 ? statusPayloadBytes(1) : p.length;
    hub.engine.send(hub.start(this.#pieceOwner, p.index), link.conn, r.cmd, r.flags, r.offset + p.start, length, r.h, r.hOffset + p.start);
  }

  /** True: the piece came damaged, here or there, and is on its way again. */
  #sentAgain(p: Piece, r: Request, link: Link): boolean {
    const why = this.#o.mismatches?.met(p.sent);
    if (why !== undefined) this.#lose(Errno.EBADMSG, why);
    if (this.#lost !== undefined || r.errno !== 0) return false;
    this.#transmit(p, r, link);
    return true;
  }

  // -------------------------------------------------------------------------------------------------------- ending

  #pieceDone(index: number, errno: number, length: number, h: Handle, value: EngineValue | undefined): void {
    const p = this.#pieces.at(index);
    const { request: r, link, start } = p;
    if (r === undefined || link === undefined) throw new Error(`piece ${String(index)} was done twice`);
    const asked = p.length;
    const { mismatches } = this.#o;
    if (errno === Errno.EBADMSG && mismatches !== undefined && this.#lost === undefined && this.#sentAgain(p, r, link)) return;
    link.remove(p, this.#o.clock.now());
    if (errno === 0) mismatches?.answeredWell();
    this.#pieces.give(p);
    r.piecesOut -= 1;
    if (errno !== 0) {
      if (h !== 0) this.#o.hub.engine.release(h);
      if (tellsOfConnection(errno)) this.#lose(errno, whyClosed(errno));
      if (r.errno === 0) r.errno = this.#lost === undefined ? serverErrno(errno) : opErrno(this.#lost);
    } else if (r.cmd === NBD_CMD_READ) gatherRead(this.#o.hub.engine, r, start, asked, length, h);
    else if (r.cmd === NBD_CMD_BLOCK_STATUS) translateStatus(r, value, this.#o.baseAllocationContextId);
    if (r.piecesOut === 0 && !r.queued) this.#end(r);
    this.#pump();
  }

  #end(r: Request): void {
    const { engine } = this.#o.hub;
    if (r.holds) {
      engine.release(r.h);
      r.holds = false;
    }
    if (r.flushAfter && r.errno === 0) {
      r.flushAfter = false;
      if (this.#lost === undefined) {
        this.#flush(r);
        return;
      }
      r.errno = opErrno(this.#lost);
    }
    const { owner, tag, errno, doneBytes, value } = r;
    let data = r.data;
    if (errno !== 0 && data !== 0) {
      engine.release(data);
      data = 0;
    }
    r.clear();
    this.#freeRequests.push(r);
    this.#live -= 1;
    owner?.onDone(tag, errno, errno === 0 ? doneBytes : 0, data, errno === 0 ? value : undefined);
    if (this.#live === 0 && this.#idleListeners.length > 0) for (const f of this.#idleListeners.splice(0)) f();
    this.#reportClosed();
  }

  /** Its data is on the server; it ends when they are durable. */
  #flush(r: Request): void {
    r.cmd = NBD_CMD_FLUSH;
    r.flags = 0;
    r.offset = 0;
    r.hOffset = 0;
    r.h = 0;
    r.length = 0;
    r.sentBytes = 0;
    this.#queue.pushFront(r);
    this.#pump();
  }

  #take(owner: OpOwner, tag: number): Request {
    const r = this.#freeRequests.pop() ?? new Request();
    r.owner = owner;
    r.tag = tag;
    this.#live += 1;
    return r;
  }

  #endLater(r: Request): void {
    this.#refused.push(r);
    if (this.#refused.length > 1) return;
    this.#o.clock.soon(() => {
      const refused = this.#refused;
      this.#refused = [];
      for (const each of refused) this.#end(each);
    });
  }

  // ----------------------------------------------------------------------------------------------------------- loss

  #lose(errno: number, reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = { errno, reason: `${this.#o.remote}: ${reason}` };
    if (errno === Errno.EPROTO) this.#o.mismatches?.metHeader();
    this.#deadline.end();
    for (let r = this.#queue.shift(); r !== undefined; r = this.#queue.shift()) {
      if (r.errno === 0) r.errno = opErrno(this.#lost);
      if (r.piecesOut === 0) this.#endLater(r);
    }
    this.#closeLinks();
  }

  #closeLinks(): void {
    if (this.#lost === undefined) return;
    for (const link of this.#links.all) {
      if (link.open) this.#o.hub.engine.close(link.conn, opErrno(this.#lost));
    }
  }

  #reportClosed(): void {
    const loss = this.#lost;
    if (loss === undefined || this.#closedReported || this.#live > 0 || this.#links.anyOpen) return;
    this.#closedReported = true;
    const listeners = this.#closedListeners;
    this.#closedListeners = [];
    for (const f of listeners) f(loss);
  }
}
