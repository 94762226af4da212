/**
 * What only extended headers carry (doc/proto.md of the branch extension-ext-header): block status with lengths of 64 bits, and
 * the payload of a BLOCK_STATUS request. The headers themselves are in transmission.ts, beside the compact ones.
 */
import {
  BLOCK_DESCRIPTOR_EXT,
  CHUNK_BLOCK_STATUS_EXT,
  getU32,
  getU64,
  setU32,
  setU64,
  STATUS_PAYLOAD,
  STATUS_PAYLOAD_ID_BYTES,
  viewOf,
} from './layout.ts';
import type { BlockDescriptor } from './transmission.ts';

/** Payload of a BLOCK_STATUS_EXT chunk: context id, count, descriptors. */
export function encodeBlockStatusExt(contextId: number, descriptors: readonly BlockDescriptor[]): Uint8Array {
  const out = new Uint8Array(CHUNK_BLOCK_STATUS_EXT.SIZE + descriptors.length * BLOCK_DESCRIPTOR_EXT.SIZE);
  const v = viewOf(out);
  setU32(v, CHUNK_BLOCK_STATUS_EXT.contextId, contextId);
  setU32(v, CHUNK_BLOCK_STATUS_EXT.count, descriptors.length);
  let at = CHUNK_BLOCK_STATUS_EXT.SIZE;
  for (const d of descriptors) {
    setU64(v, at + BLOCK_DESCRIPTOR_EXT.length, d.length);
    setU64(v, at + BLOCK_DESCRIPTOR_EXT.flags, d.flags);
    at += BLOCK_DESCRIPTOR_EXT.SIZE;
  }
  return out;
}

/**
 * Undefined when the length fits no whole number of descriptors, there is none, the count is another one, or a descriptor is
 * empty. A length that no number holds exactly becomes the longest that does, which ends beyond every device too. Of the status
 * the lower 32 bits are kept: all that a context of the namespace `base:` may use.
 */
export function decodeBlockStatusExt(payload: Uint8Array): { contextId: number; descriptors: BlockDescriptor[] } | undefined {
  const body = payload.length - CHUNK_BLOCK_STATUS_EXT.SIZE;
  if (body < BLOCK_DESCRIPTOR_EXT.SIZE || body % BLOCK_DESCRIPTOR_EXT.SIZE !== 0) return undefined;
  const v = viewOf(payload);
  const count = getU32(v, CHUNK_BLOCK_STATUS_EXT.count);
  if (count !== 0 && count !== body / BLOCK_DESCRIPTOR_EXT.SIZE) return undefined;
  const descriptors: BlockDescriptor[] = [];
  for (let at = CHUNK_BLOCK_STATUS_EXT.SIZE; at < payload.length; at += BLOCK_DESCRIPTOR_EXT.SIZE) {
    const length = Math.min(getU64(v, at + BLOCK_DESCRIPTOR_EXT.length), Number.MAX_SAFE_INTEGER);
    if (length === 0) return undefined;
    descriptors.push({ length, flags: getU32(v, at + BLOCK_DESCRIPTOR_EXT.flags + 4) });
  }
  return { contextId: getU32(v, CHUNK_BLOCK_STATUS_EXT.contextId), descriptors };
}

/** What a BLOCK_STATUS request with a payload asks for. */
export interface StatusPayload {
  /** Of the range, bytes; above the safe integers where it was, so that a range check refuses it. */
  length: number;
  contextIds: number[];
}

export function statusPayloadBytes(contexts: number): number {
  return STATUS_PAYLOAD.SIZE + contexts * STATUS_PAYLOAD_ID_BYTES;
}
export function encodeStatusPayload(into: Uint8Array, p: Readonly<StatusPayload>): void {
  const v = viewOf(into);
  setU64(v, STATUS_PAYLOAD.length, p.length);
  p.contextIds.forEach((id, i) => {
    setU32(v, STATUS_PAYLOAD.SIZE + i * STATUS_PAYLOAD_ID_BYTES, id);
  });
}
/** Undefined when it fits no whole number of ids, or names more than `contextsMax`. */
export function decodeStatusPayload(payload: Uint8Array, contextsMax: number): StatusPayload | undefined {
  const contexts = (payload.length - STATUS_PAYLOAD.SIZE) / STATUS_PAYLOAD_ID_BYTES;
  if (!Number.isInteger(contexts) || contexts < 0 || contexts > contextsMax) return undefined;
  const v = viewOf(payload);
  const contextIds: number[] = [];
  for (let i = 0; i < contexts; i += 1) contextIds.push(getU32(v, STATUS_PAYLOAD.SIZE + i * STATUS_PAYLOAD_ID_BYTES));
  return { length: getU64(v, STATUS_PAYLOAD.length), contextIds };
}
