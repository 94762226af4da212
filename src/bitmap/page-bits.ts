/**
 * Bits inside one page of a bitmap: 4096 bytes, 32768 bits, bit 0 is 0x80 of byte 0. Read as big-endian 32-bit words,
 * lower bit numbers are the more significant ones, so that Math.clz32 finds the first set bit of a word.
 */

export const PAGE_BYTES = 4096;
export const PAGE_BITS = PAGE_BYTES * 8;
const WORDS = PAGE_BYTES / 4;
const ALL = 0xffffffff;

export function popCount(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  x = (x + (x >>> 4)) & 0x0f0f0f0f;
  return Math.imul(x, 0x01010101) >>> 24;
}

/** The bits of word `w` that lie within first..last of the page. */
function maskOf(w: number, first: number, last: number): number {
  let mask = ALL;
  if (w === first >>> 5) mask &= ALL >>> (first & 31);
  if (w === last >>> 5) mask &= ALL << (31 - (last & 31));
  return mask;
}

/** Sets bits first..last; how many were clear before. */
export function setBits(page: Buffer, first: number, last: number): number {
  let added = 0;
  for (let w = first >>> 5; w <= last >>> 5; w += 1) {
    const old = page.readUInt32BE(w * 4);
    const fresh = maskOf(w, first, last) & ~old;
    if (fresh === 0) continue;
    added += popCount(fresh);
    page.writeUInt32BE((old | fresh) >>> 0, w * 4);
  }
  return added;
}

/** Clears bits first..last; how many were set before. */
export function clearBits(page: Buffer, first: number, last: number): number {
  let removed = 0;
  for (let w = first >>> 5; w <= last >>> 5; w += 1) {
    const old = page.readUInt32BE(w * 4);
    const gone = maskOf(w, first, last) & old;
    if (gone === 0) continue;
    removed += popCount(gone);
    page.writeUInt32BE((old & ~gone) >>> 0, w * 4);
  }
  return removed;
}

/** True when it was clear. */
export function setBit(page: Buffer, bit: number): boolean {
  const mask = 0x80 >>> (bit & 7);
  const old = page[bit >>> 3] ?? 0;
  page[bit >>> 3] = old | mask;
  return (old & mask) === 0;
}

/** True when it was set. */
export function clearBit(page: Buffer, bit: number): boolean {
  const mask = 0x80 >>> (bit & 7);
  const old = page[bit >>> 3] ?? 0;
  page[bit >>> 3] = old & ~mask;
  return (old & mask) !== 0;
}

/** Runs of set bits among `bits` of them from `from` on, both multiples of 32. */
export function runCount(page: Buffer, from: number, bits: number): number {
  let runs = 0;
  let before = 0;
  for (let w = from >>> 5; w < (from + bits) >>> 5; w += 1) {
    const word = page.readUInt32BE(w * 4);
    // A run begins where the bit before is clear.
    runs += popCount(word & ~((word >>> 1) | (before << 31)));
    before = word & 1;
  }
  return runs;
}

/** First set bit at or after `from`; PAGE_BITS when there is none. */
export function nextSetBit(page: Buffer, from: number): number {
  return nextBit(page, from, 0);
}

/** First clear bit at or after `from`; PAGE_BITS when there is none. */
export function nextClearBit(page: Buffer, from: number): number {
  return nextBit(page, from, ALL);
}

function nextBit(page: Buffer, from: number, flip: number): number {
  let w = from >>> 5;
  let word = (page.readUInt32BE(w * 4) ^ flip) & (ALL >>> (from & 31));
  while (word === 0) {
    w += 1;
    if (w === WORDS) return PAGE_BITS;
    word = page.readUInt32BE(w * 4) ^ flip;
  }
  return w * 32 + Math.clz32(word);
}
