/** Seeded choice, for domains that are too large to walk whole. */
export class Pick {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Below `n`. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }

  /** The first value most of the time (one in `rarity` is another), so that unusual facts meet a usual rest. */
  mostly<T>(values: readonly [T, ...T[]], rarity: number): T {
    if (values.length === 1 || this.below(rarity) !== 0) return values[0];
    return values[1 + this.below(values.length - 1)] ?? values[0];
  }

  of<T>(values: readonly [T, ...T[]]): T {
    return values[this.below(values.length)] ?? values[0];
  }
}

/** Counts by name, shown largest first. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  get total(): number {
    return [...this.#counts.values()].reduce((a, b) => a + b, 0);
  }

  toString(): string {
    return [...this.#counts]
      .sort((a, b) => b[1] - a[1])
      .map(([name, n]) => `${name} ${String(n)}`)
      .join(', ');
  }
}

/** Different complaints once each, with the first facts that caused it: a table that is wrong is wrong thousands of times. */
export class Complaints {
  readonly #first = new Map<string, { example: string; times: number }>();

  add(complaint: string, example: () => string): void {
    const known = this.#first.get(complaint);
    if (known === undefined) this.#first.set(complaint, { example: example(), times: 1 });
    else known.times += 1;
  }

  get list(): string[] {
    return [...this.#first].map(([complaint, { example, times }]) => `${complaint} (${String(times)} times), first: ${example}`);
  }
}
