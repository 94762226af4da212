/**
 * One order on every leg (M4): two requests that overlap are never in flight together, and a resync copy excludes
 * application writes to the same bytes.
 *
 *   acquire(a, b) -> slot >= 0        free: held at once
 *                 -> WAITING          conflict: the waiter is called when its turn has come
 *
 * Invariants: held ranges never overlap; a request waits behind every earlier waiter that it overlaps, so nobody
 * starves; the uncontended path allocates nothing once the arrays have grown to the number of ranges held.
 */

export interface LockWaiter {
  /** The range asked for under `tag` is now held in `slot`. */
  onLocked(tag: number, slot: number): void;
}

export const WAITING = -1;

interface Waiting {
  start: number;
  end: number;
  waiter: LockWaiter;
  tag: number;
}

export class RangeLock {
  #starts = new Float64Array(64);
  #ends = new Float64Array(64);
  /** Slots in use, densely packed, so that a look costs what is held and not what ever was. */
  #used: number[] = [];
  #place: number[] = [];
  #free: number[] = [];
  #slots = 0;
  #waiting: Waiting[] = [];

  get held(): number {
    return this.#used.length;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Locks [start, end). Returns a slot for `release`, or WAITING: then `waiter.onLocked(tag, slot)` follows. */
  acquire(start: number, end: number, waiter: LockWaiter, tag: number): number {
    if (!(start < end)) throw new Error(`RangeLock: empty range ${String(start)}..${String(end)}`);
    if (this.#overlapsHeld(start, end) || this.#overlapsWaiting(start, end, this.#waiting.length)) {
      this.#waiting.push({ start, end, waiter, tag });
      return WAITING;
    }
    return this.#hold(start, end);
  }

  release(slot: number): void {
    const place = this.#place[slot];
    if (place === undefined || place < 0) throw new Error(`RangeLock: slot ${String(slot)} is not held`);
    const start = this.#starts[slot] ?? 0;
    const end = this.#ends[slot] ?? 0;
    const last = this.#used.pop();
    if (last !== undefined && last !== slot) {
      this.#used[place] = last;
      this.#place[last] = place;
    }
    this.#place[slot] = -1;
    this.#free.push(slot);
    if (this.#waiting.length > 0) this.#grant(start, end);
  }

  /** Those who wait for something overlapping [start, end) may go now, in order of arrival. */
  #grant(start: number, end: number): void {
    let granted: { waiter: LockWaiter; tag: number; slot: number }[] | undefined;
    for (let i = 0; i < this.#waiting.length; ) {
      const w = this.#waiting[i];
      if (w === undefined) break;
      const concerned = w.start < end && start < w.end;
      if (concerned && !this.#overlapsHeld(w.start, w.end) && !this.#overlapsWaiting(w.start, w.end, i)) {
        this.#waiting.splice(i, 1);
        (granted ??= []).push({ waiter: w.waiter, tag: w.tag, slot: this.#hold(w.start, w.end) });
      } else {
        i += 1;
      }
    }
    if (granted !== undefined) for (const g of granted) g.waiter.onLocked(g.tag, g.slot);
  }

  #hold(start: number, end: number): number {
    let slot = this.#free.pop();
    if (slot === undefined) {
      slot = this.#slots;
      this.#slots += 1;
      if (slot >= this.#starts.length) {
        const starts = new Float64Array(this.#starts.length * 2);
        const ends = new Float64Array(this.#ends.length * 2);
        starts.set(this.#starts);
        ends.set(this.#ends);
        this.#starts = starts;
        this.#ends = ends;
      }
    }
    this.#starts[slot] = start;
    this.#ends[slot] = end;
    this.#place[slot] = this.#used.length;
    this.#used.push(slot);
    return slot;
  }

  #overlapsHeld(start: number, end: number): boolean {
    const used = this.#used;
    for (let i = 0; i < used.length; i += 1) {
      const s = used[i] ?? 0;
      if ((this.#starts[s] ?? 0) < end && start < (this.#ends[s] ?? 0)) return true;
    }
    return false;
  }

  #overlapsWaiting(start: number, end: number, before: number): boolean {
    for (let i = 0; i < before; i += 1) {
      const w = this.#waiting[i];
      if (w !== undefined && w.start < end && start < w.end) return true;
    }
    return false;
  }
}
