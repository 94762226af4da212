/** What the native engine is to do: gathered in the memory that both sides see, and taken by it in one call when a turn of JavaScript ends. */
import type { OpId } from '../types.ts';
import { Ctl, type NativeMemory, RING_ENTRIES, RING_FIELDS } from './native-memory.ts';
import type { NativeCalls } from './native-shim.ts';

export class NativeRing {
  readonly #m: NativeMemory;
  readonly #calls: NativeCalls;
  #submitScheduled = false;

  constructor(m: NativeMemory, calls: NativeCalls) {
    this.#m = m;
    this.#calls = calls;
  }

  /** What the fields mean depends on `kind` (Ring). */
  put(kind: number, op: OpId, a: number, b: number, c: number, d: number, e: number, f: number): void {
    const { ctl, ring } = this.#m;
    let count = ctl[Ctl.RING_COUNT] ?? 0;
    if (count === RING_ENTRIES) {
      this.#calls.submit();
      count = ctl[Ctl.RING_COUNT] ?? 0;
      if (count === RING_ENTRIES) throw new Error('the native engine has no memory for another operation');
    }
    const at = count * RING_FIELDS;
    ring[at] = kind;
    ring[at + 1] = op;
    ring[at + 2] = a;
    ring[at + 3] = b;
    ring[at + 4] = c;
    ring[at + 5] = d;
    ring[at + 6] = e;
    ring[at + 7] = f;
    ctl[Ctl.RING_COUNT] = count + 1;
    // What a handler causes is taken when it has ended, promises and all.
    if (this.#submitScheduled || ctl[Ctl.DELIVERING] !== 0) return;
    this.#submitScheduled = true;
    process.nextTick(() => {
      this.#submitScheduled = false;
      this.#calls.submit();
    });
  }
}
