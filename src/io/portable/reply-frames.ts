/** A server's replies as bytes: simple, or structured chunks the last of which says DONE. */
import {
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../../nbd/wire/constants.ts';
import { CHUNK_ERROR, CHUNK_OFFSET_DATA, SIMPLE_REPLY, STRUCTURED_REPLY, setU16, setU32 } from '../../nbd/wire/layout.ts';
import { encodeChunk, encodeOffsetData, encodeSimpleReply, wireError } from '../../nbd/wire/transmission.ts';
import type { WireParams } from '../types.ts';
import type { Outbox } from './outbox.ts';

interface Asked {
  readonly cookieHi: number;
  readonly cookieLo: number;
  readonly offset: number;
}

export function writeError(out: Outbox, wire: WireParams, r: Asked, errno: number): void {
  if (!wire.structuredReplies) {
    const at = out.reserve(SIMPLE_REPLY.SIZE);
    encodeSimpleReply(out.view, at, wireError(errno), r.cookieHi, r.cookieLo);
    return;
  }
  const at = out.reserve(STRUCTURED_REPLY.SIZE + CHUNK_ERROR.SIZE);
  encodeChunk(out.view, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, r.cookieHi, r.cookieLo, CHUNK_ERROR.SIZE);
  setU32(out.view, at + STRUCTURED_REPLY.SIZE + CHUNK_ERROR.error, wireError(errno));
  setU16(out.view, at + STRUCTURED_REPLY.SIZE + CHUNK_ERROR.messageLength, 0);
}

export function writeSuccess(out: Outbox, wire: WireParams, r: Asked): void {
  if (wire.structuredReplies) {
    const at = out.reserve(STRUCTURED_REPLY.SIZE);
    encodeChunk(out.view, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, r.cookieHi, r.cookieLo, 0);
  } else {
    const at = out.reserve(SIMPLE_REPLY.SIZE);
    encodeSimpleReply(out.view, at, 0, r.cookieHi, r.cookieLo);
  }
}

/** True when `bytes` were copied; otherwise they must stay until the reply was sent. */
export function writeData(out: Outbox, wire: WireParams, r: Asked, bytes: Uint8Array): boolean {
  if (wire.structuredReplies) {
    const at = out.reserve(STRUCTURED_REPLY.SIZE + CHUNK_OFFSET_DATA.SIZE);
    const length = CHUNK_OFFSET_DATA.SIZE + bytes.length;
    encodeChunk(out.view, at, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, r.cookieHi, r.cookieLo, length);
    encodeOffsetData(out.view, at + STRUCTURED_REPLY.SIZE, r.offset);
  } else {
    const at = out.reserve(SIMPLE_REPLY.SIZE);
    encodeSimpleReply(out.view, at, 0, r.cookieHi, r.cookieLo);
  }
  return out.bytes(bytes);
}

/** `chunks`: each the payload for one context; they must not change any more. */
export function writeBlockStatus(out: Outbox, r: Asked, chunks: readonly Uint8Array[]): void {
  for (let i = 0; i < chunks.length; i += 1) {
    const payload = chunks[i];
    if (payload === undefined) continue;
    const flags = i === chunks.length - 1 ? NBD_REPLY_FLAG_DONE : 0;
    const at = out.reserve(STRUCTURED_REPLY.SIZE);
    encodeChunk(out.view, at, flags, NBD_REPLY_TYPE_BLOCK_STATUS, r.cookieHi, r.cookieLo, payload.length);
    out.bytes(payload);
  }
}
