/**
 * An engine whose every event the test causes: requests arrive when `request` is called, operations end when `finish` is.
 * It counts references, so that a test can say that no handle was lost or released twice.
 */
import {
  type ConnId,
  type DigestKind,
  type Engine,
  type EngineValue,
  type EventBatch,
  EventKind,
  type Handle,
  type IoSocket,
  type LegId,
  type LegInfo,
  type OpId,
  type RequestId,
  type WireParams,
} from '../../src/io/types.ts';
import type { ServeRules } from '../../src/io/serve.ts';
import { FakeHeeds } from './fake-heeds.ts';

export interface FakeOp {
  op: OpId;
  what: 'read' | 'write' | 'sync' | 'zero' | 'extents';
  offset: number;
  length: number;
  fua: boolean;
  mayPunch: boolean;
  h: Handle;
}

export interface FakeReply {
  op: OpId;
  req: RequestId;
  errno: number;
  h: Handle;
  length: number;
  chunks?: Uint8Array[];
}

export class FakeEngine implements Engine {
  readonly ops: FakeOp[] = [];
  readonly replies: FakeReply[] = [];
  readonly closes: { conn: ConnId; errno: number }[] = [];
  readonly stopped: ConnId[] = [];
  readonly adopted: { conn: ConnId; wire: WireParams; early: Uint8Array; socket: IoSocket }[] = [];
  /** Replies report themselves sent only when the test says so. */
  holdReplies = false;
  readonly #handles = new Map<Handle, { bytes: Uint8Array; references: number }>();
  #nextHandle = 1;
  #nextRequest = 1;
  #onEvents: (e: EventBatch) => void = () => undefined;

  onEvents(f: (e: EventBatch) => void): void {
    this.#onEvents = f;
  }

  // ------------------------------------------------------------------------------------------- what the test does

  request(conn: ConnId, cmd: number, flags: number, offset: number, length: number, payload?: Uint8Array): RequestId {
    const req = this.#nextRequest;
    this.#nextRequest += 1;
    let h = 0;
    if (payload !== undefined) {
      h = this.allocate(payload.length);
      this.view(h).set(payload);
    }
    this.#emit({ kind: EventKind.REQUEST, conn, id: req, cmd, flags, offset, length, handle: h });
    return req;
  }

  /** Ends the oldest operation. A read that succeeds yields `data`, or zeroes. */
  finish(errno = 0, o: { data?: Uint8Array; value?: EngineValue } = {}): void {
    const op = this.ops.shift();
    if (op === undefined) throw new Error('no operation is in flight');
    let handle = 0;
    if (op.what === 'read' && errno === 0) {
      handle = this.allocate(op.length);
      if (o.data !== undefined) this.view(handle).set(o.data);
    }
    if (op.h !== 0) this.release(op.h);
    this.#emit({ kind: EventKind.DONE, id: op.op, errno, length: op.length, handle, value: o.value });
  }

  /** All replies given so far have been sent. */
  sent(): void {
    for (const r of this.replies) {
      if (r.op === 0) continue;
      const { op } = r;
      r.op = 0;
      this.#emit({ kind: EventKind.DONE, id: op });
    }
  }

  closed(conn: ConnId, errno = 0): void {
    this.#emit({ kind: EventKind.CLOSED, conn, errno });
  }

  get handlesAlive(): number {
    return this.#handles.size;
  }

  // ---------------------------------------------------------------------------------------------------- Engine

  adopt(socket: IoSocket, _role: 'server' | 'client', wire: WireParams, _limits: unknown, early: Uint8Array): ConnId {
    const conn = this.adopted.length + 1;
    this.adopted.push({ conn, wire, early, socket });
    return conn;
  }

  close(conn: ConnId, errno: number): void {
    this.closes.push({ conn, errno });
  }

  stopReceiving(conn: ConnId): void {
    this.stopped.push(conn);
  }

  /** What tests say of each. */
  readonly awaits = new Map<ConnId, number>();

  awaited(conn: ConnId): number | undefined {
    return this.awaits.get(conn);
  }

  /** Whether connections are served. */
  serves = false;
  /** Connections served now, with their rules. */
  readonly servedNow = new Map<ConnId, ServeRules>();
  /** Asked to be unserved: operation by connection, for the test to end with `unserved`. */
  readonly unserving = new Map<ConnId, OpId>();
  readonly answered = new Map<ConnId, number>();

  serve(conn: ConnId, rules: ServeRules): boolean {
    if (this.serves) this.servedNow.set(conn, rules);
    return this.serves;
  }

