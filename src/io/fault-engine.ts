/**
 * An engine whose legs fail on request, for scenarios that run the real daemon: a leg obeys the file BASENAME.fault in a folder.
 *
 *   full          writes and zeroing: ENOSPC
 *   error read    reads: EIO
 *   error write   writes and zeroing: EIO
 *   error sync    syncs: EIO
 *
 * One a line; all of them hold at once, and ENOSPC before EIO.
 *
 * The file is looked at when an operation begins and the last look is older than 50 ms; that operation, and those that come
 * meanwhile, begin after the look. Operations already under way are not held up. Any other line is no fault.
 *
 * A write with `fua` is a write here, and no sync.
 */
import { basename, join } from 'node:path';
import {
  type Clock,
  type ConnId,
  type ConnLimits,
  type DigestKind,
  type Engine,
  Errno,
  type EventBatch,
  EventKind,
  type Files,
  type Handle,
  IoError,
  type IoSocket,
  type LegId,
  type LegInfo,
  type LegOptions,
  type OpId,
  type RequestId,
  type WireParams,
} from './types.ts';

const LOOK_EVERY_MS = 50;
const FAULT_MAX_BYTES = 256;

type Fault = 'full' | 'error read' | 'error write' | 'error sync';
type Faults = ReadonlySet<string>;

const NONE: Faults = new Set();

function has(faults: Faults, fault: Fault): boolean {
  return faults.has(fault);
}

function readError(faults: Faults): number {
  return has(faults, 'error read') ? Errno.EIO : 0;
}

function writeError(faults: Faults): number {
  if (has(faults, 'full')) return Errno.ENOSPC;
  return has(faults, 'error write') ? Errno.EIO : 0;
}

function syncError(faults: Faults): number {
  return has(faults, 'error sync') ? Errno.EIO : 0;
}

class FaultFile {
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #path: string;
  #faults = NONE;
  #lookedAt = -Infinity;
  #waiting: ((f: Faults) => void)[] | undefined;
  #looked: Promise<void> = Promise.resolve();

  constructor(files: Files, clock: Clock, path: string) {
    this.#files = files;
    this.#clock = clock;
    this.#path = path;
  }

  /** Calls `f` with the faults that hold, at once or after a look. */
  ask(f: (faults: Faults) => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(f);
    else if (this.#clock.now() - this.#lookedAt < LOOK_EVERY_MS) f(this.#faults);
    else {
      this.#waiting = [f];
      this.#looked = this.#look();
    }
  }

  /** When the look that is under way, if any, is over and has been answered. */
  async looked(): Promise<void> {
    await this.#looked;
  }

  async #look(): Promise<void> {
    this.#faults = await this.#read();
    this.#lookedAt = this.#clock.now();
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const f of waiting) f(this.#faults);
  }

  async #read(): Promise<Faults> {
    try {
      const text = new TextDecoder().decode(await this.#files.readFile(this.#path, FAULT_MAX_BYTES));
      return new Set(text.split('\n').map((line) => line.trim()));
    } catch (e: unknown) {
      // Absent, most of the time.
      if (e instanceof IoError) return NONE;
      throw e;
    }
  }
}

/** One event of an operation that ended here. */
function doneBatch(op: OpId, errno: number): EventBatch {
  return {
    count: 1,
    kind: Uint8Array.of(EventKind.DONE),
    conn: new Uint32Array(1),
    id: Float64Array.of(op),
    cmd: new Uint16Array(1),
    flags: new Uint16Array(1),
    offset: new Float64Array(1),
    length: new Float64Array(1),
    handle: new Uint32Array(1),
    errno: Int32Array.of(errno),
    value: [undefined],
  };
}

export class FaultEngine implements Engine {
  readonly #inner: Engine;
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #legs = new Map<LegId, FaultFile>();
  /** They take nothing more. */
  readonly #closing = new Set<LegId>();
  #handler: ((e: EventBatch) => void) | undefined;
  /** Operations that wait for a look, and those that failed here and have not been told yet. */
  #waiting = 0;

  /** `folder`: where the fault files are. */
  constructor(inner: Engine, files: Files, clock: Clock, folder: string) {
    this.#inner = inner;
    this.#files = files;
    this.#clock = clock;
    this.#folder = folder;
  }

  onEvents(f: (e: EventBatch) => void): void {
    this.#inner.onEvents(f);
    this.#handler = f;
  }

  async openLeg(path: string, o: LegOptions): Promise<LegInfo> {
    const info = await this.#inner.openLeg(path, o);
    this.#legs.set(info.leg, new FaultFile(this.#files, this.#clock, join(this.#folder, `${basename(path)}.fault`)));
    return info;
  }

