/** A leg and targets in memory whose every completion the test causes, with what a power failure would leave of each. */
import { createHash } from 'node:crypto';
import type { OpOwner } from '../../../src/io/hub.ts';
import {
  type ConnId,
  type Engine,
  type EngineValue,
  Errno,
  type EventBatch,
  EventKind,
  type Extent,
  type Handle,
  type LegId,
  type LegInfo,
  type OpId,
} from '../../../src/io/types.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import type { TargetClient } from '../../../src/mirror/target-client.ts';
import { FakeHeeds } from '../../support/fake-heeds.ts';

const SECTOR = 512;

export type OpKind = 'read' | 'write' | 'sync' | 'zero' | 'trim' | 'extents';

/** What a sync found when it began. */
interface AtStart {
  bytes: Uint8Array;
  doomed: ReadonlySet<number>;
  writes: Uint32Array;
}

/** One operation that a leg was told to do and that has not ended. */
export interface PendingOp {
  kind: OpKind;
  offset: number;
  length: number;
  h: Handle;
  hOffset: number;
  fua: boolean;
  mayPunch: boolean;
  /** A sync makes durable what had been done when it began, but for what an earlier sync failed to. */
  atStart: AtStart | undefined;
  done: (errno: number, h: Handle, value: EngineValue | undefined) => void;
}

/** The bytes of one leg: as they are, and as a power failure would leave them. */
export class Copy {
  readonly name: string;
  bytes: Uint8Array;
  durable: Uint8Array;
  /** Sectors that a failed sync was to make durable: no later one does, unless they are written again. */
  readonly doomed = new Set<number>();
  /** Of each sector: how often it was written, and which of these is durable. Syncs end in any order. */
  readonly #writes: Uint32Array;
  readonly #durableWrites: Uint32Array;
  readonly ops: PendingOp[] = [];
  /** Every operation told, in order, for tests of what was sent and in which order. */
  readonly told: string[] = [];
  /** Called when an operation comes; a test may look at the world at that moment. */
  onOp: (op: PendingOp) => void = () => undefined;
  /** Errno that the next operations of a kind end with, when they end by `endAll`. */
  readonly failing = new Map<OpKind, number>();

  constructor(name: string, sizeBytes: number) {
    this.name = name;
    this.bytes = new Uint8Array(sizeBytes);
    this.durable = new Uint8Array(sizeBytes);
    this.#writes = new Uint32Array(Math.ceil(sizeBytes / SECTOR));
    this.#durableWrites = new Uint32Array(Math.ceil(sizeBytes / SECTOR));
  }

