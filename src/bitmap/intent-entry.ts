/** Regions with entries in the intent log, and the ring that those without a write under way are linked in. */

export class Entry {
  region = -1;
  pending = 0;
  /** Set on disk whatever a crash does now, and so until the entry goes: nothing clears the mark of a region that has one. */
  durable = false;
  /** The number that was current when the last write ended. */
  endSeq = 0;
  /** Neighbours among the idle; itself when it is not linked. */
  previous: Entry = this;
  next: Entry = this;
}

export function unlink(e: Entry): void {
  e.previous.next = e.next;
  e.next.previous = e.previous;
  e.next = e;
  e.previous = e;
}

/** At the end of the ring. */
export function linkBefore(ring: Entry, e: Entry): void {
  e.previous = ring.previous;
  e.next = ring;
  ring.previous.next = e;
  ring.previous = e;
}
