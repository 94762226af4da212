/**
 * Byte order and struct layouts. All of NBD is big-endian; this file is the only one that says so.
 *
 * A struct is written down once as field widths in wire order; offsets follow from it, and its size must be the one stated
 * (checked when the module loads), so that a field added or lost stops the process rather than shifting the rest.
 */

const TWO32 = 0x1_0000_0000;

/** Widths in bytes, in wire order. */
type Widths = Readonly<Record<string, number>>;
export type Layout<W extends Widths> = { readonly [K in keyof W]: number } & { readonly SIZE: number };

function struct<const W extends Widths>(sizeBytes: number, widths: W): Layout<W> {
  const offsets: Record<string, number> = {};
  let at = 0;
  for (const [field, width] of Object.entries(widths)) {
    offsets[field] = at;
    at += width;
  }
  if (at !== sizeBytes) throw new Error(`wire struct is ${String(at)} bytes long, not ${String(sizeBytes)}`);
  return { ...offsets, SIZE: sizeBytes } as Layout<W>;
}

export const GREETING = struct(18, { magic: 8, optsMagic: 8, flags: 2 });
export const CLIENT_FLAGS = struct(4, { flags: 4 });
export const OPTION = struct(16, { magic: 8, option: 4, length: 4 });
export const OPTION_REPLY = struct(20, { magic: 8, option: 4, reply: 4, length: 4 });
/** Answer to NBD_OPT_EXPORT_NAME; 124 zeroes follow unless both sides said NO_ZEROES. */
export const EXPORT_NAME_REPLY = struct(10, { size: 8, flags: 2 });
export const EXPORT_NAME_ZEROES_BYTES = 124;

export const INFO_EXPORT = struct(12, { type: 2, size: 8, flags: 2 });
export const INFO_BLOCK_SIZE = struct(14, { type: 2, minimum: 4, preferred: 4, maximum: 4 });

export const REQUEST = struct(28, { magic: 4, flags: 2, type: 2, cookie: 8, offset: 8, length: 4 });
export const EXTENDED_REQUEST = struct(32, { magic: 4, flags: 2, type: 2, cookie: 8, offset: 8, length: 8 });
export const SIMPLE_REPLY = struct(16, { magic: 4, error: 4, cookie: 8 });
export const STRUCTURED_REPLY = struct(20, { magic: 4, flags: 2, type: 2, cookie: 8, length: 4 });
export const EXTENDED_REPLY = struct(32, { magic: 4, flags: 2, type: 2, cookie: 8, offset: 8, length: 8 });

/** Chunk payloads; data, text or descriptors follow where the spec says so. */
export const CHUNK_OFFSET_DATA = struct(8, { offset: 8 });
export const CHUNK_OFFSET_HOLE = struct(12, { offset: 8, length: 4 });
export const CHUNK_ERROR = struct(6, { error: 4, messageLength: 2 });
export const CHUNK_BLOCK_STATUS = struct(4, { contextId: 4 });
export const BLOCK_DESCRIPTOR = struct(8, { length: 4, flags: 4 });
/** Extended headers only. `count`: of the descriptors, or 0. */
export const CHUNK_BLOCK_STATUS_EXT = struct(8, { contextId: 4, count: 4 });
export const BLOCK_DESCRIPTOR_EXT = struct(16, { length: 8, flags: 8 });
/** Payload of a BLOCK_STATUS request; ids of contexts follow, 4 bytes each. */
export const STATUS_PAYLOAD = struct(8, { length: 8 });
export const STATUS_PAYLOAD_ID_BYTES = 4;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function getU16(v: DataView, at: number): number {
  return v.getUint16(at, false);
}
export function setU16(v: DataView, at: number, value: number): void {
  v.setUint16(at, value, false);
}
export function getU32(v: DataView, at: number): number {
  return v.getUint32(at, false);
}
export function setU32(v: DataView, at: number, value: number): void {
  v.setUint32(at, value, false);
}
/** As a number: exact below 2^53, rounded above, where no device can be; a range check refuses it either way. */
export function getU64(v: DataView, at: number): number {
  return v.getUint32(at, false) * TWO32 + v.getUint32(at + 4, false);
}
/** `value` must be a safe integer, not negative. */
export function setU64(v: DataView, at: number, value: number): void {
  v.setUint32(at, Math.floor(value / TWO32), false);
  v.setUint32(at + 4, value % TWO32, false);
}
export function getMagic(v: DataView, at: number): bigint {
  return v.getBigUint64(at, false);
}
export function setMagic(v: DataView, at: number, value: bigint): void {
  v.setBigUint64(at, value, false);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function encodeText(text: string): Uint8Array {
  return encoder.encode(text);
}
/** Undefined when the bytes are not UTF-8, or hold a NUL, which no name may. */
export function decodeText(bytes: Uint8Array): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return decoder.decode(bytes);
  } catch (e: unknown) {
    if (e instanceof TypeError) return undefined;
    throw e;
  }
}
