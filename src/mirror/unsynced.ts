/**
 * Which regions of a leg were changed since its last good sync: what a sync that fails now may lose (M3). Pure.
 *
 *   changing, changed ---> fresh ---- a sync begins ----> covered ---- it ends well, and no other is under way ----> gone
 *
 * A change counts when it begins and once more when it ends, if a sync began in between: nobody knows whether that covers it.
 * It may name too many regions, when syncs overlap without end, and never too few: once a sync has failed, nothing goes
 * before all has been written again. Changes that nobody is told of leave bits in `touched`, which are taken over before each sync.
 */
import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { RegionMap } from '../bitmap/regions.ts';
import { Touched } from '../io/touched.ts';

export class Unsynced {
  #regions: RegionMap;
  #fresh: DirtyBitmap;
  #covered: DirtyBitmap;
  #syncs = 0;
  #failed: boolean;
  readonly touched: Touched;

  /** `before`: of an earlier session on the same leg. */
  constructor(regions: RegionMap, before?: Unsynced) {
    this.#regions = regions;
    this.#fresh = new DirtyBitmap(regions.regionCount);
    this.#covered = new DirtyBitmap(regions.regionCount);
    this.#failed = before?.anyFailed ?? false;
    this.touched = new Touched(regions.deviceBytes, regions.regionBytes);
    if (before !== undefined) addWithin(this.#fresh, before.regions());
  }

  get anyFailed(): boolean {
    return this.#failed;
  }

  /** A change begins, or has ended. */
  changed(offset: number, length: number): void {
    if (length > 0) this.#fresh.setRange(this.#regions.regionOf(offset), this.#regions.regionOf(offset + length - 1));
  }

  syncBegins(): void {
    this.#takeOver();
    this.#syncs += 1;
    if (this.#covered.count === 0) {
      [this.#covered, this.#fresh] = [this.#fresh, this.#covered];
    } else {
      this.#covered.or(this.#fresh);
      this.#fresh.clearAll();
    }
  }

  syncEnds(well: boolean): void {
    if (this.#syncs === 0) throw new Error('a sync ended that never began');
    this.#syncs -= 1;
    if (!well) this.failed();
    if (this.#syncs === 0 && !this.#failed) this.#covered.clearAll();
  }

  /** From now on nothing goes, whatever syncs end well. */
  failed(): void {
    this.#failed = true;
  }

  /** All that was changed before has been written again and synced. */
  rewritten(): void {
    this.#failed = false;
  }

  /** What may not be on stable storage. */
  regions(): DirtyBitmap {
    this.#takeOver();
    const all = this.#covered.clone();
    all.or(this.#fresh);
    return all;
  }

  #takeOver(): void {
    this.touched.take((first, last) => {
      this.#fresh.setRange(first, last);
    });
  }

  grow(deviceBytes: number): void {
    const before = this.regions();
    this.#regions = new RegionMap({ deviceBytes, regionBytes: this.#regions.regionBytes });
    this.#fresh = new DirtyBitmap(this.#regions.regionCount);
    this.#covered = new DirtyBitmap(this.#regions.regionCount);
    addWithin(this.#fresh, before);
  }
}

/** Takes over the other's set bits, as far as there are such regions here. */
export function addWithin(map: DirtyBitmap, other: DirtyBitmap): void {
  for (const run of other.runs()) {
    const last = Math.min(run.first + run.length, map.regionCount) - 1;
    if (last >= run.first) map.setRange(run.first, last);
  }
}
