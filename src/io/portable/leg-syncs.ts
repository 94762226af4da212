/**
 * The syncs of one leg, never two of them under way at once: the kernel reports an error of its writing back once to each open
 * file, so that of two that overlap one could end well although what it covers is lost (M3).
 *
 *   asked while none runs --> begins at once
 *   asked while one runs  --> waits, and shares the one that begins when that has ended well: after it was asked for (M5)
 *                         `-> hears that it failed: what was to be covered may be among what it lost
 *
 * All who share one hear what it ended with, in the order in which they asked, before the next one begins. Nothing is allocated for
 * a sync once the arrays have grown.
 */
import type { LegFile } from '../leg-file.ts';

type Done = (errno: number) => void;

class Sharers {
  readonly #done: Done[] = [];
  #count = 0;

  get any(): boolean {
    return this.#count > 0;
  }

  add(done: Done): void {
    this.#done[this.#count] = done;
    this.#count += 1;
  }

  tell(errno: number): void {
    const count = this.#count;
    this.#count = 0;
    for (let i = 0; i < count; i += 1) this.#done[i]?.(errno);
  }
}

export class LegSyncs {
  readonly #file: LegFile;
  #running = new Sharers();
  #next = new Sharers();
  #busy = false;
  #inCall = false;
  readonly #onSynced = (errno: number): void => {
    this.#running.tell(errno);
    if (errno !== 0) this.#takeNext().tell(errno);
    if (this.#inCall) this.#inCall = false;
    else this.#begin();
  };

  constructor(file: LegFile) {
    this.#file = file;
  }

  /** Everything that was done before the call is durable when `done` is given 0. */
  sync(done: Done): void {
    this.#next.add(done);
    if (!this.#busy) this.#begin();
  }

  /** Until one is under way that has not answered within the call, or nobody waits. */
  #begin(): void {
    this.#busy = true;
    while (this.#next.any) {
      this.#takeNext();
      this.#inCall = true;
      this.#file.sync(this.#onSynced);
      if (this.#isUnderWay()) return;
    }
    this.#busy = false;
  }

  /** Those who wait, to be told; who asks from now on waits anew. */
  #takeNext(): Sharers {
    const taken = this.#next;
    this.#next = this.#running;
    this.#running = taken;
    return taken;
  }

  /** It has not answered within the call: its answer goes on from here. */
  #isUnderWay(): boolean {
    const underWay = this.#inCall;
    this.#inCall = false;
    return underWay;
  }
}
