/** What has arrived at one end of a connection and its process has not read: taken in pieces that have nothing to do with how it came. */
import { newBytes } from './slab.ts';

/** As it came out of the wire. */
export interface Segment {
  bytes: Uint8Array;
  /** A bit was flipped on its way. */
  damaged: boolean;
}

export class Received {
  #segments: Segment[] = [];
  #length = 0;

  /** In bytes. */
  get length(): number {
    return this.#length;
  }

  push(s: Segment): void {
    this.#segments.push(s);
    this.#length += s.bytes.length;
  }

  clear(): void {
    this.#segments = [];
    this.#length = 0;
  }

  /** The first `n` bytes, of as many at least, and whether all of them came in segments that were damaged. */
  take(n: number): Segment {
    const head = this.#segments[0];
    // Mostly all of one segment, or a part of it: no copy.
    if (head !== undefined && head.bytes.length >= n) return { bytes: this.#cut(head, n), damaged: head.damaged };
    const out = newBytes(n);
    let damaged = true;
    for (let at = 0; at < n; ) {
      const next = this.#segments[0];
      if (next === undefined) throw new Error('more is taken than was received');
      const part = this.#cut(next, Math.min(next.bytes.length, n - at));
      out.set(part, at);
      at += part.length;
      damaged &&= next.damaged;
    }
    return { bytes: out, damaged };
  }

  /** `n` bytes of the first segment. */
  #cut(head: Segment, n: number): Uint8Array {
    const { bytes } = head;
    if (bytes.length === n) this.#segments.shift();
    else head.bytes = bytes.subarray(n);
    this.#length -= n;
    return bytes.subarray(0, n);
  }
}