  begin(op: PendingOp): void {
    if (op.kind === 'sync') op.atStart = { bytes: this.bytes.slice(), doomed: new Set(this.doomed), writes: this.#writes.slice() };
    this.ops.push(op);
    this.told.push(op.kind === 'sync' ? 'sync' : `${op.kind} ${String(op.offset)}+${String(op.length)}${op.fua ? ' fua' : ''}`);
    this.onOp(op);
  }

  written(offset: number, length: number, fua: boolean): void {
    for (let s = Math.floor(offset / SECTOR); s * SECTOR < offset + length; s += 1) {
      this.doomed.delete(s);
      this.#writes[s] = (this.#writes[s] ?? 0) + 1;
      if (fua) this.#keep(s, this.bytes, this.#writes[s] ?? 0);
    }
  }

  synced(at: AtStart): void {
    for (let s = 0; s * SECTOR < this.bytes.length; s += 1) {
      if (!at.doomed.has(s)) this.#keep(s, at.bytes, at.writes[s] ?? 0);
    }
  }

  #keep(s: number, bytes: Uint8Array, write: number): void {
    if (write < (this.#durableWrites[s] ?? 0)) return;
    this.#durableWrites[s] = write;
    this.durable.set(bytes.subarray(s * SECTOR, (s + 1) * SECTOR), s * SECTOR);
  }

  syncFailed(): void {
    for (let s = 0; s * SECTOR < this.bytes.length; s += 1) {
      const range = [s * SECTOR, (s + 1) * SECTOR] as const;
      if (Buffer.compare(this.bytes.subarray(...range), this.durable.subarray(...range)) !== 0) this.doomed.add(s);
    }
  }

  /** The oldest operation of that kind. */
  first(kind: OpKind): PendingOp {
    const op = this.ops.find((o) => o.kind === kind);
    if (op === undefined) throw new Error(`${this.name} has no ${kind} in flight, but ${this.ops.map((o) => o.kind).join(', ') || 'nothing'}`);
    return op;
  }

  has(kind: OpKind): boolean {
    return this.ops.some((o) => o.kind === kind);
  }
}

/** Ends an operation: does it, or fails without doing it. */
export function endOp(engine: ScriptedEngine, copy: Copy, op: PendingOp, errno = 0): void {
  const at = copy.ops.indexOf(op);
  if (at < 0) throw new Error('that operation has ended already');
  copy.ops.splice(at, 1);
  let h = 0;
  let value: EngineValue | undefined;
  if (errno === 0) {
    const end = op.offset + op.length;
    if (op.kind === 'write') copy.bytes.set(engine.view(op.h).subarray(op.hOffset, op.hOffset + op.length), op.offset);
    else if (op.kind === 'zero' || op.kind === 'trim') copy.bytes.fill(0, op.offset, end);
    else if (op.kind === 'sync') {
      if (op.atStart !== undefined) copy.synced(op.atStart);
    } else if (op.kind === 'read') {
      h = engine.allocate(op.length);
      engine.view(h).set(copy.bytes.subarray(op.offset, end));
    } else value = { kind: 'extents', extents: engine.extentsOf(op.offset, op.length) };
    if (op.kind === 'write' || op.kind === 'zero' || op.kind === 'trim') copy.written(op.offset, op.length, op.fua);
  }
  if (errno !== 0 && op.kind === 'sync') copy.syncFailed();
  if (op.h !== 0) engine.release(op.h);
  op.done(errno, h, value);
}

export class ScriptedEngine implements Engine {
  readonly leg: Copy;
  /** Legs beside the own one. */
  readonly others = new Map<LegId, Copy>();
  /** Ranges that are reported as holes. */
  holes: { offset: number; length: number }[] = [];
  readonly #handles = new Map<Handle, { bytes: Uint8Array; references: number }>();
  #nextHandle = 1;
  #onEvents: (e: EventBatch) => void = () => undefined;

  constructor(sizeBytes: number) {
    this.leg = new Copy('own leg', sizeBytes);
  }

  get handlesAlive(): number {
    return this.#handles.size;
  }

  extentsOf(offset: number, length: number): Extent[] {
    const out: Extent[] = [];
    for (let at = offset; at < offset + length; at += 512) {
      const n = Math.min(512, offset + length - at);
      const hole = this.holes.some((x) => x.offset <= at && at + n <= x.offset + x.length);
      const last = out.at(-1);
      if (last?.hole === hole) last.length += n;
      else out.push({ offset: at, length: n, hole, zero: hole });
    }
    return out;
  }

  onEvents(f: (e: EventBatch) => void): void {
    this.#onEvents = f;
  }

  read(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#op(op, leg, 'read', offset, length);
  }

  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    this.retain(h);
    this.#op(op, leg, 'write', offset, length, { h, hOffset, fua });
  }

  sync(op: OpId, leg: LegId): void {
    this.#op(op, leg, 'sync', 0, 0);
  }

  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    this.#op(op, leg, 'zero', offset, length, { mayPunch, fua });
  }

  extents(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#op(op, leg, 'extents', offset, length);
  }

