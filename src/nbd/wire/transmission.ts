/**
 * Codecs of the transmission phase: requests, simple replies, structured chunks.
 *
 * Written for hot loops: they work in place on a DataView, and headers are decoded into an object the caller reuses. A
 * cookie is two u32 halves, opaque to everyone but the client that made it. Decoders answer false for a wrong magic, after
 * which the stream has lost its place and the connection must end.
 */
import {
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_EXTENDED_REQUEST_MAGIC,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
  NBD_SUCCESS,
} from './constants.ts';
import {
  BLOCK_DESCRIPTOR,
  CHUNK_BLOCK_STATUS,
  CHUNK_ERROR,
  CHUNK_OFFSET_DATA,
  CHUNK_OFFSET_HOLE,
  decodeText,
  encodeText,
  EXTENDED_REPLY,
  EXTENDED_REQUEST,
  getU16,
  getU32,
  getU64,
  REQUEST,
  setU16,
  setU32,
  setU64,
  SIMPLE_REPLY,
  STRUCTURED_REPLY,
  viewOf,
} from './layout.ts';

export interface RequestHeader {
  flags: number;
  type: number;
  cookieHi: number;
  cookieLo: number;
  offset: number;
  length: number;
}

export function newRequestHeader(): RequestHeader {
  return { flags: 0, type: 0, cookieHi: 0, cookieLo: 0, offset: 0, length: 0 };
}

export function encodeRequest(v: DataView, at: number, h: Readonly<RequestHeader>): void {
  setU32(v, at + REQUEST.magic, NBD_REQUEST_MAGIC);
  setU16(v, at + REQUEST.flags, h.flags);
  setU16(v, at + REQUEST.type, h.type);
  setU32(v, at + REQUEST.cookie, h.cookieHi);
  setU32(v, at + REQUEST.cookie + 4, h.cookieLo);
  setU64(v, at + REQUEST.offset, h.offset);
  setU32(v, at + REQUEST.length, h.length);
}
export function decodeRequest(v: DataView, at: number, into: RequestHeader): boolean {
  if (getU32(v, at + REQUEST.magic) !== NBD_REQUEST_MAGIC) return false;
  into.flags = getU16(v, at + REQUEST.flags);
  into.type = getU16(v, at + REQUEST.type);
  into.cookieHi = getU32(v, at + REQUEST.cookie);
  into.cookieLo = getU32(v, at + REQUEST.cookie + 4);
  into.offset = getU64(v, at + REQUEST.offset);
  into.length = getU32(v, at + REQUEST.length);
  return true;
}

export function encodeExtendedRequest(v: DataView, at: number, h: Readonly<RequestHeader>): void {
  setU32(v, at + EXTENDED_REQUEST.magic, NBD_EXTENDED_REQUEST_MAGIC);
  setU16(v, at + EXTENDED_REQUEST.flags, h.flags);
  setU16(v, at + EXTENDED_REQUEST.type, h.type);
  setU32(v, at + EXTENDED_REQUEST.cookie, h.cookieHi);
  setU32(v, at + EXTENDED_REQUEST.cookie + 4, h.cookieLo);
  setU64(v, at + EXTENDED_REQUEST.offset, h.offset);
  setU64(v, at + EXTENDED_REQUEST.length, h.length);
}
export function decodeExtendedRequest(v: DataView, at: number, into: RequestHeader): boolean {
  if (getU32(v, at + EXTENDED_REQUEST.magic) !== NBD_EXTENDED_REQUEST_MAGIC) return false;
  into.flags = getU16(v, at + EXTENDED_REQUEST.flags);
  into.type = getU16(v, at + EXTENDED_REQUEST.type);
  into.cookieHi = getU32(v, at + EXTENDED_REQUEST.cookie);
  into.cookieLo = getU32(v, at + EXTENDED_REQUEST.cookie + 4);
  into.offset = getU64(v, at + EXTENDED_REQUEST.offset);
  into.length = getU64(v, at + EXTENDED_REQUEST.length);
  return true;
}

export interface SimpleReplyHeader {
  error: number;
  cookieHi: number;
  cookieLo: number;
}

