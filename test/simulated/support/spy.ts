/** Stands between a daemon and its world, changes nothing, and tells what passes: writes, replies, records. */
import type {
  ConnId,
  ConnLimits,
  DigestKind,
  Engine,
  EventBatch,
  Files,
  FileStat,
  Handle,
  Io,
  IoFile,
  IoSocket,
  LegId,
  LegInfo,
  LegOptions,
  OpenOptions,
  OpId,
  RequestId,
  WireParams,
} from '../../../src/io/types.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import { EventKind } from '../../../src/io/types.ts';
import { ROOT } from './plan.ts';
import { NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES } from '../../../src/nbd/wire/constants.ts';

export interface ApplicationRequest {
  cmd: number;
  offset: number;
  length: number;
}

export interface Watcher {
  /** The node's own leg is about to be told to change these bytes. */
  legChanges(offset: number, length: number): void;
  /** A target is about to be told to change these bytes of its leg. */
  targetChanges(offset: number, length: number): void;
  /** From now on the engine may change the own leg by these rules, and nobody hears of it. */
  serves(rules: ServeRules): void;
  /** An application is being answered. */
  replies(errno: number, request: ApplicationRequest): void;
  renamed(to: string): void;
}

export function spied(io: Io, w: Watcher): Io {
  return {
    clock: io.clock,
    chance: io.chance,
    net: io.net,
    bootId: io.bootId,
    programs: io.programs,
    files: new SpiedFiles(io.files, w),
    createEngine: () => new SpiedEngine(io.createEngine(), w),
  };
}

class SpiedFiles implements Files {
  readonly #f: Files;
  readonly #w: Watcher;
  constructor(f: Files, w: Watcher) {
    this.#f = f;
    this.#w = w;
  }
  open(path: string, o: OpenOptions): Promise<IoFile> {
    return this.#f.open(path, o);
  }
  readFile(path: string, maxBytes: number): Promise<Uint8Array> {
    return this.#f.readFile(path, maxBytes);
  }
  list(path: string): Promise<string[]> {
    return this.#f.list(path);
  }
  stat(path: string): Promise<FileStat> {
    return this.#f.stat(path);
  }
  mkdir(path: string): Promise<void> {
    return this.#f.mkdir(path);
  }
  async rename(from: string, to: string): Promise<void> {
    await this.#f.rename(from, to);
    this.#w.renamed(to);
  }
  unlink(path: string): Promise<void> {
    return this.#f.unlink(path);
  }
  syncDirectory(path: string): Promise<void> {
    return this.#f.syncDirectory(path);
  }
}

export const CHANGES: ReadonlySet<number> = new Set<number>([NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]);

class SpiedEngine implements Engine {
  readonly #e: Engine;
  readonly #w: Watcher;
  /** Connections of applications: they come in on the node's unix socket. */
  readonly #applications = new Set<ConnId>();
  readonly #requests = new Map<RequestId, ApplicationRequest>();
  /** Files that are opened like legs, and are none. */
  readonly #noLegs = new Set<LegId>();

  constructor(e: Engine, w: Watcher) {
    this.#e = e;
    this.#w = w;
  }
  onEvents(f: (e: EventBatch) => void): void {
    this.#e.onEvents((e) => {
      for (let i = 0; i < e.count; i += 1) {
        if (e.kind[i] !== EventKind.REQUEST || !this.#applications.has(e.conn[i] ?? 0)) continue;
        this.#requests.set(e.id[i] ?? 0, { cmd: e.cmd[i] ?? 0, offset: e.offset[i] ?? 0, length: e.length[i] ?? 0 });
      }
      f(e);
    });
  }
  adopt(s: IoSocket, role: 'server' | 'client', wire: WireParams, limits: ConnLimits, early: Uint8Array): ConnId {
    const conn = this.#e.adopt(s, role, wire, limits, early);
    if (role === 'server' && s.remote.startsWith('unix:')) this.#applications.add(conn);
    return conn;
  }
  close(conn: ConnId, errno: number): void {
    this.#e.close(conn, errno);
  }
  stopReceiving(conn: ConnId): void {
    this.#e.stopReceiving(conn);
  }
  awaited(conn: ConnId): number | undefined {
    return this.#e.awaited(conn);
  }
  /** Of every second connection: of what is served so, a watcher hears nothing but where it may go. */
  serve(conn: ConnId, rules: ServeRules): boolean {
    if (conn % 2 === 0 || !this.#e.serve(conn, rules)) return false;
    this.#w.serves(rules);
    return true;
  }
  unserve(op: OpId, conn: ConnId): void {
    this.#e.unserve(op, conn);
  }
  heed(op: OpId, conn: ConnId): void {
    this.#e.heed(op, conn);
  }
  heeded(conn: ConnId): void {
    this.#e.heeded(conn);
  }
  served(conn: ConnId): number {
    return this.#e.served(conn);
  }
  async openLeg(path: string, o: LegOptions): Promise<LegInfo> {
    const info = await this.#e.openLeg(path, o);
    if (path.startsWith(`${ROOT}/`)) this.#noLegs.add(info.leg);
    return info;
  }
  closeLeg(leg: LegId): Promise<void> {
    return this.#e.closeLeg(leg);
  }
  legSize(leg: LegId): Promise<number> {
    return this.#e.legSize(leg);
  }
  setLegSize(leg: LegId, sizeBytes: number): Promise<void> {
    return this.#e.setLegSize(leg, sizeBytes);
  }
  read(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#e.read(op, leg, offset, length);
  }
  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    if (!this.#noLegs.has(leg)) this.#w.legChanges(offset, length);
    this.#e.write(op, leg, offset, h, hOffset, length, fua);
  }
  sync(op: OpId, leg: LegId): void {
    this.#e.sync(op, leg);
  }
  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    if (!this.#noLegs.has(leg)) this.#w.legChanges(offset, length);
    this.#e.zero(op, leg, offset, length, mayPunch, fua);
  }
  extents(op: OpId, leg: LegId, offset: number, length: number): void {
    this.#e.extents(op, leg, offset, length);
  }
  send(op: OpId, conn: ConnId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void {
    if (CHANGES.has(cmd)) this.#w.targetChanges(offset, length);
    this.#e.send(op, conn, cmd, flags, offset, length, h, hOffset);
  }
  reply(op: OpId, req: RequestId, errno: number, h: Handle, hOffset: number, length: number): void {
    const request = this.#requests.get(req);
    if (request !== undefined) {
      this.#requests.delete(req);
      this.#w.replies(errno, request);
    }
    this.#e.reply(op, req, errno, h, hOffset, length);
  }
  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void {
    this.#e.replyBlockStatus(op, req, chunks);
  }
  view(h: Handle): Uint8Array {
    return this.#e.view(h);
  }
  allocate(length: number): Handle {
    return this.#e.allocate(length);
  }
  retain(h: Handle): void {
    this.#e.retain(h);
  }
  release(h: Handle): void {
    this.#e.release(h);
  }
  digest(op: OpId, h: Handle, offset: number, length: number, kind: DigestKind): void {
    this.#e.digest(op, h, offset, length, kind);
  }
  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void {
    this.#e.isZero(op, h, offset, length, granuleBytes);
  }
  usage(): { handles: number; bytes: number; operations: number; connections: number } {
    return this.#e.usage();
  }
  shutdown(): Promise<void> {
    return this.#e.shutdown();
  }
}
