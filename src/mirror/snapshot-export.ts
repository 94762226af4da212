/** A snapshot as an NBD export: read-only, and beside what the device itself answers with so few reads at a time that these have room. */
import { Errno, type Extent, type Handle, type RequestId } from '../io/types.ts';
import type { Device, DeviceInfo, MetaContext, Replier } from '../nbd/device.ts';
import type { MirrorDevice } from './device.ts';
import type { Snapshot } from './snapshot.ts';
import type { Snapshots } from './snapshots.ts';

/** Reads of one snapshot that the device has in hand; more wait here, as many as their connections let them. */
const READS_MAX = 32;

export interface SnapshotExportOptions {
  device: MirrorDevice;
  snapshots: Snapshots;
  snapshot: Snapshot;
  description: string;
  /** What it says beside base:allocation, as of its moment. */
  metaContexts: readonly MetaContext[];
}

interface Asked {
  replier: Replier;
  id: RequestId;
  offset: number;
  length: number;
}

export class SnapshotExport implements Device, Replier {
  readonly #o: SnapshotExportOptions;
  readonly #info: DeviceInfo;
  /** Reads in hand, by numbers of their own: a request of a connection that has gone may share its id with a later one. */
  readonly #inHand = new Map<RequestId, Asked>();
  #lastNumber = 0;
  #waiting: Asked[] = [];
  #draining = false;

  constructor(o: SnapshotExportOptions) {
    this.#o = o;
    this.#info = {
      sizeBytes: o.snapshot.sizeBytes,
      readOnly: true,
      blockSizeMinBytes: o.device.sectorBytes,
      blockSizePreferredBytes: Math.max(4096, o.device.sectorBytes),
      payloadMaxBytes: o.device.settings.payloadMaxBytes,
      canTrim: false,
      canWriteZeroes: false,
      canFastZero: false,
      canFua: false,
      // What is read never changes.
      multiConn: true,
      description: o.description,
    };
  }

  info(): DeviceInfo {
    return this.#info;
  }

  metaContexts(): readonly MetaContext[] {
    return this.#o.metaContexts;
  }

  read(replier: Replier, id: RequestId, offset: number, length: number): void {
    this.#waiting.push({ replier, id, offset, length });
    this.#drain();
  }

  /** A device that has stopped answers at once, and answers are followed by more reads: one loop for all, not one call in another. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    while (this.#inHand.size < READS_MAX) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#lastNumber += 1;
      this.#inHand.set(this.#lastNumber, next);
      this.#o.snapshots.read(this.#o.snapshot, this, this.#lastNumber, next.offset, next.length);
    }
    this.#draining = false;
  }

  flush(r: Replier, id: RequestId): void {
    this.#okUnlessGone(r, id);
  }

  cache(r: Replier, id: RequestId): void {
    this.#okUnlessGone(r, id);
  }

  blockStatus(r: Replier, id: RequestId, offset: number, length: number): void {
    const errno = this.#gone();
    // Allocated and not known to be zero is always a correct answer.
    if (errno === 0) r.extents(id, [{ offset, length, hole: false, zero: false }]);
    else r.error(id, errno);
  }

  write(r: Replier, id: RequestId, _offset: number, _length: number, h: Handle): void {
    this.#o.device.hub.engine.release(h);
    r.error(id, Errno.EPERM);
  }

  trim(r: Replier, id: RequestId): void {
    r.error(id, Errno.EPERM);
  }

  writeZeroes(r: Replier, id: RequestId): void {
    r.error(id, Errno.EPERM);
  }

  #gone(): number {
    if (this.#o.device.stopped) return Errno.ESHUTDOWN;
    return this.#o.snapshot.lost === undefined ? 0 : Errno.EIO;
  }

  #okUnlessGone(r: Replier, id: RequestId): void {
    const errno = this.#gone();
    if (errno === 0) r.ok(id);
    else r.error(id, errno);
  }

  // ----------------------------------------------------------------------------------- the device's answers to reads

  data(number: RequestId, h: Handle, hOffset: number, length: number): void {
    const { replier, id } = this.#answered(number);
    replier.data(id, h, hOffset, length);
    this.#drain();
  }

  error(number: RequestId, errno: number): void {
    const { replier, id } = this.#answered(number);
    replier.error(id, errno);
    this.#drain();
  }

  ok(number: RequestId): void {
    const { replier, id } = this.#answered(number);
    replier.ok(id);
    this.#drain();
  }

  extents(number: RequestId, extents: readonly Extent[]): void {
    const { replier, id } = this.#answered(number);
    replier.extents(id, extents);
    this.#drain();
  }

  #answered(number: RequestId): Asked {
    const read = this.#inHand.get(number);
    if (read === undefined) throw new Error(`read ${String(number)} is not in hand`);
    this.#inHand.delete(number);
    return read;
  }
}
