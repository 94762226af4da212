/**
 * Which regions the engine may write by itself (`Engine.serve`), and which it has written without telling: the memory that its threads and
 * the intent log share.
 *
 *   the engine   under way, touched -> allowed? -> write -> touched, not under way
 *   here         take: touched, under way -> told        letGo: not allowed -> neither under way nor touched? -> its mark may go
 *
 * Invariant (M1): of a region that is being written, or was and nobody was told yet, the mark stays. Whichever of the two looks second sees
 * what the other has set first, since each bit and word is set and read in one order for all threads.
 */
import type { Sharer } from '../bitmap/intent-log.ts';
import { Touched } from '../io/touched.ts';
import { UNDER_WAY_READ } from '../io/serve.ts';

export class ServedMarks implements Sharer {
  readonly touched: Touched;
  readonly allowed: Uint32Array;
  /** `ServeMarks.underWay` of every connection that is served. */
  readonly #underWay: () => Iterable<Uint32Array>;

  constructor(sizeBytes: number, regionBytes: number, underWay: () => Iterable<Uint32Array>) {
    this.touched = new Touched(sizeBytes, regionBytes);
    this.allowed = new Uint32Array(Math.ceil(Math.ceil(sizeBytes / regionBytes) / 32));
    this.#underWay = underWay;
  }

  allow(region: number): void {
    Atomics.or(this.allowed, Math.floor(region / 32), 1 << (region % 32));
  }

  letGo(region: number): boolean {
    Atomics.and(this.allowed, Math.floor(region / 32), ~(1 << (region % 32)));
    // In this order: a write that ends in between has touched it again before.
    if (!this.#isUnderWay(region) && !this.touched.has(region)) return true;
    this.allow(region);
    return false;
  }

  /** Tells all that was touched since the last call, and what is under way, as runs of regions, both ends included. */
  take(told: (first: number, last: number) => void): void {
    this.touched.take(told);
    for (const words of this.#underWay()) {
      for (let i = 0; i < words.length; i += 1) {
        const region = Atomics.load(words, i);
        if (region > 0 && region !== UNDER_WAY_READ) told(region - 1, region - 1);
      }
    }
  }

  #isUnderWay(region: number): boolean {
    for (const words of this.#underWay()) {
      for (let i = 0; i < words.length; i += 1) if (Atomics.load(words, i) === region + 1) return true;
    }
    return false;
  }
}
