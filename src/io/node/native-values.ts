/** Answers that do not fit an event: the native engine lays them out in a handle, here they become values. */
import { CHECKSUM_BYTES } from '../../nbd/wire/checksums.ts';
import { decodeBlockStatusExt } from '../../nbd/wire/extended.ts';
import { EXTENDED_REPLY, STRUCTURED_REPLY, viewOf } from '../../nbd/wire/layout.ts';
import { decodeBlockStatus, encodeChunk, encodeExtendedChunk } from '../../nbd/wire/transmission.ts';
import { NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_BLOCK_STATUS, NBD_REPLY_TYPE_BLOCK_STATUS_EXT } from '../../nbd/wire/constants.ts';
import type { EngineValue, EventBatch, Extent, OpId } from '../types.ts';
import type { NativeHandles } from './native-handles.ts';
import { type NativeMemory, ValueKind } from './native-memory.ts';

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

/** `bytes`: for each context its kind of chunk and the length of the payload (4 bytes each, big-endian), and the payload, which was checked. */
export function blockStatusFrom(bytes: Uint8Array): EngineValue {
  const view = viewOf(bytes);
  const contexts: { id: number; extents: { length: number; flags: number }[] }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const extended = view.getUint32(at, false) === NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
    const length = view.getUint32(at + 4, false);
    const payload = bytes.subarray(at + 8, at + 8 + length);
    const status = extended ? decodeBlockStatusExt(payload) : decodeBlockStatus(payload);
    if (status === undefined) throw new Error('the native engine let a malformed block status pass');
    contexts.push({ id: status.contextId, extents: status.descriptors });
    at += 8 + length;
  }
  return { kind: 'block-status', contexts };
}

const NOT_KNOWN_HERE = { cookieHi: 0, cookieLo: 0, offsetHi: 0, offsetLo: 0 };

/** `sealed`: with room for a checksum after each header and payload. */
export function blockStatusBytes(chunks: readonly Uint8Array[], extended: boolean, sealed: boolean): number {
  const around = (extended ? EXTENDED_REPLY.SIZE : STRUCTURED_REPLY.SIZE) + (sealed ? 2 * CHECKSUM_BYTES : 0);
  return chunks.reduce((n, c) => n + around + c.length, 0);
}

/** The chunks of a whole answer but for the cookie and an extended one's offset, which the native engine knows, and checksums. */
export function encodeBlockStatusChunks(into: Uint8Array, chunks: readonly Uint8Array[], extended: boolean, sealed: boolean): void {
  const sealBytes = sealed ? CHECKSUM_BYTES : 0;
  const view = viewOf(into);
  let at = 0;
  for (const [i, payload] of chunks.entries()) {
    const flags = i === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0;
    if (extended) encodeExtendedChunk(view, at, flags, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, NOT_KNOWN_HERE, payload.length);
    else encodeChunk(view, at, flags, NBD_REPLY_TYPE_BLOCK_STATUS, 0, 0, payload.length);
    at += (extended ? EXTENDED_REPLY.SIZE : STRUCTURED_REPLY.SIZE) + sealBytes;
    into.set(payload, at);
    at += payload.length + sealBytes;
  }
}

/** The answers of one engine on their way: those made in TypeScript, and those that lie in a handle. */
export class NativeValues {
  readonly #m: NativeMemory;
  readonly #handles: NativeHandles;
  /** Answers made here that wait for their DONE. */
  readonly #kept = new Map<OpId, EngineValue>();

  constructor(m: NativeMemory, handles: NativeHandles) {
    this.#m = m;
    this.#handles = handles;
  }

  keep(op: OpId, value: EngineValue): void {
    this.#kept.set(op, value);
  }

  /** Those of the batch that lies in the shared memory. */
  fill(b: EventBatch, count: number): void {
    const { valueKind, id, handle } = this.#m;
    for (let i = 0; i < count; i += 1) {
      const kind = valueKind[i];
      if (kind === ValueKind.KEPT) {
        const op = id[i] ?? 0;
        b.value[i] = this.#kept.get(op);
        this.#kept.delete(op);
      } else if (kind === ValueKind.EXTENTS || kind === ValueKind.STATUS) {
        const h = handle[i] ?? 0;
        const bytes = this.#handles.view(h);
        b.value[i] = kind === ValueKind.EXTENTS ? extentsFrom(bytes) : blockStatusFrom(bytes);
        handle[i] = 0;
        this.#handles.release(h);
      }
    }
  }
}