export function newSimpleReplyHeader(): SimpleReplyHeader {
  return { error: 0, cookieHi: 0, cookieLo: 0 };
}
export function encodeSimpleReply(v: DataView, at: number, error: number, cookieHi: number, cookieLo: number): void {
  setU32(v, at + SIMPLE_REPLY.magic, NBD_SIMPLE_REPLY_MAGIC);
  setU32(v, at + SIMPLE_REPLY.error, error);
  setU32(v, at + SIMPLE_REPLY.cookie, cookieHi);
  setU32(v, at + SIMPLE_REPLY.cookie + 4, cookieLo);
}
export function decodeSimpleReply(v: DataView, at: number, into: SimpleReplyHeader): boolean {
  if (getU32(v, at + SIMPLE_REPLY.magic) !== NBD_SIMPLE_REPLY_MAGIC) return false;
  into.error = getU32(v, at + SIMPLE_REPLY.error);
  into.cookieHi = getU32(v, at + SIMPLE_REPLY.cookie);
  into.cookieLo = getU32(v, at + SIMPLE_REPLY.cookie + 4);
  return true;
}

export interface ChunkHeader {
  flags: number;
  type: number;
  cookieHi: number;
  cookieLo: number;
  /** Of the payload, bytes. */
  length: number;
}

export function newChunkHeader(): ChunkHeader {
  return { flags: 0, type: 0, cookieHi: 0, cookieLo: 0, length: 0 };
}
export function encodeChunk(v: DataView, at: number, flags: number, type: number, cookieHi: number, cookieLo: number, length: number): void {
  setU32(v, at + STRUCTURED_REPLY.magic, NBD_STRUCTURED_REPLY_MAGIC);
  setU16(v, at + STRUCTURED_REPLY.flags, flags);
  setU16(v, at + STRUCTURED_REPLY.type, type);
  setU32(v, at + STRUCTURED_REPLY.cookie, cookieHi);
  setU32(v, at + STRUCTURED_REPLY.cookie + 4, cookieLo);
  setU32(v, at + STRUCTURED_REPLY.length, length);
}
export function decodeChunk(v: DataView, at: number, into: ChunkHeader): boolean {
  if (getU32(v, at + STRUCTURED_REPLY.magic) !== NBD_STRUCTURED_REPLY_MAGIC) return false;
  into.flags = getU16(v, at + STRUCTURED_REPLY.flags);
  into.type = getU16(v, at + STRUCTURED_REPLY.type);
  into.cookieHi = getU32(v, at + STRUCTURED_REPLY.cookie);
  into.cookieLo = getU32(v, at + STRUCTURED_REPLY.cookie + 4);
  into.length = getU32(v, at + STRUCTURED_REPLY.length);
  return true;
}

export interface ExtendedChunkHeader extends ChunkHeader {
  /** Of the request. */
  offset: number;
}

/** What every extended reply repeats of its request. */
export interface AskedExtended {
  cookieHi: number;
  cookieLo: number;
  offsetHi: number;
  offsetLo: number;
}

export function newExtendedChunkHeader(): ExtendedChunkHeader {
  return { flags: 0, type: 0, cookieHi: 0, cookieLo: 0, offset: 0, length: 0 };
}
/** `asked`: of the request, its offset as it came, which may be one that no number holds exactly. */
export function encodeExtendedChunk(v: DataView, at: number, flags: number, type: number, asked: Readonly<AskedExtended>, length: number): void {
  setU32(v, at + EXTENDED_REPLY.magic, NBD_EXTENDED_REPLY_MAGIC);
  setU16(v, at + EXTENDED_REPLY.flags, flags);
  setU16(v, at + EXTENDED_REPLY.type, type);
  setU32(v, at + EXTENDED_REPLY.cookie, asked.cookieHi);
  setU32(v, at + EXTENDED_REPLY.cookie + 4, asked.cookieLo);
  setU32(v, at + EXTENDED_REPLY.offset, asked.offsetHi);
  setU32(v, at + EXTENDED_REPLY.offset + 4, asked.offsetLo);
  setU64(v, at + EXTENDED_REPLY.length, length);
}
export function decodeExtendedChunk(v: DataView, at: number, into: ExtendedChunkHeader): boolean {
  if (getU32(v, at + EXTENDED_REPLY.magic) !== NBD_EXTENDED_REPLY_MAGIC) return false;
  into.flags = getU16(v, at + EXTENDED_REPLY.flags);
  into.type = getU16(v, at + EXTENDED_REPLY.type);
  into.cookieHi = getU32(v, at + EXTENDED_REPLY.cookie);
  into.cookieLo = getU32(v, at + EXTENDED_REPLY.cookie + 4);
  into.offset = getU64(v, at + EXTENDED_REPLY.offset);
  into.length = getU64(v, at + EXTENDED_REPLY.length);
  return true;
}

// ------------------------------------------------------------------------------------------------ chunk payloads

