/**
 * When bytes of one node reached another as they were sent, on any network: what a check of silences needs. What was damaged on its
 * way is nobody's word: a node that hears nothing else may not take the sender for alive, as anybody could have sent it.
 */

/** In milliseconds: shorter silences are of no interest. */
const NOTED_MIN_MS = 20;
const NOTED_MAX = 256;

export class Arrivals {
  #last = -Infinity;
  /** Silences that are over, the oldest first. */
  readonly #silences: { from: number; until: number }[] = [];

  arrived(now: number): void {
    if (now - this.#last >= NOTED_MIN_MS) {
      this.#silences.push({ from: this.#last, until: now });
      if (this.#silences.length > NOTED_MAX) this.#silences.shift();
    }
    this.#last = now;
  }

  /** When something last arrived; -Infinity: never yet. */
  get last(): number {
    return this.#last;
  }

  /** In milliseconds: the longest time between `since` and `now` in which nothing arrived. */
  longestSilence(since: number, now: number): number {
    let longest = now - Math.max(since, this.#last);
    for (const { from, until } of this.#silences) longest = Math.max(longest, until - Math.max(since, from));
    return longest;
  }
}
