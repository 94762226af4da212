/** A server's replies as bytes: simple, or chunks, structured or extended, the last of which says DONE. */
import { crc32 } from 'node:zlib';
import { CHECKSUM_BYTES, CHECKSUM_EBADMSG } from '../../nbd/wire/checksums.ts';
import {
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../../nbd/wire/constants.ts';
import { CHUNK_ERROR, CHUNK_OFFSET_DATA, EXTENDED_REPLY, SIMPLE_REPLY, STRUCTURED_REPLY, setU16, setU32 } from '../../nbd/wire/layout.ts';
import { type AskedExtended, encodeChunk, encodeExtendedChunk, encodeOffsetData, encodeSimpleReply, wireError } from '../../nbd/wire/transmission.ts';
import type { WireParams } from '../types.ts';
import { sealBytes, sealReserved } from './checksum.ts';
import type { Outbox } from './outbox.ts';

interface Asked extends AskedExtended {
  readonly offset: number;
}

/** A chunk's header, with room behind it for the first `fixed` bytes of its payload of `length`: where they go in `out.view`. */
function writeHead(out: Outbox, wire: WireParams, r: Asked, flags: number, type: number, length: number, fixed: number): number {
  const sealed = wire.checksums === true;
  const head = wire.extendedHeaders ? EXTENDED_REPLY.SIZE : STRUCTURED_REPLY.SIZE;
  const whole = head + (sealed ? CHECKSUM_BYTES : 0);
  const at = out.reserve(whole + fixed);
  if (wire.extendedHeaders) encodeExtendedChunk(out.view, at, flags, type, r, length);
  else encodeChunk(out.view, at, flags, type, r.cookieHi, r.cookieLo, length);
  if (sealed) sealReserved(out, at, head);
  return at + whole;
}

function writeSimple(out: Outbox, wire: WireParams, r: Asked, error: number): void {
  const sealed = wire.checksums === true;
  const at = out.reserve(SIMPLE_REPLY.SIZE + (sealed ? CHECKSUM_BYTES : 0));
  encodeSimpleReply(out.view, at, error, r.cookieHi, r.cookieLo);
  if (sealed) sealReserved(out, at, SIMPLE_REPLY.SIZE);
}

export function writeError(out: Outbox, wire: WireParams, r: Asked, errno: number): void {
  const sealed = wire.checksums === true;
  // Only a request that came damaged is answered so: what a device ends with was made a number of NBD's before.
  const error = sealed && errno === CHECKSUM_EBADMSG ? errno : wireError(errno);
  if (!wire.structuredReplies) {
    writeSimple(out, wire, r, error);
    return;
  }
  const at = writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, CHUNK_ERROR.SIZE, CHUNK_ERROR.SIZE);
  setU32(out.view, at + CHUNK_ERROR.error, error);
  setU16(out.view, at + CHUNK_ERROR.messageLength, 0);
  if (sealed) sealBytes(out, crc32(new Uint8Array(out.view.buffer, out.view.byteOffset + at, CHUNK_ERROR.SIZE)));
}

export function writeSuccess(out: Outbox, wire: WireParams, r: Asked): void {
  if (wire.structuredReplies) writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0, 0);
  else writeSimple(out, wire, r, 0);
}

/** True when `bytes` were copied; otherwise they must stay until the reply was sent. */
export function writeData(out: Outbox, wire: WireParams, r: Asked, bytes: Uint8Array): boolean {
  const sealed = wire.checksums === true;
  let crc = 0;
  if (wire.structuredReplies) {
    const length = CHUNK_OFFSET_DATA.SIZE + bytes.length;
    const at = writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, length, CHUNK_OFFSET_DATA.SIZE);
    encodeOffsetData(out.view, at, r.offset);
    if (sealed) crc = crc32(new Uint8Array(out.view.buffer, out.view.byteOffset + at, CHUNK_OFFSET_DATA.SIZE));
  } else writeSimple(out, wire, r, 0);
  const copied = out.bytes(bytes);
  if (sealed) sealBytes(out, crc32(bytes, crc));
  return copied;
}

/** `chunks`: each the payload for one context; they must not change any more. */
export function writeBlockStatus(out: Outbox, wire: WireParams, r: Asked, chunks: readonly Uint8Array[]): void {
  const type = wire.extendedHeaders ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS;
  for (let i = 0; i < chunks.length; i += 1) {
    const payload = chunks[i];
    if (payload === undefined) continue;
    writeHead(out, wire, r, i === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0, type, payload.length, 0);
    out.bytes(payload);
    if (wire.checksums === true) sealBytes(out, crc32(payload));
  }
}
