/**
 * The requests that wait for their answer: a set of ids, open addressing with linear probing, in one array that is reused. A
 * `Set` boxes every id beyond 31 bits, and makes its table anew again and again as requests come and go.
 *
 * Engines count their ids up or put a slot into the lowest bits: these bits alone spread them well.
 */
import type { RequestId } from '../io/types.ts';

const FIRST_PLACES = 64;
const NONE = 0;

export class OpenRequests {
  /** NONE: free. At most half of the places are taken. */
  #places = new Float64Array(FIRST_PLACES);
  #mask = FIRST_PLACES - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** `id` is not in the set. RangeError for an id that is no number from 1. */
  add(id: RequestId): void {
    if (!(id > NONE)) throw new RangeError(`request ${String(id)}`);
    if ((this.#size + 1) * 2 > this.#places.length) this.#grow();
    this.#put(id);
    this.#size += 1;
  }

  has(id: RequestId): boolean {
    const places = this.#places;
    let at = id & this.#mask;
    while (places[at] !== id && places[at] !== NONE) at = (at + 1) & this.#mask;
    return id !== NONE && places[at] === id;
  }

  /** False: it was not there. */
  delete(id: RequestId): boolean {
    const places = this.#places;
    const mask = this.#mask;
    let at = id & mask;
    while (places[at] !== id) {
      if (places[at] === NONE) return false;
      at = (at + 1) & mask;
    }
    this.#size -= 1;
    // Whoever was put behind this place only because it was taken moves up, so that no search ends before it.
    let gap = at;
    for (let next = (at + 1) & mask; ; next = (next + 1) & mask) {
      const moved = places[next] ?? NONE;
      if (moved === NONE) break;
      const home = moved & mask;
      if (((next - home) & mask) < ((next - gap) & mask)) continue;
      places[gap] = moved;
      gap = next;
    }
    places[gap] = NONE;
    return true;
  }

  clear(): void {
    this.#places.fill(NONE);
    this.#size = 0;
  }

  /** A copy, in no order. */
  all(): RequestId[] {
    return [...this.#places].filter((id) => id !== NONE);
  }

  #put(id: RequestId): void {
    const places = this.#places;
    let at = id & this.#mask;
    while (places[at] !== NONE) at = (at + 1) & this.#mask;
    places[at] = id;
  }

  #grow(): void {
    const before = this.#places;
    this.#places = new Float64Array(before.length * 2);
    this.#mask = this.#places.length - 1;
    for (const id of before) if (id !== NONE) this.#put(id);
  }
}