/** The 8 bytes before the data of an OFFSET_DATA chunk. */
export function encodeOffsetData(v: DataView, at: number, offset: number): void {
  setU64(v, at + CHUNK_OFFSET_DATA.offset, offset);
}
export function decodeOffsetData(v: DataView, at: number): number {
  return getU64(v, at + CHUNK_OFFSET_DATA.offset);
}

export function encodeOffsetHole(v: DataView, at: number, offset: number, length: number): void {
  setU64(v, at + CHUNK_OFFSET_HOLE.offset, offset);
  setU32(v, at + CHUNK_OFFSET_HOLE.length, length);
}
export function decodeOffsetHole(v: DataView, at: number): { offset: number; length: number } {
  return { offset: getU64(v, at + CHUNK_OFFSET_HOLE.offset), length: getU32(v, at + CHUNK_OFFSET_HOLE.length) };
}

/** Payload of an ERROR chunk. */
export function encodeErrorChunk(error: number, message: string): Uint8Array {
  const text = encodeText(message);
  const out = new Uint8Array(CHUNK_ERROR.SIZE + text.length);
  const v = viewOf(out);
  setU32(v, CHUNK_ERROR.error, error);
  setU16(v, CHUNK_ERROR.messageLength, text.length);
  out.set(text, CHUNK_ERROR.SIZE);
  return out;
}
/** Payload of an ERROR or ERROR_OFFSET chunk (the offset after the message is not needed); undefined when malformed. */
export function decodeErrorChunk(payload: Uint8Array): { error: number; message: string } | undefined {
  if (payload.length < CHUNK_ERROR.SIZE) return undefined;
  const v = viewOf(payload);
  const end = CHUNK_ERROR.SIZE + getU16(v, CHUNK_ERROR.messageLength);
  if (end > payload.length) return undefined;
  return { error: getU32(v, CHUNK_ERROR.error), message: decodeText(payload.subarray(CHUNK_ERROR.SIZE, end)) ?? '' };
}

export interface BlockDescriptor {
  length: number;
  flags: number;
}

/** Payload of a BLOCK_STATUS chunk: context id, then descriptors. */
export function encodeBlockStatus(contextId: number, descriptors: readonly BlockDescriptor[]): Uint8Array {
  const out = new Uint8Array(CHUNK_BLOCK_STATUS.SIZE + descriptors.length * BLOCK_DESCRIPTOR.SIZE);
  const v = viewOf(out);
  setU32(v, CHUNK_BLOCK_STATUS.contextId, contextId);
  let at = CHUNK_BLOCK_STATUS.SIZE;
  for (const d of descriptors) {
    setU32(v, at + BLOCK_DESCRIPTOR.length, d.length);
    setU32(v, at + BLOCK_DESCRIPTOR.flags, d.flags);
    at += BLOCK_DESCRIPTOR.SIZE;
  }
  return out;
}
/** Undefined when the length fits no whole number of descriptors, there is none, or one is empty. For extended headers: extended.ts. */
export function decodeBlockStatus(payload: Uint8Array): { contextId: number; descriptors: BlockDescriptor[] } | undefined {
  const body = payload.length - CHUNK_BLOCK_STATUS.SIZE;
  if (body < BLOCK_DESCRIPTOR.SIZE || body % BLOCK_DESCRIPTOR.SIZE !== 0) return undefined;
  const v = viewOf(payload);
  const descriptors: BlockDescriptor[] = [];
  for (let at = CHUNK_BLOCK_STATUS.SIZE; at < payload.length; at += BLOCK_DESCRIPTOR.SIZE) {
    const d = { length: getU32(v, at + BLOCK_DESCRIPTOR.length), flags: getU32(v, at + BLOCK_DESCRIPTOR.flags) };
    if (d.length === 0) return undefined;
    descriptors.push(d);
  }
  return { contextId: getU32(v, CHUNK_BLOCK_STATUS.contextId), descriptors };
}

/** The NBD error that says what a local errno means; what NBD has no word for is EIO. */
export function wireError(errno: number): number {
  switch (errno) {
    case NBD_SUCCESS:
    case NBD_EPERM:
    case NBD_EIO:
    case NBD_ENOMEM:
    case NBD_EINVAL:
    case NBD_ENOSPC:
    case NBD_EOVERFLOW:
    case NBD_ENOTSUP:
    case NBD_ESHUTDOWN:
      return errno;
    case 13: // EACCES
    case 30: // EROFS
      return NBD_EPERM;
    case 27: // EFBIG
    case 122: // EDQUOT
      return NBD_ENOSPC;
    default:
      return NBD_EIO;
  }
}
