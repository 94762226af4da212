/**
 * One snapshot: the content of the device at one moment, of which only what has been overwritten since takes room.
 *
 *   granules   | kept: in the snapshot's file | not kept: as at the moment, on the mirror's legs |
 *
 * Invariants
 * - a granule is kept once, as a whole, before the first write after the moment that touches it reaches a leg; what its file holds of it
 *   then never changes
 * - a granule of zeroes is kept as a hole of its file, and takes no room
 * - what is read from the file was synced before: of a write that fails behind the page cache nothing is read (M3)
 * - a snapshot that can not keep something is lost: it answers errors from then on, and never wrong bytes
 */
import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { RegionMap } from '../bitmap/regions.ts';
import type { EngineHub, OpResult } from '../io/hub.ts';
import { Errno, errnoName, type Handle, type LegId } from '../io/types.ts';

export interface SnapshotOptions {
  hub: EngineHub;
  /** Its file, as large as the device was at the moment, and all holes. */
  file: LegId;
  sizeBytes: number;
  granuleBytes: number;
  /** What it may keep. */
  spaceMaxBytes: number;
  /** Once, in the turn in which it is lost. */
  onLost: (why: string) => void;
}

export class Snapshot {
  readonly sizeBytes: number;
  readonly spaceMaxBytes: number;
  readonly #hub: EngineHub;
  readonly #file: LegId;
  readonly #granules: RegionMap;
  readonly #kept: DirtyBitmap;
  readonly #onLost: (why: string) => void;
  /** Written and not synced; and those that the sync under way covers. */
  #fresh: DirtyBitmap;
  #covered: DirtyBitmap | undefined;
  #syncing: Promise<void> | undefined;
  #usedBytes = 0;
  #lost: string | undefined;

  constructor(o: SnapshotOptions) {
    this.#hub = o.hub;
    this.#file = o.file;
    this.sizeBytes = o.sizeBytes;
    this.spaceMaxBytes = o.spaceMaxBytes;
    this.#granules = new RegionMap({ deviceBytes: o.sizeBytes, regionBytes: o.granuleBytes });
    this.#kept = new DirtyBitmap(this.#granules.regionCount);
    this.#fresh = new DirtyBitmap(this.#granules.regionCount);
    this.#onLost = o.onLost;
  }

  /** Why it is lost; undefined: it is whole. */
  get lost(): string | undefined {
    return this.#lost;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  lose(why: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = why;
    this.#onLost(why);
  }

  /** Some of these bytes would be gone if they were overwritten now. */
  lacks(offset: number, length: number): boolean {
    const end = Math.min(offset + length, this.sizeBytes);
    if (this.#lost !== undefined || end <= offset) return false;
    return !this.#kept.coversRange(this.#granules.regionOf(offset), this.#granules.regionOf(end - 1));
  }

  /** How far from `offset` on, at most to `end`, all is kept, or nothing is. */
  run(offset: number, end: number): { kept: boolean; end: number } {
    const g = this.#granules;
    const kept = this.#kept.get(g.regionOf(offset));
    let next = (g.regionOf(offset) + 1) * g.regionBytes;
    while (next < end && this.#kept.get(g.regionOf(next)) === kept) next += g.regionBytes;
    return { kept, end: Math.min(next, end) };
  }

  /** Keeps what `h` holds of whole granules from `offset` on, but for those that are kept; `zero`: which are. Loses itself where it can't. */
  async keep(h: Handle, offset: number, length: number, zero: readonly boolean[]): Promise<void> {
    const end = Math.min(offset + length, this.sizeBytes);
    // A copy that took too long ends after the snapshot is lost: of its file nothing is touched any more.
    if (end <= offset || this.#lost !== undefined) return;
    const [first, last] = [this.#granules.regionOf(offset), this.#granules.regionOf(end - 1)];
    const toWrite = (g: number): boolean => g <= last && !this.#kept.get(g) && zero[g - first] !== true;
    const writes: Promise<void>[] = [];
    for (let g = first; g <= last; g += 1) {
      if (!toWrite(g)) {
        this.#kept.set(g);
        continue;
      }
      const from = g;
      while (toWrite(g + 1)) g += 1;
      writes.push(this.#write(h, (from - first) * this.#granules.regionBytes, from, g));
    }
    await Promise.all(writes);
  }

  async #write(h: Handle, hOffset: number, first: number, last: number): Promise<void> {
    const length = this.#granules.lengthOf(first, last);
    if (this.#usedBytes + length > this.spaceMaxBytes) {
      this.lose(`the ${String(this.spaceMaxBytes)} bytes that it may keep are used up`);
      return;
    }
    this.#usedBytes += length;
    const r = await this.#hub.run((op) => {
      this.#hub.engine.write(op, this.#file, this.#granules.offsetOf(first), h, hOffset, length, false);
    });
    if (r.errno !== 0) {
      this.lose(`its file can not be written: ${errnoName(r.errno)}`);
      return;
    }
    this.#fresh.setRange(first, last);
    this.#kept.setRange(first, last);
  }

  /** Bytes that are all kept. The caller owns the handle. */
  async read(offset: number, length: number): Promise<OpResult> {
    const [first, last] = [this.#granules.regionOf(offset), this.#granules.regionOf(offset + length - 1)];
    while (this.#lost === undefined && this.#unsynced(first, last)) await this.#sync();
    if (this.#lost !== undefined) return { errno: Errno.EIO, length: 0, h: 0, value: undefined };
    const r = await this.#hub.run((op) => {
      this.#hub.engine.read(op, this.#file, offset, length);
    });
    if (r.errno !== 0) this.lose(`its file can not be read: ${errnoName(r.errno)}`);
    return r;
  }

  #unsynced(first: number, last: number): boolean {
    return [this.#fresh, this.#covered].some((m) => m?.nextDirtyRun(first, 1, last + 1) !== undefined);
  }

  #sync(): Promise<void> {
    this.#syncing ??= this.#syncOnce().finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #syncOnce(): Promise<void> {
    this.#covered = this.#fresh;
    this.#fresh = new DirtyBitmap(this.#granules.regionCount);
    const r = await this.#hub.run((op) => {
      this.#hub.engine.sync(op, this.#file);
    });
    if (r.errno !== 0) this.lose(`its file can not be synced: ${errnoName(r.errno)}`);
    this.#covered = undefined;
  }
}
