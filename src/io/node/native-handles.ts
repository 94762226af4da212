/**
 * Handles of the native engine as TypeScript counts them, in memory that both sides share (native-memory.ts): a stale one is
 * caught here, and only the last reference's end goes to the native side.
 *
 *   handle = generation (12 bits) * 2^20 + slot (from 1); 0 is "none"
 *
 * A reference too many or too few is a bug, not an outside error: it throws.
 */
import type { Handle } from '../types.ts';
import { GENERATION_MASK, HANDLES_MAX, type NativeMemory, SLOT_BITS, Stat } from './native-memory.ts';
import type { NativeCalls } from './native-shim.ts';

const SLOT_MASK = 2 ** SLOT_BITS - 1;

export class NativeHandles {
  readonly #m: NativeMemory;
  readonly #calls: NativeCalls;
  readonly #free: (slot: number) => void;

  /** `free` gives a slot back to the native side. */
  constructor(m: NativeMemory, calls: NativeCalls, free: (slot: number) => void) {
    this.#m = m;
    this.#calls = calls;
    this.#free = free;
  }

  allocate(length: number): Handle {
    if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`handle of ${String(length)} bytes`);
    const h = this.tryAllocate(length);
    if (h === 0) throw new Error(`no memory for a handle of ${String(length)} bytes`);
    return h;
  }

  /** 0: no memory. */
  tryAllocate(length: number): Handle {
    return this.#calls.allocate(length);
  }

  view(h: Handle): Uint8Array {
    return this.#calls.view(this.live(h));
  }

  bytesOf(h: Handle, offset: number, length: number): Uint8Array {
    this.part(h, offset, length);
    return this.view(h).subarray(offset, offset + length);
  }

  /** One answer for each granule of a handle's part; the last may be short. */
  zeroGranules(h: Handle, offset: number, length: number, granuleBytes: number): boolean[] {
    if (!(granuleBytes > 0)) throw new RangeError(`granule of ${String(granuleBytes)} bytes`);
    const slot = this.part(h, offset, length);
    const zero: boolean[] = [];
    for (let at = 0; at < length; at += granuleBytes) zero.push(this.#calls.isZero(slot, offset + at, Math.min(granuleBytes, length - at)));
    return zero;
  }

  /** The slot of a handle; throws when it is not live. */
  live(h: Handle): number {
    const slot = h & SLOT_MASK;
    const m = this.#m;
    const isLive = slot > 0 && slot < HANDLES_MAX && (m.handleReferences[slot] ?? 0) > 0 && m.handleGeneration[slot] === h >>> SLOT_BITS;
    if (!isLive) throw new Error(`handle ${String(h)} is not live`);
    return slot;
  }

  /** The slot of a handle that has these bytes; throws when they do not lie inside. */
  part(h: Handle, offset: number, length: number): number {
    const slot = this.live(h);
    const bytes = this.#m.handleLength[slot] ?? 0;
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes)) {
      throw new RangeError(`bytes ${String(offset)}+${String(length)} of a handle of ${String(bytes)}`);
    }
    return slot;
  }

  /** One more reference to a live slot. */
  hold(slot: number): void {
    this.#m.handleReferences[slot] = (this.#m.handleReferences[slot] ?? 0) + 1;
  }

  release(h: Handle): void {
    const m = this.#m;
    const slot = this.live(h);
    const left = (m.handleReferences[slot] ?? 0) - 1;
    m.handleReferences[slot] = left;
    if (left > 0) return;
    m.handleGeneration[slot] = ((h >>> SLOT_BITS) + 1) & GENERATION_MASK;
    m.count(Stat.HANDLES, -1);
    m.count(Stat.BYTES, -(m.handleLength[slot] ?? 0));
    this.#free(slot);
  }
}
