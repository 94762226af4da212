/**
 * The engine that needs nothing but sockets, leg files and a clock, so that the node world and the simulated world run the
 * same one.
 *
 *   sockets --> ServerConn, ClientConn --+                   +--> handler (EngineHub)
 *                                        +--> EventQueue ----+
 *   leg files --> Legs ------------------+   once a turn     +--> after it: flush the outboxes
 *
 * Invariants beyond those of `Engine`:
 * - the handler is never called from inside a call of the engine
 * - records, headers and data buffers are reused: a request in steady state allocates next to nothing
 */
import type { LegOpener } from './leg-file.ts';
import { ClientConn } from './portable/client-conn.ts';
import { digestOf, zeroGranules } from './portable/compute.ts';
import type { EngineContext } from './portable/context.ts';
import { EventQueue } from './portable/event-queue.ts';
import { HandlePool } from './portable/handles.ts';
import { Legs } from './portable/legs.ts';
import { BlockPool, type Outbox } from './portable/outbox.ts';
import { RequestTable } from './portable/requests.ts';
import { SharedRoom } from './portable/shared-room.ts';
import { ServerConn } from './portable/server-conn.ts';
import { Serves } from './portable/serves.ts';
import type { ServeRules } from './serve.ts';
import {
  type Clock,
  type ConnId,
  type ConnLimits,
  type DigestKind,
  type Engine,
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
} from './types.ts';

export interface PortableEngineParts {
  clock: Clock;
  legs: LegOpener;
  /** After an orderly close of a server connection: how long queued replies may take to leave. */
  lingerMs?: number;
}

const LINGER_MS = 5000;

