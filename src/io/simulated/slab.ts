/** Small arrays of zeroes, cut from large ones: a simulated world makes millions, and a buffer for each is what they would cost most. */

const SLAB_BYTES = 64 * 1024;
const SMALL_MAX_BYTES = 4096;

/** For copies, which need no zeroes: what they hold is written at once. */
let copies = Buffer.allocUnsafeSlow(SLAB_BYTES);
let copiesUsed = 0;

let slab = new Uint8Array(SLAB_BYTES);
let used = 0;

/** Zeroes that nobody else has, or ever had. */
export function newBytes(length: number): Uint8Array {
  if (length > SMALL_MAX_BYTES) return new Uint8Array(length);
  if (used + length > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    used = 0;
  }
  const out = slab.subarray(used, used + length);
  // Whoever looks at it as words finds them aligned.
  used += (length + 7) & ~7;
  return out;
}

export function copyOf(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length > SMALL_MAX_BYTES) return new Uint8Array(bytes);
  if (copiesUsed + length > SLAB_BYTES) {
    copies = Buffer.allocUnsafeSlow(SLAB_BYTES);
    copiesUsed = 0;
  }
  const out = new Uint8Array(copies.buffer, copies.byteOffset + copiesUsed, length);
  copiesUsed += (length + 7) & ~7;
  out.set(bytes);
  return out;
}
