/** How long one simulated file is: now, for certain after a power failure, and what it may be instead. */
import { keepsWrite, type Outcome } from './sectors.ts';
import type { Stream } from './seed.ts';

/** More unsynced sizes than this are joined: fewer outcomes are explored, none becomes wrong. */
const SIZES_MAX = 64;

export class FileSizes {
  #now: number;
  #durable: number;
  /** By the number of the change that made them. */
  #unsynced: { number: number; sizeBytes: number }[] = [];

  constructor(sizeBytes: number) {
    this.#now = sizeBytes;
    this.#durable = sizeBytes;
  }

  get now(): number {
    return this.#now;
  }

  get durable(): number {
    return this.#durable;
  }

  get synced(): boolean {
    return this.#unsynced.length === 0;
  }

  /** `joinable`: no sync in flight lies between two changes. */
  change(number: number, sizeBytes: number, joinable: (earlier: number, later: number | undefined) => boolean): void {
    this.#now = sizeBytes;
    this.#unsynced.push({ number, sizeBytes });
    if (this.#unsynced.length <= SIZES_MAX) return;
    const drop = this.#unsynced.findIndex((s, i) => joinable(s.number, this.#unsynced[i + 1]?.number));
    if (drop >= 0) this.#unsynced.splice(drop, 1);
  }

  /** What the changes up to `number` made of it is durable. */
  commit(number: number): void {
    if (this.#unsynced.length === 0) return;
    this.#durable = this.#unsynced.filter((s) => s.number <= number).at(-1)?.sizeBytes ?? this.#durable;
    this.#unsynced = this.#unsynced.filter((s) => s.number > number);
  }

  /** After a power failure. */
  surviving(outcome: Outcome, stream: Stream): number {
    const of = (kept: (number: number) => boolean): number => this.#unsynced.filter((s) => kept(s.number)).at(-1)?.sizeBytes ?? this.#durable;
    switch (outcome.kind) {
      case 'lost':
        return this.#durable;
      case 'kept':
        return of(() => true);
      case 'until':
        return of((number) => number <= outcome.number);
      case 'reordered':
        return of((number) => keepsWrite(number, outcome.salt));
      case 'torn':
        return stream.pick([this.#durable, ...this.#unsynced.map((s) => s.sizeBytes)]);
    }
  }

  /** From now on it is this, durably. */
  settle(sizeBytes: number): void {
    this.#now = sizeBytes;
    this.#durable = sizeBytes;
    this.#unsynced = [];
  }
}