export class PortableEngine implements Engine {
  readonly #clock: Clock;
  readonly #context: EngineContext;
  readonly #handles = new HandlePool();
  readonly #events: EventQueue;
  readonly #legs: Legs;
  readonly #requests = new RequestTable();
  readonly #conns = new Map<ConnId, ServerConn | ClientConn>();
  readonly #serves = new Serves({
    write: (op, leg, offset, h, length) => {
      this.#legs.write(op, leg, offset, h, 0, length, false);
    },
    read: (op, leg, offset, length) => {
      this.#legs.read(op, leg, offset, length);
    },
    reply: (req, h, length) => {
      this.reply(0, req, 0, h, 0, length);
    },
    tell: (conn, req, cmd, offset, length, h) => {
      // Of a connection that has closed nobody wants to hear any more.
      if (this.#conns.has(conn)) this.#events.request(conn, req, cmd, 0, offset, length, h);
      else if (h !== 0) this.#handles.release(h);
    },
    release: (h) => {
      this.#handles.release(h);
    },
    unserved: (op, answered) => {
      this.#context.done(op, 0, answered, 0, undefined);
    },
    heeded: (op, errno) => {
      this.#context.done(op, errno, 0, 0, undefined);
    },
  });
  readonly #toFlush: Outbox[] = [];
  #flushScheduled = false;
  #nextConn: ConnId = 1;
  #operations = 0;
  #shutDown = false;

  constructor(parts: PortableEngineParts) {
    this.#clock = parts.clock;
    this.#events = new EventQueue(parts.clock, () => {
      this.#flush();
    });
    this.#context = {
      clock: parts.clock,
      handles: this.#handles,
      blocks: new BlockPool(),
      events: this.#events,
      room: new SharedRoom(parts.clock),
      lingerMs: parts.lingerMs ?? LINGER_MS,
      done: (op, errno, length, h, value) => {
        if (op === 0) return;
        if (op < 0) {
          this.#serves.done(op, errno, h);
          return;
        }
        this.#operations -= 1;
        this.#events.done(op, errno, length, h, value);
      },
      wantFlush: (o) => {
        this.#toFlush.push(o);
        this.#scheduleFlush();
      },
      request: (conn, req, cmd, flags, offset, length, h) => {
        if (!this.#serves.takes(conn, req, cmd, flags, offset, length, h)) this.#events.request(conn, req, cmd, flags, offset, length, h);
      },
      forget: (conn) => {
        this.#conns.delete(conn);
      },
    };
    this.#legs = new Legs(this.#context, parts.legs);
  }

  onEvents(f: (e: EventBatch) => void): void {
    this.#events.handle(f);
  }

  // ----------------------------------------------------------------------------------------------- connections

  adopt(s: IoSocket, role: 'server' | 'client', wire: WireParams, limits: ConnLimits, early: Uint8Array): ConnId {
    if (wire.extendedHeaders && !wire.structuredReplies) throw new Error('extended headers come with structured replies');
    if (wire.extendedHeaders && wire.checksums === true) throw new RangeError('checksums are of compact headers');
    if (limits.requestsMax < 1 || limits.bytesMax < 1) throw new RangeError('a connection needs room for one request');
    const id = this.#nextConn;
    this.#nextConn += 1;
    const conn =
      role === 'server' ? new ServerConn(id, this.#context, this.#requests, s, wire, limits) : new ClientConn(id, this.#context, s, wire, limits);
    this.#conns.set(id, conn);
    if (this.#shutDown) conn.close(Errno.ESHUTDOWN);
    else conn.start(early);
    return id;
  }

  close(conn: ConnId, errno: number): void {
    const c = this.#conns.get(conn);
    const now = (): void => {
      c?.close(errno);
    };
    if (!(errno === 0 && c instanceof ServerConn)) now();
    else {
      c.stopReceiving();
      if (!this.#serves.closesLater(conn, now)) now();
    }
  }

  stopReceiving(conn: ConnId): void {
    const c = this.#conns.get(conn);
    if (c instanceof ServerConn) c.stopReceiving();
  }

  awaited(conn: ConnId): number | undefined {
    const c = this.#conns.get(conn);
    return c instanceof ServerConn ? c.awaited() : undefined;
  }

  serve(conn: ConnId, rules: ServeRules): boolean {
    // Several clients' requests would each go their own way here.
    if (!(this.#conns.get(conn) instanceof ServerConn) || (rules.marks?.clients ?? 1) > 1) return false;
    this.#serves.begin(conn, rules);
    return true;
  }

  unserve(op: OpId, conn: ConnId): void {
    this.#begin(op);
    this.#serves.end(op, conn);
  }

  heed(op: OpId, conn: ConnId): void {
    this.#begin(op);
    this.#serves.heed(op, conn);
  }

  heeded(conn: ConnId): void {
    this.#serves.heeded(conn);
  }

  served(conn: ConnId): number {
    return this.#serves.answered(conn);
  }

  send(op: OpId, conn: ConnId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void {
    this.#begin(op);
    const c = this.#conns.get(conn);
    if (c instanceof ClientConn) c.send(op, cmd, flags, offset, length, h, hOffset);
    else this.#context.done(op, Errno.ESHUTDOWN, 0, 0, undefined);
  }

  reply(op: OpId, req: RequestId, errno: number, h: Handle, hOffset: number, length: number): void {
    this.#begin(op);
    const r = this.#requests.find(req);
    if (r?.conn === undefined) this.#context.done(op, Errno.ESHUTDOWN, 0, 0, undefined);
    else r.conn.reply(r, op, errno, h, hOffset, length);
  }

  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void {
    this.#begin(op);
    const r = this.#requests.find(req);
    if (r?.conn === undefined) this.#context.done(op, Errno.ESHUTDOWN, 0, 0, undefined);
    else r.conn.replyBlockStatus(r, op, chunks);
  }

  // ------------------------------------------------------------------------------------------------------ legs

  async openLeg(path: string, o: LegOptions): Promise<LegInfo> {
    if (this.#shutDown) throw new IoError(Errno.ESHUTDOWN, `cannot open ${path}: the engine is shut down`);
    return await this.#legs.open(path, o);
  }

  closeLeg(leg: LegId): Promise<void> {
    return this.#legs.close(leg);
  }

  legSize(leg: LegId): Promise<number> {
    return this.#legs.size(leg);
  }

  setLegSize(leg: LegId, sizeBytes: number): Promise<void> {
    return this.#legs.setSize(leg, sizeBytes);
  }

  read(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#begin(op);
    this.#legs.read(op, leg, offset, length);
  }

  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    this.#begin(op);
    this.#legs.write(op, leg, offset, h, hOffset, length, fua);
  }

  sync(op: OpId, leg: LegId): void {
    this.#begin(op);
    this.#legs.sync(op, leg);
  }

  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    this.#begin(op);
    this.#legs.zero(op, leg, offset, length, mayPunch, fua);
  }

  extents(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#begin(op);
    this.#legs.extents(op, leg, offset, length);
  }

  // --------------------------------------------------------------------------------------------------- handles

  view(h: Handle): Uint8Array {
    return this.#handles.view(h);
  }

  allocate(length: number): Handle {
    return this.#handles.allocate(length);
  }

  retain(h: Handle): void {
    this.#handles.retain(h);
  }

  release(h: Handle): void {
    this.#handles.release(h);
  }

  digest(op: OpId, h: Handle, offset: number, length: number, kind: DigestKind): void {
    this.#begin(op);
    const hex = digestOf(this.#handles.part(h, offset, length), kind);
    this.#context.done(op, 0, length, 0, { kind: 'digest', hex });
  }

  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void {
    this.#begin(op);
    const zero = zeroGranules(this.#handles.part(h, offset, length), granuleBytes);
    this.#context.done(op, 0, length, 0, { kind: 'zeroes', zero });
  }

  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    return {
      handles: this.#handles.liveHandles,
      bytes: this.#handles.liveBytes,
      operations: this.#operations,
      connections: this.#conns.size,
    };
  }

  async shutdown(): Promise<void> {
    this.#shutDown = true;
    for (const c of [...this.#conns.values()]) c.close(Errno.ESHUTDOWN);
    await this.#legs.closeAll();
  }

  #begin(op: OpId): void {
    if (op !== 0) this.#operations += 1;
  }

  #scheduleFlush(): void {
    // What a handler causes is flushed when its delivery ends.
    if (this.#flushScheduled || this.#events.delivering) return;
    this.#flushScheduled = true;
    this.#clock.soon(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    // Flushing may make room, and so new requests to send: the list can grow while it is walked.
    for (let o = this.#toFlush.pop(); o !== undefined; o = this.#toFlush.pop()) o.flush();
  }
}
