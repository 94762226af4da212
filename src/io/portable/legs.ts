/**
 * The legs an engine has open, and the operations under way on them.
 *
 * A leg that is being closed takes no new operation (ESHUTDOWN) and closes its file when the last one is over.
 */
import type { LegOpener } from '../leg-file.ts';
import { Errno, type EngineValue, type Handle, IoError, type LegId, type LegInfo, type LegOptions, type OpId } from '../types.ts';
import type { EngineContext } from './context.ts';
import { LegOp, type OpenLeg } from './leg-op.ts';
import { LegSyncs } from './leg-syncs.ts';

export class Legs {
  readonly #context: EngineContext;
  readonly #opener: LegOpener;
  readonly #legs = new Map<LegId, OpenLeg>();
  readonly #spare: LegOp[] = [];
  #nextId: LegId = 1;

  constructor(context: EngineContext, opener: LegOpener) {
    this.#context = context;
    this.#opener = opener;
  }

  async open(path: string, o: LegOptions): Promise<LegInfo> {
    const file = await this.#opener.open(path, o);
    const id = this.#nextId;
    this.#nextId += 1;
    this.#legs.set(id, { id, file, syncs: new LegSyncs(file), operations: 0, closing: undefined, idle: undefined });
    const { sizeBytes, blockSizeBytes, sparse } = file.info();
    return { leg: id, sizeBytes, blockSizeBytes, sparse };
  }

  close(id: LegId): Promise<void> {
    const leg = this.#legs.get(id);
    if (leg === undefined) return Promise.resolve();
    leg.closing ??= this.#closeWhenIdle(leg);
    return leg.closing;
  }

  async closeAll(): Promise<void> {
    await Promise.all([...this.#legs.keys()].map((id) => this.close(id)));
  }

  async size(id: LegId): Promise<number> {
    return await this.#usable(id).file.sizeBytes();
  }

  async setSize(id: LegId, sizeBytes: number): Promise<void> {
    await this.#usable(id).file.truncate(sizeBytes);
  }

  read(op: OpId, id: LegId, offset: number, length: number): void {
    checkRange(offset, length);
    const r = this.#begin(op, id);
    if (r?.leg === undefined) return;
    r.handle = this.#context.handles.allocate(length);
    r.read(r.leg.file, offset, this.#context.handles.view(r.handle));
  }

  write(op: OpId, id: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void {
    checkRange(offset, length);
    const bytes = this.#context.handles.part(h, hOffset, length);
    const r = this.#begin(op, id);
    if (r?.leg === undefined) return;
    this.#context.handles.retain(h);
    r.handle = h;
    r.write(r.leg.file, offset, bytes, fua);
  }

  sync(op: OpId, id: LegId): void {
    const r = this.#begin(op, id);
    if (r?.leg === undefined) return;
    r.sync(r.leg.file);
  }

  zero(op: OpId, id: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void {
    checkRange(offset, length);
    const r = this.#begin(op, id);
    if (r?.leg === undefined) return;
    r.zero(r.leg.file, offset, length, mayPunch, fua);
  }

  extents(op: OpId, id: LegId, offset: number, length: number): void {
    checkRange(offset, length);
    const r = this.#begin(op, id);
    if (r?.leg === undefined) return;
    r.askExtents(r.leg.file, offset, length);
  }

  #begin(op: OpId, id: LegId): LegOp | undefined {
    const leg = this.#legs.get(id);
    if (leg === undefined || leg.closing !== undefined) {
      this.#context.done(op, Errno.ESHUTDOWN, 0, 0, undefined);
      return undefined;
    }
    const r =
      this.#spare.pop() ??
      new LegOp((o) => {
        this.#finish(o);
      });
    r.op = op;
    r.leg = leg;
    leg.operations += 1;
    return r;
  }

  #finish(r: LegOp): void {
    const { op, errno, leg, handle, extents, moved, isRead } = r;
    if (leg === undefined) throw new Error('a leg operation ended twice');
    r.reset();
    this.#spare.push(r);
    const value: EngineValue | undefined = extents !== undefined && errno === 0 ? { kind: 'extents', extents } : undefined;
    const handOver = isRead && errno === 0;
    if (handle !== 0 && !handOver) this.#context.handles.release(handle);
    this.#context.done(op, errno, errno === 0 ? moved : 0, handOver ? handle : 0, value);
    leg.operations -= 1;
    if (leg.operations === 0) leg.idle?.();
  }

  async #closeWhenIdle(leg: OpenLeg): Promise<void> {
    if (leg.operations > 0) {
      await new Promise<void>((resolve) => {
        leg.idle = resolve;
      });
    }
    try {
      await leg.file.close();
    } finally {
      this.#legs.delete(leg.id);
    }
  }

  #usable(id: LegId): OpenLeg {
    const leg = this.#legs.get(id);
    if (leg === undefined || leg.closing !== undefined) throw new IoError(Errno.ESHUTDOWN, `leg ${String(id)} is closed`);
    return leg;
  }
}

function checkRange(offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new RangeError(`leg range ${String(offset)}+${String(length)}`);
  }
}
