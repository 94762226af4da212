/** What happened in a world, by kind, for printing beside a seed: a run that met no fault proves little. */

export const COUNTERS = [
  'boots',
  'crashes',
  'powerFailures',
  'freezes',
  'diskErrors',
  'noSpace',
  'shortReads',
  'shortWrites',
  'operationsCutShort',
  'sectorsKept',
  'sectorsLost',
  'pagesTorn',
  'sectorsDoomed',
  'folderOperationsKept',
  'createsLost',
  'renamesLost',
  'unlinksLost',
  'writebacks',
  'connections',
  'connectsRefused',
  'connectsTimedOut',
  'handshakesLost',
  'resets',
  'resetsLost',
  'bytesDelivered',
  'bytesDropped',
  'bitsFlipped',
  'segmentsHeld',
  'chunksSplit',
] as const;
export type CounterName = (typeof COUNTERS)[number];

export class Counters {
  readonly #values = new Map<CounterName, number>();

  add(name: CounterName, count = 1): void {
    if (count !== 0) this.#values.set(name, this.get(name) + count);
  }

  get(name: CounterName): number {
    return this.#values.get(name) ?? 0;
  }

  /** Those that are not zero, in a fixed order. */
  snapshot(): Partial<Record<CounterName, number>> {
    const out: Partial<Record<CounterName, number>> = {};
    for (const name of COUNTERS) if (this.get(name) !== 0) out[name] = this.get(name);
    return out;
  }

  toString(): string {
    return Object.entries(this.snapshot())
      .map(([name, value]) => `${name}=${String(value)}`)
      .join(' ');
  }
}
