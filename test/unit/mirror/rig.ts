/** A mirror device whose legs, bitmap file, clock and host are all in the test's hands. */
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import { nullLog } from '../../../src/io/log.ts';
import type { Extent, Handle, RequestId } from '../../../src/io/types.ts';
import { MirrorDevice } from '../../../src/mirror/device.ts';
import type { LossReason, MirrorHost } from '../../../src/mirror/host.ts';
import type { LocalLeg, TargetLeg, TargetMode } from '../../../src/mirror/legs.ts';
import { Marks } from '../../../src/mirror/marks.ts';
import { RequestKind } from '../../../src/mirror/request.ts';
import { DEFAULT_SETTINGS, type MirrorSettings } from '../../../src/mirror/settings.ts';
import type { Replier } from '../../../src/nbd/device.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { Copy, endOp, type OpKind, ScriptedClient, ScriptedEngine } from './scripted-engine.ts';

export const REGION = 4096;
export const IDENTITY = { createId: '0123456789abcdef', regionBytes: REGION };
export const BITMAP = '/bitmap_t';

export interface Answer {
  /** Undefined while not answered. */
  errno: number | undefined;
  data: Uint8Array | undefined;
  answers: number;
}

interface Call<T> {
  resolve: (value: T) => void;
  reject: (e: Error) => void;
}
export interface Lost extends Call<void> {
  node: string;
  reason: LossReason;
  newGeneration: boolean;
}

/** Answers nothing by itself unless `easy`. */
export class ScriptedHost implements MirrorHost {
  easy = false;
  readonly lost: Lost[] = [];
  readonly generations: Call<void>[] = [];
  readonly ownLeg: (Call<boolean> & { why: string; onRead: boolean })[] = [];
  stalls = 0;
  pressures = 0;
  changes = 0;
  /** What an easy host says about the own leg. */
  ownLegTaken = true;

  targetLost(node: string, reason: LossReason, newGeneration: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.lost.push({ node, reason, newGeneration, resolve, reject });
      if (this.easy) resolve();
    });
  }

  commitGeneration(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.generations.push({ resolve, reject });
      if (this.easy) resolve();
    });
  }

  localLegLost(why: string, onRead: boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.ownLeg.push({ why, onRead, resolve, reject });
      if (this.easy) resolve(this.ownLegTaken);
    });
  }

  stalled(): void {
    this.stalls += 1;
  }

  pressure(): void {
    this.pressures += 1;
  }

  changed(): void {
    this.changes += 1;
  }
}

export interface RigOptions {
  regions?: number;
  targets?: Record<string, TargetMode>;
  settings?: Partial<MirrorSettings>;
  stallLimitMs?: number;
  /** Legs and targets end every operation by themselves, and the host agrees to all. */
  easy?: boolean;
}

export class Rig implements Replier {
  readonly files = new MemoryFiles();
  readonly clock = new ManualClock();
  readonly host = new ScriptedHost();
  readonly engine: ScriptedEngine;
  readonly hub: EngineHub;
  readonly local: LocalLeg;
  readonly sizeBytes: number;
  readonly copies = new Map<string, Copy>();
  readonly clients = new Map<string, ScriptedClient>();
  marks: Marks;
  device: MirrorDevice;
  readonly #answers = new Map<RequestId, Answer>();
  #nextRequest = 1;

  private constructor(o: RigOptions, file: BitmapFile, engine: ScriptedEngine, files: MemoryFiles) {
    this.files = files;
    this.engine = engine;
    this.sizeBytes = engine.leg.bytes.length;
    this.hub = new EngineHub(engine);
    this.host.easy = o.easy ?? false;
    const settings = { ...DEFAULT_SETTINGS, ...o.settings };
    const regions = new RegionMap({ deviceBytes: this.sizeBytes, regionBytes: REGION });
    this.marks = new Marks({ file, regions, limits: settings.intent, log: nullLog });
    this.local = { state: 'in', syncFailed: false, info: { leg: 1, sizeBytes: this.sizeBytes, blockSizeBytes: 512, sparse: true } };
    this.device = new MirrorDevice({
      sectorBytes: 512,
      hub: this.hub,
      clock: this.clock,
      log: nullLog,
      local: this.local,
      marks: this.marks,
      host: this.host,
      settings,
      sizeBytes: this.sizeBytes,
      stallLimitMs: o.stallLimitMs ?? 1e12,
    });
    for (const [node, mode] of Object.entries(o.targets ?? {})) this.add(node, mode);
    if (o.easy === true) this.easy();
  }

