/**
 * The bytes that a seed stands for: a pure function of seed and place on the device, so that any part of what was written
 * can be made again and compared. Each sector is a generator's run of its own; seeds differ in almost every byte.
 */
import type { Seed } from './types.ts';

export const SECTOR_BYTES = 512;
const WORDS = SECTOR_BYTES / 4;
const TWO_32 = 0x1_0000_0000;

function mix(h: number): number {
  let x = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** Two numbers of up to 53 bits, as 32 well mixed ones. */
export function mixed(a: number, b: number): number {
  let h = mix((a >>> 0) ^ 0x9e3779b9);
  h = mix(h ^ Math.floor(a / TWO_32));
  h = mix(h ^ (b >>> 0) ^ 0x27d4eb2f);
  return mix(h ^ Math.floor(b / TWO_32)) >>> 0;
}

/** Fills one whole sector of the device. `into` has SECTOR_BYTES from `at`. */
function fillSector(into: DataView, at: number, seed: number, sector: number): void {
  let state = mixed(seed, sector) | 1;
  for (let i = 0; i < WORDS; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    into.setUint32(at + i * 4, state, true);
  }
}

/** `length` bytes of the seed, as they stand from `offset` of the device on. */
export function bytesOf(seed: Seed, offset: number, length: number): Uint8Array {
  if (seed === 'zero') return new Uint8Array(length);
  const first = Math.floor(offset / SECTOR_BYTES);
  const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
  const whole = new Uint8Array((last - first + 1) * SECTOR_BYTES);
  const view = new DataView(whole.buffer);
  for (let s = first; s <= last; s += 1) fillSector(view, (s - first) * SECTOR_BYTES, seed, s);
  const skip = offset - first * SECTOR_BYTES;
  return skip === 0 && whole.length === length ? whole : whole.slice(skip, skip + length);
}

/** Where the two first differ; -1: nowhere. The shorter one's end counts as a difference. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const n = Math.min(a.length, b.length);
  for (let i = 0; i < n; i += 1) if (a[i] !== b[i]) return i;
  return a.length === b.length ? -1 : n;
}
