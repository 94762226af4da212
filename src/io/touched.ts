/**
 * Which regions have been written to, a bit each, for writes that nobody is told of (`Engine.serve`).
 *
 *   who writes: set before it begins, and once more when it has ended       who keeps account: takes what is set, and clears it
 *
 * The two may be different threads: each bit is set and taken as a whole. Bits that were taken while a write is under way are set again by
 * its end, so that nothing is ever counted too early.
 */
/** Words of regions that a bit of the summary is for. */
const BLOCK_WORDS = 32;

export class Touched {
  /** Region i is bit i % 32 of word i / 32. Behind those words the summary: bit b for the words from 32 b on, set after theirs and taken before. */
  readonly words: Uint32Array;
  readonly regionBytes: number;
  /** Writes beyond it have no bit. */
  readonly sizeBytes: number;
  readonly #count: number;

  /** `words`: those of another of the same size. */
  constructor(sizeBytes: number, regionBytes: number, words?: Uint32Array) {
    this.#count = Math.ceil(Math.ceil(sizeBytes / regionBytes) / 32);
    const all = this.#count + Math.ceil(this.#count / BLOCK_WORDS / 32);
    if (words !== undefined && words.length !== all) throw new RangeError('not a bit for each region');
    this.words = words ?? new Uint32Array(all);
    this.regionBytes = regionBytes;
    this.sizeBytes = sizeBytes;
  }

  /** `length` above 0, and all of it within `sizeBytes`. */
  touch(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / this.regionBytes);
    for (let region = Math.floor(offset / this.regionBytes); region <= last; region += 1) {
      const word = Math.floor(region / 32);
      const block = Math.floor(word / BLOCK_WORDS);
      Atomics.or(this.words, word, 1 << (region % 32));
      Atomics.or(this.words, this.#count + Math.floor(block / 32), 1 << (block % 32));
    }
  }

  has(region: number): boolean {
    return (Atomics.load(this.words, Math.floor(region / 32)) & (1 << (region % 32))) !== 0;
  }

  /** Clears all that is set, and tells it as runs of regions, both ends included, none beyond 32 regions. */
  take(run: (first: number, last: number) => void): void {
    for (let i = this.#count; i < this.words.length; i += 1) {
      this.#take(i, (first, last) => {
        const blocks = (i - this.#count) * 32;
        const end = Math.min(this.#count, (blocks + last + 1) * BLOCK_WORDS);
        for (let word = (blocks + first) * BLOCK_WORDS; word < end; word += 1) {
          this.#take(word, (from, to) => {
            run(word * 32 + from, word * 32 + to);
          });
        }
      });
    }
  }

  /** Runs of bits of one word. */
  #take(word: number, run: (first: number, last: number) => void): void {
    if (Atomics.load(this.words, word) === 0) return;
    let bits = Atomics.exchange(this.words, word, 0);
    while (bits !== 0) {
      const low = 31 - Math.clz32(bits & -bits);
      const rest = bits >>> low;
      // How many ones stand together.
      const ones = rest === 0xffffffff ? 32 : 31 - Math.clz32((rest + 1) & ~rest);
      run(low, low + ones - 1);
      bits = low + ones >= 32 ? 0 : (bits & (-1 << (low + ones))) >>> 0;
    }
  }
}
