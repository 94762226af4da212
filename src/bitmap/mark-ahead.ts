/**
 * How many regions one flush marks for one write. Each new region costs a flush, so a working set that goes on growing is marked in
 * aligned groups: larger ones while such writes come, smaller ones when marks are collected that no write came to.
 */

/** Writes that need a flush after which groups get larger; each time that was in vain, so many times more. */
const GROW_FIRST = 32;
const GROW_FACTOR = 8;
const GROW_MAX = 2 ** 20;
/** Marks ahead that are collected unused, beyond those that were used, after which groups get smaller. */
const SHRINK_AFTER = 64;

export class MarkAhead {
  readonly #max: number;
  #group = 1;
  #grow = GROW_FIRST;
  /** Writes that needed a flush since the group last changed. */
  #missed = 0;
  /** Marks ahead that were used, less those that were not. */
  #worth = 0;

  /** `max`: regions of a group at most; a power of two. */
  constructor(max: number) {
    if (max < 1 || !Number.isInteger(Math.log2(max))) throw new RangeError(`a group of at most ${String(max)} regions: not a power of two`);
    this.#max = max;
  }

  /** A write needs a flush: regions of its group. */
  missed(): number {
    this.#missed += 1;
    if (this.#missed >= this.#grow && this.#group < this.#max) {
      this.#group *= 2;
      this.#missed = 0;
    }
    return this.#group;
  }

  /** A write came to a region that was marked ahead. */
  used(): void {
    this.#worth += 1;
  }

  /** One was collected to which none came. */
  unused(): void {
    this.#worth -= 1;
    if (this.#worth > -SHRINK_AFTER || this.#group === 1) return;
    this.#group /= 2;
    this.#worth = 0;
    this.#missed = 0;
    this.#grow = Math.min(this.#grow * GROW_FACTOR, GROW_MAX);
  }
}