  static async make(o: RigOptions = {}): Promise<Rig> {
    const files = new MemoryFiles();
    const sizeBytes = (o.regions ?? 16) * REGION;
    const file = await BitmapFile.create(files, BITMAP, { ...IDENTITY, deviceBytes: sizeBytes, generation: '00000000000000aa' });
    return new Rig(o, file, new ScriptedEngine(sizeBytes), files);
  }

  /** A rig whose targets are all in sync. */
  static async inSync(o: RigOptions = {}): Promise<Rig> {
    const rig = await Rig.make(o);
    for (const node of rig.copies.keys()) rig.join(node);
    return rig;
  }

  add(node: string, mode: TargetMode = 'sync'): TargetLeg {
    this.copies.set(node, new Copy(node, this.sizeBytes));
    return this.device.sessions.add(node, mode, false);
  }

  copy(node: string): Copy {
    const c = this.copies.get(node);
    if (c === undefined) throw new Error(`no target ${node}`);
    return c;
  }

  client(node: string): ScriptedClient {
    const c = this.clients.get(node);
    if (c === undefined) throw new Error(`${node} has no session`);
    return c;
  }

  target(node: string): TargetLeg {
    const t = this.device.targets.get(node);
    if (t === undefined) throw new Error(`no target ${node}`);
    return t;
  }

  open(node: string): ScriptedClient {
    const client = new ScriptedClient(this.engine, this.copy(node));
    this.clients.set(node, client);
    this.device.sessions.open(this.target(node), client);
    return client;
  }

  join(node: string): void {
    this.open(node);
    this.device.sessions.require(this.target(node));
  }

