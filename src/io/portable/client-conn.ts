/**
 * The client's side of one NBD connection: many requests in flight, answers in any order.
 *
 *   send() -> room? -> outbox -> socket          own cookie = (serial, slot)
 *              no: waiting                          |
 *   done <-- ClientRequest <-- ReplyParser <-- socket
 *
 * Invariants:
 * - an operation is done once its reply is complete *and* its payload has left: a server may refuse a WRITE early, and the
 *   payload's bytes are the operation's until then
 * - a successful READ has every byte of its handle from the server; a gap, an overlap or anything malformed ends the
 *   connection with EINVAL, and every operation on it with an error
 */
import { crc32 } from 'node:zlib';
import { NBD_CMD_DISC, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import { newRequestHeader } from '../../nbd/wire/transmission.ts';
import { type ConnId, type ConnLimits, Errno, type Handle, type IoSocket, type OpId, type WireParams } from '../types.ts';
import { sealBytes } from './checksum.ts';
import { ClientRequest } from './client-request.ts';
import type { EngineContext } from './context.ts';
import { Fifo } from './fifo.ts';
import { Outbox } from './outbox.ts';
import { ReplyParser } from './reply-parser.ts';
import { hasPayload, writeRequest } from './request-frames.ts';

/** Of a compact request. */
const LENGTH_MAX_BYTES = 0xffffffff;

export class ClientConn {
  readonly id: ConnId;
  readonly #context: EngineContext;
  readonly #socket: IoSocket;
  readonly #wire: WireParams;
  readonly #limits: ConnLimits;
  readonly #outbox: Outbox;
  readonly #parser: ReplyParser;
  /** In flight, by slot. */
  readonly #slots: (ClientRequest | undefined)[] = [];
  readonly #freeSlots: number[] = [];
  readonly #waiting = new Fifo<ClientRequest>();
  readonly #spare: ClientRequest[] = [];
  readonly #header = newRequestHeader();
  #serial = 0;
  #inFlight = 0;
  #heldBytes = 0;
  #closed = false;

  constructor(id: ConnId, context: EngineContext, socket: IoSocket, wire: WireParams, limits: ConnLimits) {
    this.id = id;
    this.#context = context;
    this.#socket = socket;
    this.#wire = wire;
    this.#limits = limits;
    this.#outbox = new Outbox(
      socket,
      context.blocks,
      () => {
        context.wantFlush(this.#outbox);
      },
      (slot) => {
        this.#onSent(slot);
      },
    );
    this.#parser = new ReplyParser(wire, context.handles, {
      find: (serial, slot) => {
        const r = this.#slots[slot];
        return r?.serial === serial && !r.replied ? r : undefined;
      },
      replied: (r) => {
        r.replied = true;
        if (r.sent) this.#finishRequest(r);
      },
      malformed: () => {
        this.close(Errno.EINVAL);
      },
      damaged: () => {
        this.close(Errno.EPROTO);
      },
    });
  }

  start(early: Uint8Array): void {
    this.#parser.feed(early);
    if (this.#closed) return;
    this.#socket.start({
      onData: (b) => {
        if (!this.#closed) this.#parser.feed(b);
      },
      onClose: (errno) => {
        // An end of the stream in the middle of an answer, or with questions open, is not orderly.
        const orderly = errno === 0 && this.#inFlight === 0 && this.#waiting.length === 0;
        this.#finish(orderly ? 0 : errno === 0 ? Errno.ECONNRESET : errno);
      },
    });
    this.#socket.resume();
  }

  /** With errno 0, what was sent before (DISC) still leaves. Operations in flight end with an error in any case. */
  close(errno: number): void {
    if (this.#closed) return;
    const payloadUnsent = this.#slots.some((r) => r !== undefined && !r.sent && r.payload !== 0);
    const orderly = errno === 0 && !payloadUnsent;
    if (orderly) this.#outbox.flush();
    // First, so that a socket which tells of its end at once does not give the operations another errno.
    this.#finish(errno);
    if (orderly) this.#socket.end();
    else this.#socket.destroy();
  }

  send(op: OpId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || !Number.isSafeInteger(length) || length < 0) {
      throw new RangeError(`request range ${String(offset)}+${String(length)}`);
    }
    const { extendedHeaders, payloadMaxBytes } = this.#wire;
    const sent = cmd === NBD_CMD_WRITE && extendedHeaders ? flags | NBD_CMD_FLAG_PAYLOAD_LEN : flags;
    const payload = hasPayload(this.#wire, cmd, sent);
    const carries = payload || cmd === NBD_CMD_READ;
    const most = carries ? payloadMaxBytes : extendedHeaders ? Number.MAX_SAFE_INTEGER : LENGTH_MAX_BYTES;
    const unheard = !payload && (sent & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0;
    if (this.#closed || unheard || length > most) {
      this.#context.done(op, this.#closed ? Errno.ESHUTDOWN : Errno.EINVAL, 0, 0, undefined);
      return;
    }
    const r = this.#spare.pop() ?? new ClientRequest();
    r.op = op;
    r.cmd = cmd;
    r.flags = sent;
    r.offset = offset;
    r.length = length;
    r.heldBytes = carries ? length : 0;
    if (payload) {
      r.payloadBytes = this.#context.handles.part(h, hOffset, length);
      r.payload = h;
      this.#context.handles.retain(h);
    }
    if (this.#waiting.length === 0 && this.#hasRoom(r)) this.#transmit(r);
    else this.#waiting.push(r);
  }

  #hasRoom(r: ClientRequest): boolean {
    if (this.#inFlight === 0) return true;
    return this.#inFlight < this.#limits.requestsMax && this.#heldBytes + r.heldBytes <= this.#limits.bytesMax;
  }

  #transmit(r: ClientRequest): void {
    r.slot = this.#freeSlots.pop() ?? this.#slots.length;
    this.#slots[r.slot] = r;
    this.#serial = (this.#serial + 1) >>> 0;
    r.serial = this.#serial;
    this.#inFlight += 1;
    this.#heldBytes += r.heldBytes;
    const h = this.#header;
    h.type = r.cmd;
    h.flags = r.flags;
    h.cookieHi = r.serial;
    h.cookieLo = r.slot;
    h.offset = r.offset;
    h.length = r.length;
    writeRequest(this.#outbox, this.#wire, h);
    r.sent = true;
    if (r.cmd === NBD_CMD_DISC) {
      // DISC has no reply: it is done when it has left.
      r.sent = false;
      r.replied = true;
      this.#outbox.mark(r.slot);
    } else if (r.payload !== 0) {
      r.sent = this.#outbox.bytes(r.payloadBytes);
      if (this.#wire.checksums === true && r.length > 0) sealBytes(this.#outbox, crc32(r.payloadBytes));
      if (r.sent) this.#releasePayload(r);
      else this.#outbox.mark(r.slot);
    }
  }

  #onSent(slot: number): void {
    const r = this.#slots[slot];
    if (this.#closed || r === undefined) return;
    r.sent = true;
    this.#releasePayload(r);
    if (r.replied) this.#finishRequest(r);
  }

  #releasePayload(r: ClientRequest): void {
    if (r.payload === 0) return;
    this.#context.handles.release(r.payload);
    r.payload = 0;
  }

  #finishRequest(r: ClientRequest): void {
    this.#retire(r, r.errno);
    for (let next = this.#waiting.peek(); next !== undefined && !this.#closed && this.#hasRoom(next); next = this.#waiting.peek()) {
      this.#waiting.shift();
      this.#transmit(next);
    }
  }

  #retire(r: ClientRequest, errno: number): void {
    this.#releasePayload(r);
    const { op, data, length, value } = r;
    if (r.slot >= 0) {
      this.#slots[r.slot] = undefined;
      this.#freeSlots.push(r.slot);
      this.#inFlight -= 1;
      this.#heldBytes -= r.heldBytes;
    }
    if (errno !== 0 && data !== 0) this.#context.handles.release(data);
    if (errno === 0) this.#context.done(op, 0, length, data, value);
    else this.#context.done(op, errno, 0, 0, undefined);
    r.reset();
    this.#spare.push(r);
  }

  #finish(errno: number): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#outbox.drop();
    const why = errno === 0 ? Errno.ESHUTDOWN : errno;
    for (const r of this.#slots) if (r !== undefined) this.#retire(r, why);
    for (let r = this.#waiting.shift(); r !== undefined; r = this.#waiting.shift()) this.#retire(r, why);
    this.#context.events.closed(this.id, errno);
    this.#context.forget(this.id);
  }
}