  unserve(op: OpId, conn: ConnId): void {
    this.servedNow.delete(conn);
    this.unserving.set(conn, op);
  }

  readonly heeds = new FakeHeeds((op, errno) => {
    this.#emit({ kind: EventKind.DONE, id: op, errno });
  });

  heed(op: OpId, conn: ConnId): void {
    this.heeds.heed(op, conn);
  }

  heeded(conn: ConnId): void {
    this.heeds.heeded(conn);
  }

  /** Ends an `unserve`. */
  unserved(conn: ConnId, answered: number): void {
    const op = this.unserving.get(conn);
    if (op === undefined) throw new Error(`nobody has asked to unserve ${String(conn)}`);
    this.heeds.unserved(conn);
    this.unserving.delete(conn);
    this.#emit({ kind: EventKind.DONE, id: op, length: answered });
  }

  served(conn: ConnId): number {
    return this.answered.get(conn) ?? 0;
  }

  read(op: OpId, _leg: LegId, offset: number, length: number): void {
    this.#op({ op, what: 'read', offset, length });
  }

  write(op: OpId, _leg: LegId, offset: number, h: Handle, _hOffset: number, length: number, fua: boolean): void {
    this.retain(h);
    this.#op({ op, what: 'write', offset, length, h, fua });
  }

  sync(op: OpId): void {
    this.#op({ op, what: 'sync', offset: 0, length: 0 });
  }

  zero(op: OpId, _leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    this.#op({ op, what: 'zero', offset, length, mayPunch, fua });
  }

  extents(op: OpId, _leg: LegId, offset: number, length: number): void {
    this.#op({ op, what: 'extents', offset, length });
  }

  reply(op: OpId, req: RequestId, errno: number, h: Handle, _hOffset: number, length: number): void {
    this.replies.push({ op, req, errno, h, length });
    if (!this.holdReplies) this.sent();
  }

  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void {
    this.replies.push({ op, req, errno: 0, h: 0, length: 0, chunks });
    if (!this.holdReplies) this.sent();
  }

  view(h: Handle): Uint8Array {
    return this.#handle(h).bytes;
  }

  allocate(length: number): Handle {
    const h = this.#nextHandle;
    this.#nextHandle += 1;
    this.#handles.set(h, { bytes: new Uint8Array(length), references: 1 });
    return h;
  }

  retain(h: Handle): void {
    this.#handle(h).references += 1;
  }

  release(h: Handle): void {
    const found = this.#handle(h);
    found.references -= 1;
    if (found.references === 0) this.#handles.delete(h);
  }

  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    return { handles: this.#handles.size, bytes: 0, operations: this.ops.length, connections: this.adopted.length };
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }

  openLeg(): Promise<LegInfo> {
    return Promise.reject(new Error('a fake engine opens no leg'));
  }

  closeLeg(): Promise<void> {
    return Promise.resolve();
  }

  legSize(): Promise<number> {
    return Promise.resolve(0);
  }

  setLegSize(): Promise<void> {
    return Promise.resolve();
  }

  send(): void {
    throw new Error('a fake engine sends nothing');
  }

  digest(_op: OpId, _h: Handle, _offset: number, _length: number, kind: DigestKind): void {
    throw new Error(`a fake engine makes no ${kind}`);
  }

  isZero(): void {
    throw new Error('a fake engine compares nothing');
  }

  #handle(h: Handle): { bytes: Uint8Array; references: number } {
    const found = this.#handles.get(h);
    if (found === undefined) throw new Error(`handle ${String(h)} is not alive`);
    return found;
  }

  #op(o: Partial<FakeOp> & Pick<FakeOp, 'op' | 'what' | 'offset' | 'length'>): void {
    this.ops.push({ fua: false, mayPunch: false, h: 0, ...o });
  }

  #emit(e: {
    kind: number;
    conn?: number;
    id?: number;
    cmd?: number;
    flags?: number;
    offset?: number;
    length?: number;
    handle?: number;
    errno?: number;
    value?: EngineValue | undefined;
  }): void {
    this.#onEvents({
      count: 1,
      kind: Uint8Array.of(e.kind),
      conn: Uint32Array.of(e.conn ?? 0),
      id: Float64Array.of(e.id ?? 0),
      cmd: Uint16Array.of(e.cmd ?? 0),
      flags: Uint16Array.of(e.flags ?? 0),
      offset: Float64Array.of(e.offset ?? 0),
      length: Float64Array.of(e.length ?? 0),
      handle: Uint32Array.of(e.handle ?? 0),
      errno: Int32Array.of(e.errno ?? 0),
      value: [e.value],
    });
  }
}
