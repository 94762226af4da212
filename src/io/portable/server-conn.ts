/**
 * The server's side of one NBD connection: requests out of a byte stream, replies back into it.
 *
 *   socket --> header (28 bytes, extended 32) --admitted?--> payload into a handle --> REQUEST event
 *                                         no: paused, the rest is kept          |
 *   socket <-- outbox <-- reply header, data <--------- reply() ----------------+
 *
 * Invariants:
 * - a request counts against the connection's limits from its header until its reply is with the kernel, so that neither
 *   requests, payloads nor unsent replies grow beyond them; one request alone is always admitted
 * - a stream that lost its place (wrong magic, too long a payload, a damaged header) ends its own connection and nothing else
 * - with checksums, nothing of a request is told before what came of it matches
 * - nothing is reported after CLOSED
 */
import { CHECKSUM_BYTES, CMD_DAMAGED } from '../../nbd/wire/checksums.ts';
import { NBD_CMD_DISC, NBD_CMD_READ } from '../../nbd/wire/constants.ts';
import { getU32, REQUEST, viewOf } from '../../nbd/wire/layout.ts';
import { newRequestHeader } from '../../nbd/wire/transmission.ts';
import { type ConnId, type ConnLimits, Errno, type Handle, type IoSocket, type OpId, type Timer, type WireParams } from '../types.ts';
import { isSealed, Seal } from './checksum.ts';
import type { EngineContext } from './context.ts';
import { Fifo } from './fifo.ts';
import { Outbox } from './outbox.ts';
import { writeBlockStatus, writeData, writeError, writeSuccess } from './reply-frames.ts';
import { hasPayload, readRequest, requestBytes } from './request-frames.ts';
import type { RequestOwner, RequestTable, ServerRequest } from './requests.ts';
import type { Waiting } from './shared-room.ts';

const NO_BYTES = new Uint8Array(0);

export class ServerConn implements RequestOwner, Waiting {
  readonly id: ConnId;
  readonly #context: EngineContext;
  readonly #table: RequestTable;
  readonly #socket: IoSocket;
  readonly #wire: WireParams;
  readonly #limits: ConnLimits;
  readonly #outbox: Outbox;
  /** Received and not done with. */
  readonly #requests: ServerRequest[] = [];
  #heldBytes = 0;
  #receivedBytes = 0;
  #replying = 0;
  /** open -> (linger: replies leave, nothing else counts) -> closed */
  #state: 'open' | 'linger' | 'closed' = 'open';
  #linger: Timer | undefined;
  #receiving = true;

  readonly #head: Uint8Array;
  readonly #headView: DataView;
  #headFill = 0;
  readonly #header = newRequestHeader();
  /** The one whose payload is coming in. */
  #incoming: ServerRequest | undefined;
  #incomingFlags = 0;
  #payload: Handle = 0;
  #payloadBytes: Uint8Array = NO_BYTES;
  #payloadFill = 0;
  /** Of the payload; undefined: without checksums. */
  readonly #seal: Seal | undefined;
  /** At a limit: the header in `#head` waits for room, later bytes are kept here. */
  #stalled = false;
  #paused = false;
  readonly #backlog = new Fifo<Uint8Array>();

  constructor(id: ConnId, context: EngineContext, table: RequestTable, socket: IoSocket, wire: WireParams, limits: ConnLimits) {
    this.id = id;
    this.#context = context;
    this.#table = table;
    this.#socket = socket;
    this.#wire = wire;
    this.#limits = limits;
    this.#seal = wire.checksums === true ? new Seal() : undefined;
    this.#head = new Uint8Array(requestBytes(wire) + (this.#seal === undefined ? 0 : CHECKSUM_BYTES));
    this.#headView = viewOf(this.#head);
    this.#outbox = new Outbox(
      socket,
      context.blocks,
      () => {
        context.wantFlush(this.#outbox);
      },
      (slot) => {
        this.#onReplySent(this.#table.at(slot));
      },
    );
  }

  start(early: Uint8Array): void {
    this.#onData(early);
    if (this.#state === 'closed') return;
    this.#socket.start({
      onData: (b) => {
        this.#onData(b);
      },
      onClose: (errno) => {
        this.#finish(errno);
      },
    });
    this.#paused = this.#stalled;
    if (!this.#paused) this.#socket.resume();
  }

  stopReceiving(): void {
    this.#receiving = false;
    this.#dropIncoming();
    this.#backlog.clear();
    this.#context.room.forget(this);
    // What still comes is read and thrown away: so the peer's end is noticed, and no unread byte turns our end into a reset.
    this.#stalled = false;
    this.#matchSocket();
  }

  /** See `Engine`. What waits for room waits for us. */
  awaited(): number | undefined {
    const isHalf = !this.#stalled && (this.#incoming !== undefined || this.#headFill > 0);
    return this.#outbox.unsentBytes > 0 || isHalf ? this.#receivedBytes + this.#outbox.sentBytes : undefined;
  }

