/** Answers about bytes that need no outside world: digests, and which granules are all zero. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { DigestKind } from '../types.ts';

const ZEROES = Buffer.alloc(64 * 1024);

export function digestOf(bytes: Uint8Array, kind: DigestKind): string {
  if (kind === 'crc32') return crc32(bytes).toString(16).padStart(8, '0');
  return createHash('sha256').update(bytes).digest('hex');
}

export function isAllZero(bytes: Uint8Array, from: number, to: number): boolean {
  const b = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = from; at < to; ) {
    const n = Math.min(ZEROES.length, to - at);
    if (b.compare(ZEROES, 0, n, at, at + n) !== 0) return false;
    at += n;
  }
  return true;
}

/** One answer for each granule; the last may be short. */
export function zeroGranules(bytes: Uint8Array, granuleBytes: number): boolean[] {
  if (!(granuleBytes > 0)) throw new RangeError(`granule of ${String(granuleBytes)} bytes`);
  const zero: boolean[] = [];
  for (let at = 0; at < bytes.length; at += granuleBytes) {
    zero.push(isAllZero(bytes, at, Math.min(at + granuleBytes, bytes.length)));
  }
  return zero;
}
