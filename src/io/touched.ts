/**
 * Which regions have been written to, a bit each, for writes that nobody is told of (`Engine.serve`).
 *
 *   who writes: set before it begins, and once more when it has ended       who keeps account: takes what is set, and clears it
 *
 * The two may be different threads: each bit is set and taken as a whole. Bits that were taken while a write is under way are set again by
 * its end, so that nothing is ever counted too early.
 */
export class Touched {
  /** Region i is bit i % 32 of word i / 32. */
  readonly words: Uint32Array;
  readonly regionBytes: number;
  /** Writes beyond it have no bit. */
  readonly sizeBytes: number;

  /** `words`: those of another. */
  constructor(sizeBytes: number, regionBytes: number, words?: Uint32Array) {
    const count = Math.ceil(Math.ceil(sizeBytes / regionBytes) / 32);
    if (words !== undefined && words.length < count) throw new RangeError('not a bit for each region');
    this.words = words ?? new Uint32Array(count);
    this.regionBytes = regionBytes;
    this.sizeBytes = sizeBytes;
  }

  /** `length` above 0, and all of it within `sizeBytes`. */
  touch(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / this.regionBytes);
    for (let region = Math.floor(offset / this.regionBytes); region <= last; region += 1) {
      Atomics.or(this.words, Math.floor(region / 32), 1 << (region % 32));
    }
  }

  /** Clears all that is set, and tells it as runs of regions, both ends included. */
  take(run: (first: number, last: number) => void): void {
    for (let i = 0; i < this.words.length; i += 1) {
      if (Atomics.load(this.words, i) === 0) continue;
      let bits = Atomics.exchange(this.words, i, 0);
      while (bits !== 0) {
        const low = 31 - Math.clz32(bits & -bits);
        const rest = bits >>> low;
        // How many ones stand together.
        const ones = rest === 0xffffffff ? 32 : 31 - Math.clz32((rest + 1) & ~rest);
        run(i * 32 + low, i * 32 + low + ones - 1);
        bits = low + ones >= 32 ? 0 : (bits & (-1 << (low + ones))) >>> 0;
      }
    }
  }
}