  /** With errno 0, replies already given still leave, within a deadline; otherwise everything ends here. */
  close(errno: number): void {
    if (this.#state === 'closed') return;
    if (errno !== 0) {
      // First, so that a socket which tells of its end at once does not give it another errno.
      this.#finish(errno);
      this.#socket.destroy();
      return;
    }
    if (this.#state === 'linger') return;
    this.stopReceiving();
    this.#forgetUnanswered();
    this.#outbox.flush();
    if (this.#replying === 0) this.#finish(0);
    else {
      this.#state = 'linger';
      this.#linger = this.#context.clock.after(this.#context.lingerMs, () => {
        this.close(Errno.ETIMEDOUT);
      });
    }
    this.#socket.end();
  }

  reply(r: ServerRequest, op: OpId, errno: number, h: Handle, hOffset: number, length: number): void {
    const isRead = r.cmd === NBD_CMD_READ;
    if (isRead && errno === 0 && length !== r.length) {
      throw new Error(`READ of ${String(r.length)} bytes answered with ${String(length)}`);
    }
    this.#beginReply(r, op);
    if (errno !== 0) writeError(this.#outbox, this.#wire, r, errno);
    else if (isRead && length > 0) {
      const bytes = this.#context.handles.part(h, hOffset, length);
      if (!writeData(this.#outbox, this.#wire, r, bytes)) {
        this.#context.handles.retain(h);
        r.handle = h;
      }
    } else writeSuccess(this.#outbox, this.#wire, r);
    this.#outbox.mark(r.slot);
  }

  replyBlockStatus(r: ServerRequest, op: OpId, chunks: readonly Uint8Array[]): void {
    if (!this.#wire.structuredReplies || chunks.length === 0) throw new Error('BLOCK_STATUS is answered with structured chunks, at least one');
    this.#beginReply(r, op);
    for (const c of chunks) this.#hold(r, c.length);
    writeBlockStatus(this.#outbox, this.#wire, r, chunks);
    this.#outbox.mark(r.slot);
  }

  #beginReply(r: ServerRequest, op: OpId): void {
    if (r.replying) throw new Error('a request was answered twice');
    if (r.cmd === NBD_CMD_DISC) throw new Error('DISC has no reply');
    r.replying = true;
    r.op = op;
    this.#replying += 1;
  }

  #onReplySent(r: ServerRequest): void {
    this.#replying -= 1;
    this.#endReply(r, 0);
    if (this.#state === 'linger') {
      if (this.#replying === 0) this.#finish(0);
    } else this.readOn();
  }

  #endReply(r: ServerRequest, errno: number): void {
    if (r.handle !== 0) this.#context.handles.release(r.handle);
    this.#context.done(r.op, errno, errno === 0 ? r.length : 0, 0, undefined);
    this.#remove(r);
  }

  #remove(r: ServerRequest): void {
    const last = this.#requests.pop();
    if (last === undefined) throw new Error('a request is missing from its connection');
    if (last !== r) {
      this.#requests[r.place] = last;
      last.place = r.place;
    }
    this.#heldBytes -= r.heldBytes;
    if (this.#limits.shared !== undefined) this.#context.room.give(r.heldBytes);
    this.#table.give(r);
  }

  #hold(r: ServerRequest, bytes: number): void {
    r.heldBytes += bytes;
    this.#heldBytes += bytes;
    if (this.#limits.shared !== undefined) this.#context.room.hold(bytes);
  }

  #forgetUnanswered(): void {
    for (let i = this.#requests.length - 1; i >= 0; i -= 1) {
      const r = this.#requests[i];
      if (r !== undefined && !r.replying) this.#remove(r);
    }
  }

  #finish(errno: number): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#linger?.cancel();
    this.#outbox.drop();
    this.#dropIncoming();
    this.#backlog.clear();
    this.#context.room.forget(this);
    this.#forgetUnanswered();
    for (let r = this.#requests.at(-1); r !== undefined; r = this.#requests.at(-1)) {
      this.#endReply(r, errno === 0 ? Errno.ECONNRESET : errno);
    }
    this.#context.events.closed(this.id, errno);
    this.#context.forget(this.id);
  }

  // ------------------------------------------------------------------------------------------------- receiving

  #onData(bytes: Uint8Array): void {
    if (this.#state !== 'open' || !this.#receiving) return;
    this.#receivedBytes += bytes.length;
    if (this.#stalled) {
      this.#backlog.push(new Uint8Array(bytes));
      return;
    }
    const used = this.#consume(bytes);
    if (this.#isStalled() && used < bytes.length) this.#backlog.push(new Uint8Array(bytes.subarray(used)));
    this.#matchSocket();
  }

  #matchSocket(): void {
    if (this.#paused === this.#stalled || this.#state === 'closed') return;
    this.#paused = this.#stalled;
    if (this.#paused) this.#socket.pause();
    else this.#socket.resume();
  }

  /** There may be room again for the request that waits. */
  readOn(): void {
    if (!this.#stalled || !this.#receiving) return;
    this.#stalled = false;
    let chunk: Uint8Array | undefined = NO_BYTES; // The header that waits is complete already.
    while (chunk !== undefined) {
      const used = this.#consume(chunk);
      if (!this.#isReading()) {
        if (this.#isStalled() && used < chunk.length) this.#backlog.unshift(chunk.subarray(used));
        break;
      }
      chunk = this.#backlog.shift();
    }
    this.#matchSocket();
  }

  // These two are methods because parsing changes the facts behind the compiler's back.
  #isStalled(): boolean {
    return this.#stalled;
  }

  #isReading(): boolean {
    return this.#state === 'open' && !this.#stalled && this.#receiving;
  }

  /** Bytes used: fewer than given only when the connection stalled, stopped or closed. */
  #consume(bytes: Uint8Array): number {
    let at = 0;
    while (this.#isReading()) {
      if (this.#incoming !== undefined) {
        const n = Math.min(this.#payloadBytes.length - this.#payloadFill, bytes.length - at);
        this.#payloadBytes.set(n === bytes.length ? bytes : bytes.subarray(at, at + n), this.#payloadFill);
        this.#payloadFill += n;
        at += n;
        if (this.#payloadFill < this.#payloadBytes.length) return at;
        if (this.#seal !== undefined && this.#payloadFill > 0) {
          at += this.#seal.take(bytes, at);
          if (!this.#seal.complete) return at;
        }
        this.#payloadComplete(this.#incoming);
      } else {
        const n = Math.min(this.#head.length - this.#headFill, bytes.length - at);
        for (let i = 0; i < n; i += 1) this.#head[this.#headFill + i] = bytes[at + i] ?? 0;
        this.#headFill += n;
        at += n;
        if (this.#headFill < this.#head.length) return at;
        this.#headerComplete();
      }
    }
    return at;
  }

  #headerComplete(): void {
    const h = this.#header;
    if (this.#seal !== undefined && !isSealed(this.#head, this.#headView, requestBytes(this.#wire))) {
      this.close(Errno.EPROTO);
      return;
    }
    if (!readRequest(this.#headView, this.#wire, h)) {
      this.close(Errno.EINVAL);
      return;
    }
    const payload = hasPayload(this.#wire, h.type, h.flags);
    const heldBytes = payload || h.type === NBD_CMD_READ ? Math.min(h.length, this.#wire.payloadMaxBytes) : 0;
    const inFlight = this.#requests.length;
    if (inFlight > 0 && (inFlight >= this.#limits.requestsMax || this.#heldBytes + heldBytes > this.#limits.bytesMax)) {
      this.#stalled = true;
      return;
    }
    const { shared } = this.#limits;
    if (shared !== undefined) {
      if (!this.#context.room.fits(this, shared, this.#heldBytes, heldBytes)) {
        this.#stalled = true;
        this.#context.room.wait(this);
        return;
      }
      this.#context.room.forget(this);
    }
    this.#headFill = 0;
    const r = this.#table.take(this);
    r.place = this.#requests.length;
    this.#requests.push(r);
    r.cookieHi = h.cookieHi;
    r.cookieLo = h.cookieLo;
    r.cmd = h.type;
    r.offset = h.offset;
    // Both kinds of header have it in the same place.
    r.offsetHi = getU32(this.#headView, REQUEST.offset);
    r.offsetLo = getU32(this.#headView, REQUEST.offset + 4);
    r.length = h.length;
    r.heldBytes = 0;
    this.#hold(r, heldBytes);
    if (payload) {
      this.#payload = this.#context.handles.allocate(h.length);
      this.#payloadBytes = this.#context.handles.view(this.#payload);
      this.#payloadFill = 0;
      this.#seal?.begin();
      this.#incoming = r;
      this.#incomingFlags = h.flags;
      if (h.length === 0) this.#payloadComplete(r);
      return;
    }
    // What is more than a reply may hold is for the owner to refuse.
    if (h.length > this.#wire.payloadMaxBytes) this.#context.events.request(this.id, r.id, h.type, h.flags, h.offset, h.length, 0);
    else this.#context.request(this.id, r.id, h.type, h.flags, h.offset, h.length, 0);
    // The client sends nothing after DISC; requests before it are still answered.
    if (h.type === NBD_CMD_DISC) this.stopReceiving();
  }

  #payloadComplete(r: ServerRequest): void {
    const h = this.#payload;
    const damaged = this.#seal !== undefined && this.#payloadFill > 0 && !this.#seal.matches(this.#payloadBytes);
    this.#incoming = undefined;
    this.#payload = 0;
    this.#payloadBytes = NO_BYTES;
    if (damaged) {
      this.#context.handles.release(h);
      this.#context.events.request(this.id, r.id, CMD_DAMAGED, this.#incomingFlags, r.offset, r.length, 0);
    } else this.#context.request(this.id, r.id, r.cmd, this.#incomingFlags, r.offset, r.length, h);
  }

  /** One whose payload did not come to its end was never a request. */
  #dropIncoming(): void {
    const r = this.#incoming;
    if (r === undefined) return;
    this.#context.handles.release(this.#payload);
    this.#incoming = undefined;
    this.#payload = 0;
    this.#payloadBytes = NO_BYTES;
    this.#remove(r);
  }
}
