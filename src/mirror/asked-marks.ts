/**
 * Marks that the engine asks for because it was to write regions that it may not write yet (`ServeMarks.asks`).
 *
 *   asked --> begin (M1) --whenDurable--> end: allowed --> answered --more was asked for meanwhile: one flush for all of it--> asked
 *                               `--it could not be written--> failed: nothing is served; the writes come as requests, and fail there
 *
 * Invariant: a region that was asked for counts as being written until its mark is durable, so that no mark goes meanwhile (M5).
 */
import { Asks } from '../io/asks.ts';
import type { ConnId } from '../io/types.ts';
import type { DurableWaiter, Marks } from './marks.ts';

export interface AskedOwner {
  readonly marks: Marks;
  /** Marks it; true: that has to be durable first. */
  begin(first: number, last: number): boolean;
}

export interface AskedHeard {
  /** The engine may go on; it may have asked for more meanwhile. */
  answered(conn: ConnId): void;
  /** It may not, here. */
  failed(): void;
}

interface Batch {
  marks: Marks;
  regions: number[];
  of: Asked | undefined;
}

/** What a connection asks for. */
export class Asked {
  readonly asks = new Asks();
  conn: ConnId = 0;
  readonly heard: AskedHeard;

  constructor(heard: AskedHeard) {
    this.heard = heard;
  }
}

export class AskedMarks implements DurableWaiter {
  readonly #o: AskedOwner;
  readonly #done: () => void;
  readonly #batches: Batch[] = [];
  readonly #free: number[] = [];

  /** `done`: `underWay` has become false. */
  constructor(owner: AskedOwner, done: () => void) {
    this.#o = owner;
    this.#done = done;
  }

  /** Regions count as being written that nobody may write yet. */
  get underWay(): boolean {
    return this.#free.length < this.#batches.length;
  }

  take(of: Asked): void {
    const { marks } = this.#o;
    const tag = this.#free.pop() ?? this.#batches.push({ marks, regions: [], of }) - 1;
    const b = this.#batches[tag];
    if (b === undefined) throw new Error(`no record ${String(tag)} of what was asked for`);
    b.marks = marks;
    b.of = of;
    of.asks.take(b.regions);
    let mustFlush = false;
    for (const region of b.regions) if (this.#o.begin(region, region)) mustFlush = true;
    if (mustFlush) marks.whenDurable(this, tag);
    else this.onDurable(tag, true);
  }

  onDurable(tag: number, ok: boolean): void {
    const b = this.#batches[tag];
    if (b?.of === undefined) throw new Error(`record ${String(tag)} of what was asked for is free`);
    const { of, regions, marks } = b;
    // Which allows it, as far as its mark is durable.
    for (const region of regions) marks.intent.end(region, region);
    of.asks.answer(regions.length);
    regions.length = 0;
    b.of = undefined;
    this.#free.push(tag);
    if (ok) of.heard.answered(of.conn);
    else of.heard.failed();
    if (!this.underWay) this.#done();
  }
}
