/**
 * Regions that an engine asks for because it was to write to them and may not yet (`ServeMarks.asks`): a ring in memory that both sides see.
 *
 *   word 0: how many were asked for        word 1: how many of these are answered        from word 2 on: the regions, the n-th at n % MAX
 *
 * Both counts run on through 2^32. Nothing is asked for before there is room: at most MAX are not answered.
 */
const ASKED = 0;
const ANSWERED = 1;
const FIRST = 2;
/** A power of two, and as many as a client has requests under way at most. */
const MAX = 512;

export class Asks {
  readonly words: Uint32Array;
  #taken: number;

  /** `words`: those of another. */
  constructor(words?: Uint32Array) {
    this.words = words ?? new Uint32Array(FIRST + MAX);
    this.#taken = Atomics.load(this.words, ASKED);
  }

  /** The engine's: false, there is no room. */
  ask(region: number): boolean {
    const asked = Atomics.load(this.words, ASKED);
    if ((asked - Atomics.load(this.words, ANSWERED)) >>> 0 === this.words.length - FIRST) return false;
    this.words[FIRST + (asked % (this.words.length - FIRST))] = region;
    Atomics.store(this.words, ASKED, asked + 1);
    return true;
  }

  /** The engine's: nothing is left to be answered. */
  get isAnswered(): boolean {
    return isAllAnswered(this.words);
  }

  /** Puts what was asked for since the last call into `regions`. */
  take(regions: number[]): void {
    const asked = Atomics.load(this.words, ASKED);
    for (; this.#taken !== asked; this.#taken = (this.#taken + 1) >>> 0)
      regions.push(this.words[FIRST + (this.#taken % (this.words.length - FIRST))] ?? 0);
  }

  /** So many more of those taken. */
  answer(count: number): void {
    Atomics.add(this.words, ANSWERED, count);
  }
}

/** Nothing that was asked for in `words` is left to be answered. */
export function isAllAnswered(words: Uint32Array): boolean {
  return Atomics.load(words, ASKED) === Atomics.load(words, ANSWERED);
}
