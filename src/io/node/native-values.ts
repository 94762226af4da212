/** Answers that do not fit an event: the native engine lays them out in a handle, here they become values. */
import { CHECKSUM_BYTES } from '../../nbd/wire/checksums.ts';
import { STRUCTURED_REPLY, viewOf } from '../../nbd/wire/layout.ts';
import { decodeBlockStatus, encodeChunk } from '../../nbd/wire/transmission.ts';
import { NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS } from '../../nbd/wire/constants.ts';
import type { EngineValue, Extent } from '../types.ts';

/** `bytes`: offset, length, hole or not (0), as doubles of this machine's byte order. */
export function extentsFrom(bytes: Uint8Array): EngineValue {
  const numbers = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / Float64Array.BYTES_PER_ELEMENT);
  const extents: Extent[] = [];
  for (let i = 0; i + 2 < numbers.length; i += 3) {
    const hole = numbers[i + 2] !== 0;
    extents.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0, hole, zero: hole });
  }
  return { kind: 'extents', extents };
}

/** `bytes`: for each context the length of its chunk's payload (4 bytes, big-endian), and the payload, which was checked. */
export function blockStatusFrom(bytes: Uint8Array): EngineValue {
  const view = viewOf(bytes);
  const contexts: { id: number; extents: { length: number; flags: number }[] }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = view.getUint32(at, false);
    const status = decodeBlockStatus(bytes.subarray(at + 4, at + 4 + length));
    if (status === undefined) throw new Error('the native engine let a malformed block status pass');
    contexts.push({ id: status.contextId, extents: status.descriptors });
    at += 4 + length;
  }
  return { kind: 'block-status', contexts };
}

/** `sealed`: with room for a checksum after each header and payload. */
export function blockStatusBytes(chunks: readonly Uint8Array[], sealed: boolean): number {
  const sealBytes = sealed ? CHECKSUM_BYTES : 0;
  return chunks.reduce((n, c) => n + STRUCTURED_REPLY.SIZE + c.length + 2 * sealBytes, 0);
}

/** The chunks of a whole answer but for the cookie, which the native engine knows, and checksums. */
export function encodeBlockStatusChunks(into: Uint8Array, chunks: readonly Uint8Array[], sealed: boolean): void {
  const sealBytes = sealed ? CHECKSUM_BYTES : 0;
  const view = viewOf(into);
  let at = 0;
  for (const [i, payload] of chunks.entries()) {
    const flags = i === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0;
    encodeChunk(view, at, flags, NBD_REPLY_TYPE_BLOCK_STATUS, 0, 0, payload.length);
    into.set(payload, at + STRUCTURED_REPLY.SIZE + sealBytes);
    at += STRUCTURED_REPLY.SIZE + payload.length + 2 * sealBytes;
  }
}
