/** A server's replies as bytes: simple, or chunks, structured or extended, the last of which says DONE. */
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
import type { Outbox } from './outbox.ts';

interface Asked extends AskedExtended {
  readonly offset: number;
}

/** A chunk's header, with room behind it for the first `fixed` bytes of its payload of `length`: where they go in `out.view`. */
function writeHead(out: Outbox, wire: WireParams, r: Asked, flags: number, type: number, length: number, fixed: number): number {
  if (wire.extendedHeaders) {
    const at = out.reserve(EXTENDED_REPLY.SIZE + fixed);
    encodeExtendedChunk(out.view, at, flags, type, r, length);
    return at + EXTENDED_REPLY.SIZE;
  }
  const at = out.reserve(STRUCTURED_REPLY.SIZE + fixed);
  encodeChunk(out.view, at, flags, type, r.cookieHi, r.cookieLo, length);
  return at + STRUCTURED_REPLY.SIZE;
}

function writeSimple(out: Outbox, r: Asked, error: number): void {
  const at = out.reserve(SIMPLE_REPLY.SIZE);
  encodeSimpleReply(out.view, at, error, r.cookieHi, r.cookieLo);
}

export function writeError(out: Outbox, wire: WireParams, r: Asked, errno: number): void {
  if (!wire.structuredReplies) {
    writeSimple(out, r, wireError(errno));
    return;
  }
  const at = writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, CHUNK_ERROR.SIZE, CHUNK_ERROR.SIZE);
  setU32(out.view, at + CHUNK_ERROR.error, wireError(errno));
  setU16(out.view, at + CHUNK_ERROR.messageLength, 0);
}

export function writeSuccess(out: Outbox, wire: WireParams, r: Asked): void {
  if (wire.structuredReplies) writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 0, 0);
  else writeSimple(out, r, 0);
}

/** True when `bytes` were copied; otherwise they must stay until the reply was sent. */
export function writeData(out: Outbox, wire: WireParams, r: Asked, bytes: Uint8Array): boolean {
  if (wire.structuredReplies) {
    const length = CHUNK_OFFSET_DATA.SIZE + bytes.length;
    const at = writeHead(out, wire, r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, length, CHUNK_OFFSET_DATA.SIZE);
    encodeOffsetData(out.view, at, r.offset);
  } else writeSimple(out, r, 0);
  return out.bytes(bytes);
}

/** `chunks`: each the payload for one context; they must not change any more. */
export function writeBlockStatus(out: Outbox, wire: WireParams, r: Asked, chunks: readonly Uint8Array[]): void {
  const type = wire.extendedHeaders ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS;
  for (let i = 0; i < chunks.length; i += 1) {
    const payload = chunks[i];
    if (payload === undefined) continue;
    writeHead(out, wire, r, i === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0, type, payload.length, 0);
    out.bytes(payload);
  }
}
