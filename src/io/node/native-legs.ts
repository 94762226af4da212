/**
 * Legs of the native engine: opened, locked, sized and closed as all legs of the node world are; their operations go to the
 * native side by its own number of the leg.
 */
import { Errno, errnoName, IoError, type LegId, type LegInfo, type LegOptions } from '../types.ts';
import { loadFallocate } from './fallocate.ts';
import { type NodeLegFile, openNodeLeg } from './legs.ts';
import type { NativeCalls } from './native-shim.ts';

interface OpenLeg {
  readonly native: number;
  readonly file: NodeLegFile;
  closing: Promise<void> | undefined;
  idle: (() => void) | undefined;
}

export class NativeLegs {
  readonly #legs = new Map<LegId, OpenLeg>();
  #nextId: LegId = 1;

  async open(calls: NativeCalls, path: string, o: LegOptions): Promise<LegInfo> {
    const file = await openNodeLeg(path, o, loadFallocate());
    const { sizeBytes, blockSizeBytes, sparse } = file.info();
    const native = calls.legOpen(file.fd, file.isDevice, sparse || file.isDevice, true);
    if (native < 0) {
      await file.close();
      throw new IoError(-native, `${path}: ${errnoName(-native)}`);
    }
    const id = this.#nextId;
    this.#nextId += 1;
    this.#legs.set(id, { native, file, closing: undefined, idle: undefined });
    return { leg: id, sizeBytes, blockSizeBytes, sparse };
  }

  /** The native side's number; 0 when the leg takes no operations. */
  native(id: LegId): number {
    const leg = this.#legs.get(id);
    return leg === undefined || leg.closing !== undefined ? 0 : leg.native;
  }

  /** The caller has submitted what was begun. */
  close(calls: NativeCalls, id: LegId): Promise<void> {
    const leg = this.#legs.get(id);
    if (leg === undefined) return Promise.resolve();
    leg.closing ??= this.#closeWhenIdle(calls, id, leg);
    return leg.closing;
  }

  async closeAll(calls: NativeCalls): Promise<void> {
    await Promise.all([...this.#legs.keys()].map((id) => this.close(calls, id)));
  }

  onIdle(native: number): void {
    for (const leg of this.#legs.values()) if (leg.native === native) leg.idle?.();
  }

  async size(id: LegId): Promise<number> {
    return await this.#usable(id).file.sizeBytes();
  }

  async setSize(id: LegId, sizeBytes: number): Promise<void> {
    await this.#usable(id).file.truncate(sizeBytes);
  }

  async #closeWhenIdle(calls: NativeCalls, id: LegId, leg: OpenLeg): Promise<void> {
    if (!calls.legClose(leg.native)) {
      await new Promise<void>((resolve) => {
        leg.idle = resolve;
      });
    }
    try {
      await leg.file.close();
    } finally {
      this.#legs.delete(id);
    }
  }

  #usable(id: LegId): OpenLeg {
    const leg = this.#legs.get(id);
    if (leg === undefined || leg.closing !== undefined) throw new IoError(Errno.ESHUTDOWN, `leg ${String(id)} is closed`);
    return leg;
  }
}

/** Of a leg; throws RangeError for what is none. */
export function checkRange(offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new RangeError(`range ${String(offset)}+${String(length)}`);
  }
}
