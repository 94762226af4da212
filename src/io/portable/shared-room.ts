/**
 * What the requests of clients may hold in all. Many clients that ask for much and read nothing would each fill its own limit.
 *
 *   header --in its own part, or in the room?--> admitted          given back --> those that wait, in their order
 *                 no: stalled, in line
 *
 * Invariants:
 * - a connection whose requests hold no more than its own part never waits for others
 * - with nothing held in all, the first in line is admitted, however much it wants
 */
import type { Clock, SharedLimits } from '../types.ts';

/** A connection in line. */
export interface Waiting {
  /** Looks again whether its next request fits. */
  readOn(): void;
}

export class SharedRoom {
  readonly #clock: Pick<Clock, 'soon'>;
  readonly #line = new Set<Waiting>();
  #admitting: Waiting | undefined;
  #heldBytes = 0;
  #looking = false;

  constructor(clock: Pick<Clock, 'soon'>) {
    this.#clock = clock;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** `heldBytes`: by the requests of `w` now. */
  fits(w: Waiting, limits: SharedLimits, heldBytes: number, bytes: number): boolean {
    if (bytes === 0 || heldBytes + bytes <= limits.ownBytes) return true;
    if (this.#line.size > 0 && this.#admitting !== w) return false;
    return this.#heldBytes === 0 || this.#heldBytes + bytes <= limits.allBytesMax;
  }

  hold(bytes: number): void {
    this.#heldBytes += bytes;
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes;
    if (bytes > 0) this.#lookSoon();
  }

  /** Keeps its place when it has one. */
  wait(w: Waiting): void {
    this.#line.add(w);
  }

  /** It is admitted, or wants nothing more. */
  forget(w: Waiting): void {
    if (this.#line.delete(w)) this.#lookSoon();
  }

  #lookSoon(): void {
    if (this.#looking || this.#line.size === 0) return;
    this.#looking = true;
    this.#clock.soon(() => {
      this.#looking = false;
      this.#look();
    });
  }

  #look(): void {
    let before: Waiting | undefined;
    for (;;) {
      const [first] = this.#line;
      // Not admitted: whoever comes after it waits behind it. One that was, and wants more, has gone to the end of the line.
      if (first === undefined || first === before) return;
      before = first;
      this.#admitting = first;
      first.readOn();
      this.#admitting = undefined;
    }
  }
}
