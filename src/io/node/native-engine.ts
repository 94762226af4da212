/**
 * The engine whose sockets and legs are those of native-shims: payloads stay in native memory, TypeScript sees handles.
 *
 *   batch arrays --one call a loop iteration--> handler      operations --> ring --after the handler, or next tick--> native
 *
 * What a caller can do wrong (stale handles, ranges, second answers) is checked here, in memory that both sides share, so that
 * it throws at the culprit. Legs and sockets are those of the node world, taken over by their descriptors.
 *
 * Invariants beyond those of `Engine`:
 * - the handler is never called from inside a call of the engine
 * - an operation in the ring has its references already; closing anything begins what is in the ring first
 */
import { NBD_CMD_DISC, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import { digestOf } from '../portable/compute.ts';
import {
  type ConnId,
  type ConnLimits,
  type DigestKind,
  type Engine,
  type EngineValue,
  Errno,
  type EventBatch,
  type Handle,
  IoError,
  type IoSocket,
  type LegId,
  type LegInfo,
  type LegOptions,
  type OpId,
  type RequestId,
  type WireParams,
} from '../types.ts';
import type { ServeRules } from '../serve.ts';
import { ConnEnds } from './conn-ends.ts';
import { NativeHandles } from './native-handles.ts';
import { checkRange, NativeLegs } from './native-legs.ts';
import { BATCH_MAX, Ctl, NativeMemory, RequestState, Ring, SLOT_BITS, Stat, ValueKind } from './native-memory.ts';
import { NativeRing } from './native-ring.ts';
import type { NativeCalls, NativeEngineShim } from './native-shim.ts';
import { blockStatusBytes, encodeBlockStatusChunks, NativeValues } from './native-values.ts';
import { NodeSocket } from './socket.ts';

const LINGER_MS = 5000;
/** A leg has at most eight of them at a time (native-shims/pool.c): one that hangs leaves the others theirs. */
const IO_THREADS = 32;
const SPIN_MICROSECONDS = 30;
const SLOTS = 2 ** SLOT_BITS;
const U32_MAX = 2 ** 32 - 1;
/** Names of connections that were never opened, for want of memory: above all of the native side's. */
const FIRST_UNOPENED: ConnId = 2 ** 31;

export interface NativeEngineOptions {
  /** After an orderly close of a server connection: how long queued replies may take to leave. */
  lingerMs?: number;
  /** How long the next event is waited for awake when few came; 0: never. */
  spinMicroseconds?: number;
}

export class NativeEngine implements Engine {
  readonly #calls: NativeCalls;
  readonly #m: NativeMemory;
  readonly #ring: NativeRing;
  readonly #batch: EventBatch;
  readonly #handles: NativeHandles;
  readonly #legs = new NativeLegs();
  readonly #values: NativeValues;
  readonly #ends = new ConnEnds();
  /** Sockets whose handshake has not left yet. */
  readonly #handingOver = new Map<ConnId, NodeSocket>();
  #handler: ((e: EventBatch) => void) | undefined;
  #nextUnopened = FIRST_UNOPENED;
  #shutDown = false;

  constructor(shim: NativeEngineShim, o: NativeEngineOptions = {}) {
    this.#calls = shim.createEngine(
      (native) => {
        this.#legs.onIdle(native);
      },
      IO_THREADS,
      o.lingerMs ?? LINGER_MS,
      o.spinMicroseconds ?? SPIN_MICROSECONDS,
    );
    const m = new NativeMemory(this.#calls);
    this.#m = m;
    this.#ring = new NativeRing(m, this.#calls);
    this.#handles = new NativeHandles(m, this.#calls, (slot) => {
      this.#ring.put(Ring.FREE, 0, slot, 0, 0, 0, 0, 0);
    });
    const { kind, conn, id, cmd, flags, offset, length, handle, errno } = m;
    this.#values = new NativeValues(m, this.#handles);
    const value = new Array<EngineValue | undefined>(BATCH_MAX).fill(undefined);
    this.#batch = { count: 0, kind, conn, id, cmd, flags, offset, length, handle, errno, value };
  }

  onEvents(f: (e: EventBatch) => void): void {
    if (this.#handler !== undefined) throw new Error('the engine has a handler already');
    this.#handler = f;
    this.#calls.listen((count) => {
      this.#deliver(f, count);
    });
  }

  // ----------------------------------------------------------------------------------------------- connections

  adopt(s: IoSocket, role: 'server' | 'client', wire: WireParams, limits: ConnLimits, early: Uint8Array): ConnId {
    if (wire.extendedHeaders && !wire.structuredReplies) throw new Error('extended headers come with structured replies');
    if (wire.extendedHeaders && wire.checksums === true) throw new RangeError('checksums are of compact headers');
    if (limits.requestsMax < 1 || limits.bytesMax < 1) throw new RangeError('a connection needs room for one request');
    if (!(s instanceof NodeSocket)) throw new Error('the native engine takes sockets of the node world alone');
    const requestsMax = Math.min(limits.requestsMax, U32_MAX);
    const { structuredReplies, extendedHeaders, payloadMaxBytes, checksums = false } = wire;
    const server = role === 'server';
    const id = this.#calls.open(server, structuredReplies, extendedHeaders, checksums, payloadMaxBytes, requestsMax, limits.bytesMax);
    if (id === 0) {
      this.#nextUnopened += 1;
      this.#ring.put(Ring.CLOSED, 0, this.#nextUnopened, Errno.ENOMEM, 0, 0, 0, 0);
      s.destroy();
      return this.#nextUnopened;
    }
    if (limits.shared !== undefined) this.#calls.share(id, limits.shared.ownBytes, limits.shared.allBytesMax);
    this.#handingOver.set(id, s);
    if (this.#shutDown) this.close(id, Errno.ESHUTDOWN);
    else
      s.handOver({
        take: (fd, unread, ended) => {
          this.#ends.add(id, ended);
          this.#start(id, fd, early, unread);
        },
        gone: (errno) => {
          // A client's peer that ends before it was asked anything has not ended in order.
          this.#gone(id, role === 'client' && errno === 0 ? Errno.ECONNRESET : errno);
        },
      });
    return id;
  }

  #start(conn: ConnId, fd: number, early: Uint8Array, unread: Uint8Array): void {
    this.#handingOver.delete(conn);
    this.#calls.start(conn, fd, unread.length === 0 ? early : Buffer.concat([early, unread]));
  }

  /** The socket closed before it could be taken over. */
  #gone(conn: ConnId, errno: number): void {
    this.#handingOver.delete(conn);
    this.close(conn, errno);
  }

  close(conn: ConnId, errno: number): void {
    this.#calls.submit();
    this.#calls.close(conn, errno);
    const waiting = this.#handingOver.get(conn);
    this.#handingOver.delete(conn);
    waiting?.destroy();
  }

  stopReceiving(conn: ConnId): void {
    this.#calls.submit();
    this.#calls.stopReceiving(conn);
  }

  awaited(conn: ConnId): number | undefined {
    this.#calls.submit();
    const moved = this.#calls.awaited(conn);
    return moved < 0 ? undefined : moved;
  }

  serve(conn: ConnId, r: ServeRules): boolean {
    this.#calls.submit();
    const { marks: m, sizeBytes, blockBytes, regionBytes, touched } = r;
    const leg = this.#legs.native(r.leg);
    return this.#calls.serve(conn, leg, sizeBytes, blockBytes, regionBytes, touched, m?.allowed, m?.underWay, m?.clients, m?.asks) === 0;
  }

  unserve(op: OpId, conn: ConnId): void {
    this.#begin(op);
    this.#calls.submit();
    this.#calls.unserve(op, conn);
  }

  heed(op: OpId, conn: ConnId): void {
    this.#begin(op);
    this.#calls.heed(op, conn);
  }

  heeded(conn: ConnId): void {
    this.#calls.heeded(conn);
  }

  served(conn: ConnId): number {
    return this.#calls.served(conn);
  }

  send(op: OpId, conn: ConnId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void {
    checkRange(offset, length);
    let slot = 0;
    if (cmd === NBD_CMD_WRITE || (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0) {
      slot = this.#handles.part(h, hOffset, length);
      this.#handles.hold(slot);
    }
    this.#begin(op);
    this.#ring.put(Ring.SEND, op, conn, cmd * 2 ** 16 + flags, offset, length, slot, slot === 0 ? 0 : hOffset);
  }

  reply(op: OpId, req: RequestId, errno: number, h: Handle, hOffset: number, length: number): void {
    const r = this.#request(req);
    if (r < 0) {
      this.#begin(op);
      this.#complete(op, Errno.ESHUTDOWN, 0);
      return;
    }
    const isRead = this.#m.requestCmd[r] === NBD_CMD_READ;
    const asked = this.#m.requestLength[r] ?? 0;
    if (isRead && errno === 0 && length !== asked) {
      throw new Error(`READ of ${String(asked)} bytes answered with ${String(length)}`);
    }
    const slot = isRead && errno === 0 && length > 0 ? this.#handles.part(h, hOffset, length) : 0;
    this.#beginReply(r);
    if (slot !== 0) this.#handles.hold(slot);
    this.#begin(op);
    this.#ring.put(Ring.REPLY, op, req, errno, slot, slot === 0 ? 0 : hOffset, slot === 0 ? 0 : length, 0);
  }

  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void {
    const r = this.#request(req);
    if (r < 0) {
      this.#begin(op);
      this.#complete(op, Errno.ESHUTDOWN, 0);
      return;
    }
    const state = this.#m.requestState[r] ?? 0;
    if ((state & RequestState.STRUCTURED) === 0 || chunks.length === 0) {
      throw new Error('BLOCK_STATUS is answered with structured chunks, at least one');
    }
    const extended = (state & RequestState.EXTENDED) !== 0;
    const sealed = (state & RequestState.SEALED) !== 0;
    const length = blockStatusBytes(chunks, extended, sealed);
    const h = this.#handles.tryAllocate(length);
    if (h === 0) {
      this.reply(op, req, Errno.ENOMEM, 0, 0, 0);
      return;
    }
    encodeBlockStatusChunks(this.view(h), chunks, extended, sealed);
    this.#beginReply(r);
    this.#begin(op);
    this.#ring.put(Ring.REPLY_STATUS, op, req, this.#handles.live(h), length, 0, 0, 0);
  }

  /** The slot of a request that waits for its answer; below 0: its connection forgot it. */
  #request(req: RequestId): number {
    const slot = req % SLOTS;
    return req !== 0 && this.#m.requestId[slot] === req ? slot : -1;
  }

  #beginReply(slot: number): void {
    const state = this.#m.requestState[slot] ?? 0;
    if ((state & RequestState.REPLYING) !== 0) throw new Error('a request was answered twice');
    if (this.#m.requestCmd[slot] === NBD_CMD_DISC) throw new Error('DISC has no reply');
    this.#m.requestState[slot] = state | RequestState.REPLYING;
  }

  // ------------------------------------------------------------------------------------------------------ legs

  async openLeg(path: string, o: LegOptions): Promise<LegInfo> {
    const info = await this.#legs.open(this.#calls, path, o);
    if (!this.#shutDown) return info;
    await this.#legs.close(this.#calls, info.leg);
    throw new IoError(Errno.ESHUTDOWN, `cannot open ${path}: the engine is shut down`);
  }

  closeLeg(leg: LegId): Promise<void> {
    this.#calls.submit();
    return this.#legs.close(this.#calls, leg);
  }

  legSize(leg: LegId): Promise<number> {
    return this.#legs.size(leg);
  }

  setLegSize(leg: LegId, sizeBytes: number): Promise<void> {
    return this.#legs.setSize(leg, sizeBytes);
  }

  read(op: OpId, leg: LegId, offset: number, length: number): void {
    checkRange(offset, length);
    this.#begin(op);
    this.#ring.put(Ring.READ, op, this.#legs.native(leg), offset, length, 0, 0, 0);
  }

  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    checkRange(offset, length);
    const slot = this.#handles.part(h, hOffset, length);
    this.#handles.hold(slot);
    this.#begin(op);
    this.#ring.put(Ring.WRITE, op, this.#legs.native(leg), offset, length, slot, hOffset, fua ? 1 : 0);
  }

  sync(op: OpId, leg: LegId): void {
    this.#begin(op);
    this.#ring.put(Ring.SYNC, op, this.#legs.native(leg), 0, 0, 0, 0, 0);
  }

  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    checkRange(offset, length);
    this.#begin(op);
    this.#ring.put(Ring.ZERO, op, this.#legs.native(leg), offset, length, mayPunch ? 1 : 0, fua ? 1 : 0, 0);
  }

  extents(op: OpId, leg: LegId, offset: number, length: number): void {
    checkRange(offset, length);
    this.#begin(op);
    this.#ring.put(Ring.EXTENTS, op, this.#legs.native(leg), offset, length, 0, 0, 0);
  }

  // --------------------------------------------------------------------------------------------------- handles

  /** Over native memory. Kept beyond the release it shows whatever took the bytes' place, but never memory that is gone. */
  view(h: Handle): Uint8Array {
    return this.#handles.view(h);
  }

  allocate(length: number): Handle {
    return this.#handles.allocate(length);
  }

  retain(h: Handle): void {
    this.#handles.hold(this.#handles.live(h));
  }

  release(h: Handle): void {
    this.#handles.release(h);
  }

  digest(op: OpId, h: Handle, offset: number, length: number, kind: DigestKind): void {
    this.#answer(op, length, { kind: 'digest', hex: digestOf(this.#handles.bytesOf(h, offset, length), kind) });
  }

  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void {
    this.#answer(op, length, { kind: 'zeroes', zero: this.#handles.zeroGranules(h, offset, length, granuleBytes) });
  }

  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    return this.#m.usage();
  }

  async shutdown(): Promise<void> {
    this.#shutDown = true;
    this.#calls.submit();
    this.#calls.closeAll(Errno.ESHUTDOWN);
    for (const s of this.#handingOver.values()) s.destroy();
    this.#handingOver.clear();
    await this.#legs.closeAll(this.#calls);
    this.#calls.stop();
  }

  // ----------------------------------------------------------------------------------------------- ring, events

  #begin(op: OpId): void {
    if (op !== 0) this.#m.count(Stat.OPERATIONS, 1);
  }

  #complete(op: OpId, errno: number, length: number): void {
    if (op !== 0) this.#ring.put(Ring.COMPLETE, op, errno, length, ValueKind.NONE, 0, 0, 0);
  }

  #answer(op: OpId, length: number, value: EngineValue): void {
    this.#begin(op);
    if (op === 0) return;
    this.#values.keep(op, value);
    this.#ring.put(Ring.COMPLETE, op, 0, length, ValueKind.KEPT, 0, 0, 0);
  }

  #deliver(handler: (e: EventBatch) => void, count: number): void {
    const b = this.#batch;
    const hasValues = this.#m.ctl[Ctl.VALUES] !== 0;
    b.count = count;
    this.#ends.look(this.#m, count);
    if (hasValues) this.#values.fill(b, count);
    try {
      handler(b);
    } finally {
      if (hasValues) b.value.fill(undefined, 0, count);
      b.count = 0;
    }
  }
}