  async closeLeg(leg: LegId): Promise<void> {
    const faults = this.#legs.get(leg);
    if (faults !== undefined) {
      this.#closing.add(leg);
      await faults.looked();
    }
    try {
      await this.#inner.closeLeg(leg);
    } finally {
      this.#legs.delete(leg);
      this.#closing.delete(leg);
    }
  }

  read(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#ask(op, leg, 0, readError, () => {
      this.#inner.read(op, leg, offset, length);
    });
  }

  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    this.#ask(op, leg, h, writeError, () => {
      this.#inner.write(op, leg, offset, h, hOffset, length, fua);
    });
  }

  sync(op: OpId, leg: LegId): void {
    this.#ask(op, leg, 0, syncError, () => {
      this.#inner.sync(op, leg);
    });
  }

  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    this.#ask(op, leg, 0, writeError, () => {
      this.#inner.zero(op, leg, offset, length, mayPunch, fua);
    });
  }

  /** Goes on with `begin`, or ends the operation with what `error` makes of the faults; `h` lives until then. */
  #ask(op: OpId, leg: LegId, h: Handle, error: (f: Faults) => number, begin: () => void): void {
    const faults = this.#legs.get(leg);
    if (faults === undefined) {
      begin();
      return;
    }
    if (this.#closing.has(leg)) {
      this.#fail(op, Errno.ESHUTDOWN);
      return;
    }
    if (h !== 0) this.#inner.retain(h);
    this.#waiting += 1;
    faults.ask((f) => {
      const errno = error(f);
      this.#waiting -= 1;
      if (errno === 0) begin();
      else this.#fail(op, errno);
      if (h !== 0) this.#inner.release(h);
    });
  }

  /** Never from inside a call of the engine. */
  #fail(op: OpId, errno: number): void {
    this.#waiting += 1;
    queueMicrotask(() => {
      this.#waiting -= 1;
      this.#handler?.(doneBatch(op, errno));
    });
  }

  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    const inner = this.#inner.usage();
    return { ...inner, operations: inner.operations + this.#waiting };
  }

  async shutdown(): Promise<void> {
    await Promise.all([...this.#legs.values()].map((f) => f.looked()));
    await this.#inner.shutdown();
  }

  // ------------------------------------------------------------------------------------- the engine itself in everything else

  adopt(s: IoSocket, role: 'server' | 'client', wire: WireParams, limits: ConnLimits, early: Uint8Array): ConnId {
    return this.#inner.adopt(s, role, wire, limits, early);
  }

  close(conn: ConnId, errno: number): void {
    this.#inner.close(conn, errno);
  }

  stopReceiving(conn: ConnId): void {
    this.#inner.stopReceiving(conn);
  }

  awaited(conn: ConnId): number | undefined {
    return this.#inner.awaited(conn);
  }

  /** Every write is to pass here. */
  serve(): boolean {
    return false;
  }

  unserve(op: OpId, conn: ConnId): void {
    this.#inner.unserve(op, conn);
  }

  heed(op: OpId, conn: ConnId): void {
    this.#inner.heed(op, conn);
  }

  heeded(conn: ConnId): void {
    this.#inner.heeded(conn);
  }

  served(conn: ConnId): number {
    return this.#inner.served(conn);
  }

  legSize(leg: LegId): Promise<number> {
    return this.#inner.legSize(leg);
  }

  setLegSize(leg: LegId, sizeBytes: number): Promise<void> {
    return this.#inner.setLegSize(leg, sizeBytes);
  }

  extents(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#inner.extents(op, leg, offset, length);
  }

  send(op: OpId, conn: ConnId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void {
    this.#inner.send(op, conn, cmd, flags, offset, length, h, hOffset);
  }

  reply(op: OpId, req: RequestId, errno: number, h: Handle, hOffset: number, length: number): void {
    this.#inner.reply(op, req, errno, h, hOffset, length);
  }

  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void {
    this.#inner.replyBlockStatus(op, req, chunks);
  }

  view(h: Handle): Uint8Array {
    return this.#inner.view(h);
  }

  allocate(length: number): Handle {
    return this.#inner.allocate(length);
  }

  retain(h: Handle): void {
    this.#inner.retain(h);
  }

  release(h: Handle): void {
    this.#inner.release(h);
  }

  digest(op: OpId, h: Handle, offset: number, length: number, kind: DigestKind): void {
    this.#inner.digest(op, h, offset, length, kind);
  }

  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void {
    this.#inner.isZero(op, h, offset, length, granuleBytes);
  }
}