  digest(op: OpId, h: Handle, offset: number, length: number): void {
    const hex = createHash('sha256')
      .update(this.view(h).subarray(offset, offset + length))
      .digest('hex');
    queueMicrotask(() => {
      this.#emit(op, 0, length, 0, { kind: 'digest', hex });
    });
  }

  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void {
    const zero: boolean[] = [];
    for (let at = 0; at < length; at += granuleBytes) {
      const granule = this.view(h).subarray(offset + at, offset + Math.min(length, at + granuleBytes));
      zero.push(granule.every((b) => b === 0));
    }
    queueMicrotask(() => {
      this.#emit(op, 0, length, 0, { kind: 'zeroes', zero });
    });
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
    return { handles: this.#handles.size, bytes: 0, operations: this.leg.ops.length, connections: 0 };
  }

  adopt(): ConnId {
    throw new Error('no connections here');
  }

  close(): void {
    throw new Error('no connections here');
  }

  stopReceiving(): void {
    throw new Error('no connections here');
  }

  awaited(): number | undefined {
    throw new Error('no connections here');
  }

  /** Whether connections are served. */
  serves = false;
  /** Connections served now, with their rules. */
  readonly servedNow = new Map<ConnId, ServeRules>();
  /** Asked to be unserved: operation by connection, for the test to end with `unserved`. */
  readonly unserving = new Map<ConnId, OpId>();
  /** Requests of each connection that were answered since it is served. */
  readonly answered = new Map<ConnId, number>();

  serve(conn: ConnId, rules: ServeRules): boolean {
    if (this.servedNow.has(conn) || this.unserving.has(conn)) throw new Error(`connection ${String(conn)} is served already`);
    if (this.serves) this.servedNow.set(conn, rules);
    return this.serves;
  }

  unserve(op: OpId, conn: ConnId): void {
    if (!this.servedNow.delete(conn)) throw new Error(`connection ${String(conn)} is not served`);
    this.unserving.set(conn, op);
  }

  readonly heeds = new FakeHeeds((op, errno) => {
    this.#emit(op, errno, 0, 0, undefined);
  });

  heed(op: OpId, conn: ConnId): void {
    this.heeds.heed(op, conn);
  }

  heeded(conn: ConnId): void {
    this.heeds.heeded(conn);
  }

  /** Ends an `unserve`: with the number of answers that were given until now. */
  unserved(conn: ConnId): void {
    const op = this.unserving.get(conn);
    if (op === undefined) throw new Error(`nobody has asked to unserve ${String(conn)}`);
    this.unserving.delete(conn);
    this.heeds.unserved(conn);
    const answered = this.served(conn);
    this.answered.delete(conn);
    this.#emit(op, 0, answered, 0, undefined);
  }

  served(conn: ConnId): number {
    return this.answered.get(conn) ?? 0;
  }

  send(): void {
    throw new Error('no connections here');
  }

  reply(): void {
    throw new Error('no connections here');
  }

  replyBlockStatus(): void {
    throw new Error('no connections here');
  }

  openLeg(): Promise<LegInfo> {
    return Promise.reject(new Error('the leg is open'));
  }

  closeLeg(): Promise<void> {
    return Promise.resolve();
  }

  legSize(): Promise<number> {
    return Promise.resolve(this.leg.bytes.length);
  }

  setLegSize(): Promise<void> {
    return Promise.resolve();
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }

  #handle(h: Handle): { bytes: Uint8Array; references: number } {
    const found = this.#handles.get(h);
    if (found === undefined) throw new Error(`handle ${String(h)} is not alive`);
    return found;
  }

