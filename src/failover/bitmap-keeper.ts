/**
 * The bitmap file of one mirror on one node, in whatever role. A damaged file is said aloud and stays as it is until a full
 * account replaces it; nothing is silently made anew (M13).
 */
import { BitmapFile, DamagedBitmapError } from '../bitmap/bitmap-file.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { markCheckpointsFrom, markCheckpointsWritten } from '../bitmap/map-names.ts';
import { RegionMap } from '../bitmap/regions.ts';
import type { Files } from '../io/types.ts';
import { addWithin } from '../mirror/unsynced.ts';
import { bitmapPath } from './paths.ts';
import type { StateRecord } from './types.ts';

export class BitmapKeeper {
  readonly #files: Files;
  readonly #root: string;
  readonly #record: () => StateRecord;
  #file: BitmapFile | undefined;
  /** Why the file can't be trusted; empty: it can. */
  #damage = '';
  #closed = false;

  constructor(files: Files, root: string, record: () => StateRecord) {
    this.#files = files;
    this.#root = root;
    this.#record = record;
  }

  /** Undefined while the file is damaged. */
  get file(): BitmapFile | undefined {
    return this.#file;
  }

  get damaged(): boolean {
    return this.#damage !== '';
  }

  /** Why the file is damaged, or empty. Rejects with IoError when the disk does not answer. */
  async open(): Promise<string> {
    try {
      this.#file = (await BitmapFile.open(this.#files, this.#path, this.#identity())).file;
      markCheckpointsWritten(this.#file);
    } catch (e: unknown) {
      if (!(e instanceof DamagedBitmapError)) throw e;
      this.#damage = e.message;
    }
    return this.#damage;
  }

  get #path(): string {
    return bitmapPath(this.#root, this.#record().definition.tag);
  }

  #identity(): { createId: string; deviceBytes: number; regionBytes: number } {
    const { definition } = this.#record();
    return { createId: definition.createId, deviceBytes: definition.sizeBytes, regionBytes: definition.regionSizeBytes };
  }

  regions(): RegionMap {
    const { definition } = this.#record();
    return new RegionMap({ deviceBytes: definition.sizeBytes, regionBytes: definition.regionSizeBytes });
  }

  /** The file as it is; a damaged one is replaced by one in which everything is marked for everybody. */
  async forService(): Promise<BitmapFile> {
    if (this.#file !== undefined) return this.#file;
    return await this.#create((file) => {
      this.#markAll(file);
    });
  }

  /** For everybody, and here: what a failed sync may have lost is not known either, and until one ends well the next life doubts all of it (M3). */
  #markAll(file: BitmapFile, firstRegion = 0): void {
    const { definition, node } = this.#record();
    for (const name of ['intent', ...Object.keys(definition.nodes).flatMap((n) => (n === node ? [] : [`oos:${n}`]))]) {
      const map = file.map(name);
      map.setRange(firstRegion, map.regionCount - 1);
    }
  }

  /** The damage has been made good: everything is marked, or the node is in sync with its source. */
  repaired(): void {
    this.#damage = '';
  }

  /** `fill` comes before the file is on disk: an empty one would be taken for whole after a crash (M13). */
  async #create(fill?: (file: BitmapFile) => void): Promise<BitmapFile> {
    const before = this.#file;
    this.#file = undefined;
    const meta = { ...this.#identity(), generation: this.#record().generation };
    try {
      // What can't be written to it any more is void: it is replaced.
      if (before !== undefined) await Promise.allSettled([before.close()]);
      this.#file = await BitmapFile.create(this.#files, this.#path, meta, { replace: true, fill });
    } catch (e: unknown) {
      if (this.#damage === '') this.#damage = `it could not be made anew: ${String(e)}`;
      throw e;
    }
    return this.#file;
  }

  /** An empty file: what this node knew of others is void now. */
  async reset(geometryChanged: boolean): Promise<void> {
    const file = this.#file;
    const empty = !geometryChanged && file !== undefined && file.mapNames.every((n) => file.map(n).count === 0);
    if (!empty) await this.#create();
    this.#damage = '';
  }

  /** A bitmap file of another geometry that holds the same marks, and what `more` adds to them. */
  async regrown(sizeBytes: number, more?: (file: BitmapFile, regions: RegionMap) => void): Promise<{ file: BitmapFile; regions: RegionMap }> {
    const before = this.#file;
    const maps = before === undefined ? [] : before.mapNames.map((n) => [n, before.map(n)] as const);
    const regions = new RegionMap({ deviceBytes: sizeBytes, regionBytes: this.#record().definition.regionSizeBytes });
    const file = await this.#create((f) => {
      if (before === undefined) this.#markAll(f);
      for (const [name, map] of maps) addWithin(f.map(name), map);
      more?.(f, regions);
    });
    return { file, regions };
  }

  /**
   * The same out of service. Nobody is known to hold the same in what a larger size adds: it may have been cut off before, and its
   * marks with it, those of what this node was writing there too (M5).
   */
  async resized(fromBytes: number, toBytes: number): Promise<void> {
    await this.regrown(toBytes, (file, regions) => {
      if (toBytes <= fromBytes) return;
      this.#markAll(file, regions.regionOf(fromBytes));
      markCheckpointsFrom(file, regions.regionOf(fromBytes));
    });
  }

  /** Puts these regions under intent, durably; nothing to do while the file is damaged: everything is marked then. */
  async addIntent(map: DirtyBitmap | undefined): Promise<void> {
    if (map === undefined || this.#file === undefined) return;
    addWithin(this.#file.map('intent'), map);
    if (this.#file.poisoned) await this.#file.rewrite();
    else await this.#file.flush();
  }

  /** Once: a file that could not be written to its end is closed all the same. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#file?.close();
  }
}
