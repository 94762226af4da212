/**
 * Marks that one flush is to make durable: a map, and beside it, as long as they were set one by one and are few, a list. So what a flush
 * costs follows the marks that it is for, not the size of the device.
 */
import { DirtyBitmap } from './dirty-bitmap.ts';

const LISTED_MAX = 4096;

export class MarkBatch {
  readonly map: DirtyBitmap;
  /** All that are in the map, and perhaps others; undefined: not known. */
  #listed: number[] | undefined = [];

  constructor(regionCount: number) {
    this.map = new DirtyBitmap(regionCount);
  }

  add(region: number): void {
    if (!this.map.set(region) || this.#listed === undefined) return;
    if (this.#listed.length < LISTED_MAX) this.#listed.push(region);
    else this.#listed = undefined;
  }

  addRange(first: number, last: number): void {
    if (this.map.setRange(first, last) > 0) this.#listed = undefined;
  }

  /** Empties it into `other`. */
  moveTo(other: DirtyBitmap): void {
    if (this.#listed === undefined) other.or(this.map);
    else for (const region of this.#listed) if (this.map.clear(region)) other.set(region);
    this.clear();
  }

  clear(): void {
    if (this.map.count > 0) this.map.clearAll();
    if (this.#listed === undefined) this.#listed = [];
    else this.#listed.length = 0;
  }
}