  #op(id: OpId, leg: LegId, kind: OpKind, offset: number, length: number, o: Partial<PendingOp> = {}): void {
    const done = (errno: number, h: Handle, value: EngineValue | undefined): void => {
      this.#emit(id, errno, length, h, value);
    };
    const copy = this.others.get(leg) ?? this.leg;
    copy.begin({ kind, offset, length, h: 0, hOffset: 0, fua: false, mayPunch: false, atStart: undefined, done, ...o });
  }

  #emit(id: OpId, errno: number, length: number, handle: Handle, value: EngineValue | undefined): void {
    this.#onEvents({
      count: 1,
      kind: Uint8Array.of(EventKind.DONE),
      conn: Uint32Array.of(0),
      id: Float64Array.of(id),
      cmd: Uint16Array.of(0),
      flags: Uint16Array.of(0),
      offset: Float64Array.of(0),
      length: Float64Array.of(length),
      handle: Uint32Array.of(handle),
      errno: Int32Array.of(errno),
      value: [value],
    });
  }
}

/** One session's connection to a target: what it has told the copy ends when the test says so, or with the connection. */
export class ScriptedClient implements TargetClient {
  readonly copy: Copy;
  readonly #engine: ScriptedEngine;
  closed: number | undefined;
  #lostWhy: string | undefined;
  #onClosed: (errno: number, why: string) => void = () => undefined;
  readonly #mine = new Set<PendingOp>();

  constructor(engine: ScriptedEngine, copy: Copy) {
    this.#engine = engine;
    this.copy = copy;
  }

  write(owner: OpOwner, tag: number, offset: number, length: number, h: Handle, _hOffset: number, fua: boolean): void {
    this.#engine.retain(h);
    this.#op(owner, tag, 'write', offset, length, { h, fua });
  }

  read(owner: OpOwner, tag: number, offset: number, length: number): void {
    this.#op(owner, tag, 'read', offset, length);
  }

  flush(owner: OpOwner, tag: number): void {
    this.#op(owner, tag, 'sync', 0, 0);
  }

  trim(owner: OpOwner, tag: number, offset: number, length: number, fua: boolean): void {
    this.#op(owner, tag, 'trim', offset, length, { fua });
  }

  writeZeroes(owner: OpOwner, tag: number, offset: number, length: number, fua: boolean, mayPunch: boolean): void {
    this.#op(owner, tag, 'zero', offset, length, { fua, mayPunch });
  }

  onClosed(f: (errno: number, why: string) => void): void {
    this.#onClosed = f;
  }

  lostWhy(): string | undefined {
    return this.#lostWhy;
  }

  /** What was outstanding ends in a later turn, as with a real connection; none of it reaches the copy any more. */
  close(errno: number): void {
    if (this.closed !== undefined) return;
    this.closed = errno;
    queueMicrotask(() => {
      for (const op of [...this.#mine]) {
        const at = this.copy.ops.indexOf(op);
        if (at >= 0) endOp(this.#engine, this.copy, op, errno);
      }
      this.#onClosed(errno, 'closed');
    });
  }

  /** The connection breaks. */
  lose(why = 'connection lost'): void {
    if (this.closed !== undefined) return;
    this.closed = Errno.ECONNRESET;
    this.#lostWhy = why;
    for (const op of [...this.#mine]) if (this.copy.ops.includes(op)) endOp(this.#engine, this.copy, op, Errno.ECONNRESET);
    this.#onClosed(Errno.ECONNRESET, why);
  }

  #op(owner: OpOwner, tag: number, kind: OpKind, offset: number, length: number, o: Partial<PendingOp> = {}): void {
    const op: PendingOp = {
      kind,
      offset,
      length,
      h: 0,
      hOffset: 0,
      fua: false,
      mayPunch: false,
      atStart: undefined,
      ...o,
      done: (errno, h, value) => {
        this.#mine.delete(op);
        owner.onDone(tag, errno, length, h, value);
      },
    };
    if (this.closed !== undefined) {
      if (op.h !== 0) this.#engine.release(op.h);
      queueMicrotask(() => {
        owner.onDone(tag, Errno.ESHUTDOWN, 0, 0, undefined);
      });
      return;
    }
    this.#mine.add(op);
    this.copy.begin(op);
  }
}
