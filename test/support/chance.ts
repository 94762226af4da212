/** Chance that can be had again: a test prints its seed, and NETRAID_SEED repeats it. */
export class Chance {
  readonly seed: number;
  #state: number;

  constructor(seed = Number(process.env['NETRAID_SEED'] ?? String(Date.now() % 2 ** 31))) {
    this.seed = seed;
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `below` - 1; `below` is at most 2^32. */
  below(below: number): number {
    // Mulberry32: short, and good enough to scatter requests.
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below);
  }

  /** So many different numbers below `below`, in ascending order. */
  distinct(count: number, below: number): number[] {
    const chosen = new Set<number>();
    while (chosen.size < count) chosen.add(this.below(below));
    return [...chosen].sort((a, b) => a - b);
  }
}
