/**
 * Engine-owned bytes behind integers, counted by references.
 *
 * A handle is a slot number and the slot's generation, so that a stale handle is caught even after its slot was given to
 * somebody else. Buffers come in powers of two and are kept for reuse, up to a bound; their old content stays in them, so
 * whoever allocates fills the whole length before anybody reads it.
 *
 *   handle = generation (12 bits) * 2^20 + slot (20 bits, from 1); 0 is "none"
 *
 * A reference too many or too few is a bug, not an outside error: it throws.
 */
import type { Handle } from '../types.ts';

const SLOTS_MAX = 2 ** 20;
const GENERATIONS = 2 ** 12;
const CLASS_MIN_BYTES = 512;
/** Longer buffers are not kept. */
const CLASS_MAX_BYTES = 4 * 1024 * 1024;
const KEPT_MAX_BYTES = 64 * 1024 * 1024;

interface Slot {
  generation: number;
  references: number;
  bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

export class HandlePool {
  readonly #slots: Slot[] = [{ generation: 0, references: 0, bytes: NO_BYTES }];
  readonly #freeSlots: number[] = [];
  /** Index: log2 of the class size. Each entry is a view as last used; its buffer has the class's full size. */
  readonly #kept: Uint8Array[][] = [];
  #keptBytes = 0;
  #liveHandles = 0;
  #liveBytes = 0;

  get liveHandles(): number {
    return this.#liveHandles;
  }

  get liveBytes(): number {
    return this.#liveBytes;
  }

  allocate(length: number): Handle {
    if (!Number.isSafeInteger(length) || length < 0) throw new RangeError(`handle of ${String(length)} bytes`);
    const bytes = this.#takeBytes(length);
    let index = this.#freeSlots.pop();
    if (index === undefined) {
      index = this.#slots.length;
      if (index >= SLOTS_MAX) throw new Error('too many handles');
      this.#slots.push({ generation: 0, references: 0, bytes: NO_BYTES });
    }
    const slot = this.#slots[index];
    if (slot === undefined) throw new Error('handle slot is missing');
    slot.references = 1;
    slot.bytes = bytes;
    this.#liveHandles += 1;
    this.#liveBytes += length;
    return slot.generation * SLOTS_MAX + index;
  }

  view(h: Handle): Uint8Array {
    return this.#live(h).bytes;
  }

  /** Part of a handle; throws when it does not lie inside. */
  part(h: Handle, offset: number, length: number): Uint8Array {
    const bytes = this.#live(h).bytes;
    if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) {
      throw new RangeError(`bytes ${String(offset)}+${String(length)} of a handle of ${String(bytes.length)}`);
    }
    return length === bytes.length ? bytes : bytes.subarray(offset, offset + length);
  }

  retain(h: Handle): void {
    this.#live(h).references += 1;
  }

  release(h: Handle): void {
    const slot = this.#live(h);
    slot.references -= 1;
    if (slot.references > 0) return;
    this.#liveHandles -= 1;
    this.#liveBytes -= slot.bytes.length;
    this.#keepBytes(slot.bytes);
    slot.bytes = NO_BYTES;
    slot.generation = (slot.generation + 1) % GENERATIONS;
    this.#freeSlots.push(h % SLOTS_MAX);
  }

  #live(h: Handle): Slot {
    const slot = this.#slots[h % SLOTS_MAX];
    if (slot === undefined || slot.references === 0 || slot.generation !== Math.floor(h / SLOTS_MAX)) {
      throw new Error(`handle ${String(h)} is not live`);
    }
    return slot;
  }

  #takeBytes(length: number): Uint8Array {
    if (length === 0) return NO_BYTES;
    if (length > CLASS_MAX_BYTES) return new Uint8Array(length);
    const level = levelOf(length);
    const kept = this.#kept[level]?.pop();
    if (kept === undefined) return new Uint8Array(new ArrayBuffer(2 ** level), 0, length);
    this.#keptBytes -= 2 ** level;
    return kept.length === length ? kept : new Uint8Array(kept.buffer, 0, length);
  }

  #keepBytes(bytes: Uint8Array): void {
    const sizeBytes = bytes.buffer.byteLength;
    if (sizeBytes === 0 || sizeBytes > CLASS_MAX_BYTES || this.#keptBytes + sizeBytes > KEPT_MAX_BYTES) return;
    const level = levelOf(sizeBytes);
    (this.#kept[level] ??= []).push(bytes);
    this.#keptBytes += sizeBytes;
  }
}

function levelOf(length: number): number {
  return 32 - Math.clz32(Math.max(length, CLASS_MIN_BYTES) - 1);
}