  /** Bytes marked out of sync for a node. */
  oos(node: string): number[] {
    return [...this.marks.outOfSync(node).runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));
  }

  /** Regions under intent. */
  intent(): number[] {
    return [...this.marks.intent.snapshot().runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));
  }

  /** What a map holds on disk now, whatever a crash does. */
  async onDisk(map: string): Promise<number[]> {
    return await durableMap(
      this.files.afterPowerLoss(() => false),
      this.sizeBytes,
      map,
    );
  }

  // -------------------------------------------------------------------------------------------------- requests

  write(offset: number, length: number, byte: number, fua = false): Answer {
    const h = this.engine.allocate(length);
    this.engine.view(h).fill(byte);
    return this.#submit(RequestKind.WRITE, offset, length, h, fua, false);
  }

  zero(offset: number, length: number, mayPunch = true): Answer {
    return this.#submit(RequestKind.ZERO, offset, length, 0, false, mayPunch);
  }

  trim(offset: number, length: number): Answer {
    return this.#submit(RequestKind.TRIM, offset, length, 0, false, true);
  }

  read(offset: number, length: number): Answer {
    return this.#submit(RequestKind.READ, offset, length, 0, false, false);
  }

  flush(): Answer {
    return this.#submit(RequestKind.FLUSH, 0, 0, 0, false, false);
  }

  /** A handle on a request that a part above the device answers. */
  request(): { id: RequestId; answer: Answer } {
    const id = this.#nextRequest;
    this.#nextRequest += 1;
    const answer: Answer = { errno: undefined, data: undefined, answers: 0 };
    this.#answers.set(id, answer);
    return { id, answer };
  }

  #submit(kind: RequestKind, offset: number, length: number, h: Handle, fua: boolean, mayPunch: boolean): Answer {
    const { id, answer } = this.request();
    this.device.submit(kind, this, id, offset, length, h, fua, mayPunch);
    return answer;
  }

  ok(req: RequestId): void {
    this.#answer(req, 0, undefined);
  }

  error(req: RequestId, errno: number): void {
    this.#answer(req, errno, undefined);
  }

  data(req: RequestId, h: Handle, hOffset: number, length: number): void {
    const bytes = this.engine.view(h).slice(hOffset, hOffset + length);
    this.engine.release(h);
    this.#answer(req, 0, bytes);
  }

  extentsAnswered: readonly Extent[] = [];

  extents(req: RequestId, extents: readonly Extent[]): void {
    this.extentsAnswered = extents;
    this.#answer(req, 0, undefined);
  }

  #answer(req: RequestId, errno: number, data: Uint8Array | undefined): void {
    const a = this.#answers.get(req);
    if (a === undefined) throw new Error(`an answer to request ${String(req)}, which nobody made`);
    a.errno = errno;
    a.data = data;
    a.answers += 1;
  }

  // ---------------------------------------------------------------------------------------------- completions

  /** Where a target's copy first differs from the own leg; -1: nowhere. */
  differsFrom(node: string): number {
    const own = this.engine.leg.bytes;
    const theirs = this.copy(node).bytes;
    return Buffer.compare(own, theirs) === 0 ? -1 : own.findIndex((x, i) => x !== theirs[i]);
  }

  get allCopies(): Copy[] {
    return [this.engine.leg, ...this.copies.values()];
  }

  /** Ends the oldest operation of that kind on a leg: 'own', or a node. */
  end(where: string, kind: OpKind, errno = 0): void {
    const copy = where === 'own' ? this.engine.leg : this.copy(where);
    endOp(this.engine, copy, copy.first(kind), errno);
  }

  /** Ends one operation of those in flight on a leg, if there is any. */
  endOne(where: string, which: number, errno = 0): void {
    const copy = where === 'own' ? this.engine.leg : this.copy(where);
    const op = copy.ops[which % Math.max(1, copy.ops.length)];
    if (op !== undefined) endOp(this.engine, copy, op, errno);
  }

  /** Ends all that is in flight and what follows from it, until nothing is. */
  async endAll(): Promise<void> {
    for (;;) {
      await settle();
      const busy = this.allCopies.filter((c) => c.ops.length > 0);
      if (busy.length === 0) return;
      for (const copy of busy) {
        for (const op of [...copy.ops]) if (copy.ops.includes(op)) endOp(this.engine, copy, op, copy.failing.get(op.kind) ?? 0);
      }
    }
  }

  easy(): void {
    this.host.easy = true;
    for (const copy of this.allCopies) this.#auto(copy);
  }

  #auto(copy: Copy): void {
    const before = copy.onOp;
    copy.onOp = (op) => {
      before(op);
      queueMicrotask(() => {
        if (copy.ops.includes(op)) endOp(this.engine, copy, op, copy.failing.get(op.kind) ?? 0);
      });
    };
  }

  /** Lets time pass until the promise has ended. */
  async until<T>(p: Promise<T>, stepMs = 10): Promise<T> {
    const state = { ended: false };
    const end = (): void => {
      state.ended = true;
    };
    p.then(end, end);
    for (let i = 0; i < 10_000; i += 1) {
      await settle();
      if (state.ended) return await p;
      this.clock.advance(stepMs);
    }
    throw new Error('that takes for ever');
  }

  async eventually(what: string, holds: () => boolean, stepMs = 10): Promise<void> {
    for (let i = 0; i < 10_000; i += 1) {
      await settle();
      if (holds()) return;
      this.clock.advance(stepMs);
    }
    throw new Error(`never: ${what}`);
  }
}

/** A map of the bitmap file as a daemon that starts on these files would find it. */
export async function durableMap(files: MemoryFiles, deviceBytes: number, map: string): Promise<number[]> {
  const { file } = await BitmapFile.open(files, BITMAP, { ...IDENTITY, deviceBytes });
  if (!file.mapNames.includes(map)) return [];
  return [...file.map(map).runs()].flatMap((r) => Array.from({ length: r.length }, (_x, i) => r.first + i));
}
