/**
 * A server's replies out of a byte stream, however it is cut. Data goes straight into the request's handle.
 *
 *   magic (4) -+-> simple (16) ---------------------------> data, for a READ (never with extended headers)
 *              +-> chunk (20, extended 32) -+-> payload, short, gathered (errors, holes, block status)
 *                                           +-> offset (8) -> data
 *
 * Every length and offset is checked before a byte is stored. What does not fit the protocol, or a request in flight, is
 * reported as malformed, once; nothing is parsed after it. Nor after a header that does not match its checksum, where there are any; data
 * that does not match ends its request with EBADMSG.
 */
import { crc32 } from 'node:zlib';
import { CHECKSUM_BYTES, CHECKSUM_EBADMSG, decodeChecksum } from '../../nbd/wire/checksums.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_EINVAL,
  NBD_EXTENDED_REPLY_MAGIC,
  NBD_MAX_STATUS_DESCRIPTORS,
  NBD_MAX_STRING_BYTES,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from '../../nbd/wire/constants.ts';
import { decodeBlockStatusExt } from '../../nbd/wire/extended.ts';
import {
  BLOCK_DESCRIPTOR,
  BLOCK_DESCRIPTOR_EXT,
  CHUNK_BLOCK_STATUS,
  CHUNK_BLOCK_STATUS_EXT,
  CHUNK_ERROR,
  CHUNK_OFFSET_DATA,
  CHUNK_OFFSET_HOLE,
  EXTENDED_REPLY,
  getU32,
  SIMPLE_REPLY,
  STRUCTURED_REPLY,
  viewOf,
} from '../../nbd/wire/layout.ts';
import {
  decodeBlockStatus,
  decodeChunk,
  decodeErrorChunk,
  decodeExtendedChunk,
  decodeOffsetData,
  decodeOffsetHole,
  decodeSimpleReply,
  newExtendedChunkHeader,
  newSimpleReplyHeader,
} from '../../nbd/wire/transmission.ts';
import type { WireParams } from '../types.ts';
import { isSealed } from './checksum.ts';
import type { ClientRequest } from './client-request.ts';
import type { HandlePool } from './handles.ts';

const MAGIC_BYTES = 4;
/** An error chunk is a number, a message, and at most an offset. */
const ERROR_PAYLOAD_MAX_BYTES = CHUNK_ERROR.SIZE + NBD_MAX_STRING_BYTES + 8;
/** Of a chunk; of all chunks of an answer together, which may be of several contexts. */
const STATUS_PAYLOAD_MAX_BYTES = CHUNK_BLOCK_STATUS.SIZE + NBD_MAX_STATUS_DESCRIPTORS * BLOCK_DESCRIPTOR.SIZE;
const STATUS_EXT_PAYLOAD_MAX_BYTES = CHUNK_BLOCK_STATUS_EXT.SIZE + NBD_MAX_STATUS_DESCRIPTORS * BLOCK_DESCRIPTOR_EXT.SIZE;
const STATUS_DESCRIPTORS_MAX = 2 * NBD_MAX_STATUS_DESCRIPTORS;
const CONTEXTS_MAX = 64;
const NO_BYTES = new Uint8Array(0);

export interface ReplyReceiver {
  /** A request in flight that still waits for its answer. */
  find(serial: number, slot: number): ClientRequest | undefined;
  /** The answer is complete: `errno`, `data` and `value` of the request say what it was. */
  replied(r: ClientRequest): void;
  malformed(): void;
  /** A header came damaged. */
  damaged(): void;
}

export class ReplyParser {
  readonly #wire: WireParams;
  readonly #handles: HandlePool;
  readonly #to: ReplyReceiver;
  /** Bytes of the checksum after each header and payload. */
  readonly #sealBytes: number;
  /** Of what stands before the data of a chunk. */
  #crc = 0;
  readonly #simple = newSimpleReplyHeader();
  readonly #chunk = newExtendedChunkHeader();
  #state: 'magic' | 'simple' | 'chunk' | 'offset' | 'payload' | 'seal' | 'dead' = 'magic';
  #scratch = new Uint8Array(64);
  #scratchView = viewOf(this.#scratch);
  #fill = 0;
  #need = MAGIC_BYTES;
  #request: ClientRequest | undefined;
  /** Data on its way into the request's handle. */
  #data: Uint8Array = NO_BYTES;
  #dataFill = 0;
  #dataDone = false;

  constructor(wire: WireParams, handles: HandlePool, to: ReplyReceiver) {
    this.#wire = wire;
    this.#sealBytes = wire.checksums === true ? CHECKSUM_BYTES : 0;
    this.#handles = handles;
    this.#to = to;
  }

  feed(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && this.#state !== 'dead') {
      if (this.#dataFill < this.#data.length) {
        const n = Math.min(this.#data.length - this.#dataFill, bytes.length - at);
        this.#data.set(n === bytes.length ? bytes : bytes.subarray(at, at + n), this.#dataFill);
        this.#dataFill += n;
        at += n;
        if (this.#dataFill === this.#data.length) this.#dataComplete();
      } else {
        const n = Math.min(this.#need - this.#fill, bytes.length - at);
        if (n <= 64) for (let i = 0; i < n; i += 1) this.#scratch[this.#fill + i] = bytes[at + i] ?? 0;
        else this.#scratch.set(bytes.subarray(at, at + n), this.#fill);
        this.#fill += n;
        at += n;
        if (this.#fill === this.#need) this.#gathered();
      }
    }
  }

  #gathered(): void {
    switch (this.#state) {
      case 'magic':
        this.#onMagic();
        break;
      case 'simple':
        this.#onSimple();
        break;
      case 'chunk':
        this.#onChunk();
        break;
      case 'offset':
        this.#onDataOffset();
        break;
      case 'payload':
        this.#onPayload();
        break;
      case 'seal':
        this.#onSeal();
        break;
      case 'dead':
        break;
    }
  }

  #onMagic(): void {
    const magic = getU32(this.#scratchView, 0);
    if (this.#wire.extendedHeaders) {
      this.#state = 'chunk';
      this.#need = EXTENDED_REPLY.SIZE + this.#sealBytes;
      if (magic !== NBD_EXTENDED_REPLY_MAGIC) this.#malformed();
    } else if (magic === NBD_SIMPLE_REPLY_MAGIC) {
      this.#state = 'simple';
      this.#need = SIMPLE_REPLY.SIZE + this.#sealBytes;
    } else if (magic === NBD_STRUCTURED_REPLY_MAGIC && this.#wire.structuredReplies) {
      this.#state = 'chunk';
      this.#need = STRUCTURED_REPLY.SIZE + this.#sealBytes;
    } else if (this.#sealBytes > 0) this.#damaged();
    else this.#malformed();
  }

  #onSimple(): void {
    if (!this.#isSealed(SIMPLE_REPLY.SIZE)) return;
    const h = this.#simple;
    decodeSimpleReply(this.#scratchView, 0, h);
    const r = this.#to.find(h.cookieHi, h.cookieLo);
    const mustBeStructured = r !== undefined && (r.cmd === NBD_CMD_BLOCK_STATUS || (r.cmd === NBD_CMD_READ && this.#wire.structuredReplies));
    const hasPieces = r !== undefined && (r.data !== 0 || r.errno !== 0 || r.value !== undefined);
    if (r === undefined || hasPieces || (mustBeStructured && h.error === 0)) {
      this.#malformed();
      return;
    }
    this.#request = r;
    this.#crc = 0;
    r.errno = h.error;
    if (h.error === 0 && r.cmd === NBD_CMD_READ) {
      this.#dataDone = true;
      this.#expectData(r, 0, r.length);
    } else this.#replied(r);
  }

  #onChunk(): void {
    if (!this.#isSealed(this.#wire.extendedHeaders ? EXTENDED_REPLY.SIZE : STRUCTURED_REPLY.SIZE)) return;
    const h = this.#chunk;
    const { extendedHeaders } = this.#wire;
    if (extendedHeaders) decodeExtendedChunk(this.#scratchView, 0, h);
    else decodeChunk(this.#scratchView, 0, h);
    const r = this.#to.find(h.cookieHi, h.cookieLo);
    if (r === undefined || (extendedHeaders && h.offset !== r.offset)) {
      this.#malformed();
      return;
    }
    this.#request = r;
    const fits = (least: number, most: number): boolean => h.length >= least && h.length <= most;
    if ((h.type & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) {
      this.#expectPayload(fits(CHUNK_ERROR.SIZE, ERROR_PAYLOAD_MAX_BYTES));
    } else if (h.type === NBD_REPLY_TYPE_NONE) {
      if (h.length === 0 && (h.flags & NBD_REPLY_FLAG_DONE) !== 0) this.#chunkComplete(r);
      else this.#malformed();
    } else if (
      h.type === NBD_REPLY_TYPE_OFFSET_DATA &&
      r.cmd === NBD_CMD_READ &&
      fits(CHUNK_OFFSET_DATA.SIZE + 1, CHUNK_OFFSET_DATA.SIZE + r.length)
    ) {
      this.#state = 'offset';
      this.#fill = 0;
      this.#need = CHUNK_OFFSET_DATA.SIZE;
    } else if (h.type === NBD_REPLY_TYPE_OFFSET_HOLE && r.cmd === NBD_CMD_READ) {
      this.#expectPayload(h.length === CHUNK_OFFSET_HOLE.SIZE);
    } else if (h.type === NBD_REPLY_TYPE_BLOCK_STATUS && r.cmd === NBD_CMD_BLOCK_STATUS) {
      this.#expectPayload(fits(1, STATUS_PAYLOAD_MAX_BYTES));
    } else if (h.type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT && r.cmd === NBD_CMD_BLOCK_STATUS && extendedHeaders) {
      this.#expectPayload(fits(1, STATUS_EXT_PAYLOAD_MAX_BYTES));
    } else this.#malformed();
  }

  #expectPayload(lengthIsRight: boolean): void {
    if (!lengthIsRight) {
      this.#malformed();
      return;
    }
    this.#state = 'payload';
    this.#fill = 0;
    this.#need = this.#chunk.length + this.#sealBytes;
    if (this.#need > this.#scratch.length) {
      this.#scratch = new Uint8Array(this.#need);
      this.#scratchView = viewOf(this.#scratch);
    }
  }

  #onDataOffset(): void {
    const r = this.#current();
    const from = decodeOffsetData(this.#scratchView, 0) - r.offset;
    const length = this.#chunk.length - CHUNK_OFFSET_DATA.SIZE;
    if (this.#sealBytes > 0) this.#crc = crc32(this.#scratch.subarray(0, CHUNK_OFFSET_DATA.SIZE));
    this.#dataDone = false;
    this.#expectData(r, from, length);
  }

  /** `from`: within the request. */
  #expectData(r: ClientRequest, from: number, length: number): void {
    if (!this.#cover(r, from, length)) {
      this.#malformed();
      return;
    }
    this.#data = this.#handles.part(r.data, from, length);
    this.#dataFill = 0;
    if (length === 0) this.#dataComplete();
  }

  #dataComplete(): void {
    if (this.#sealBytes > 0 && this.#data.length > 0) {
      this.#state = 'seal';
      this.#fill = 0;
      this.#need = this.#sealBytes;
    } else this.#dataAccepted();
  }

  #onSeal(): void {
    const r = this.#current();
    if (decodeChecksum(this.#scratchView, 0) !== crc32(this.#data, this.#crc) && r.errno === 0) r.errno = CHECKSUM_EBADMSG;
    this.#dataAccepted();
  }

  #dataAccepted(): void {
    const r = this.#current();
    this.#data = NO_BYTES;
    this.#dataFill = 0;
    if (this.#dataDone) this.#replied(r);
    else this.#chunkComplete(r);
  }

  #onPayload(): void {
    const r = this.#current();
    // What it says of the request can't be known any more.
    if (!this.#isSealed(this.#chunk.length)) return;
    const payload = this.#scratch.subarray(0, this.#chunk.length);
    const type = this.#chunk.type;
    if ((type & NBD_REPLY_TYPE_FLAG_ERROR) !== 0) {
      const e = decodeErrorChunk(payload);
      if (e === undefined) {
        this.#malformed();
        return;
      }
      if (r.errno === 0) r.errno = e.error === 0 ? NBD_EINVAL : e.error;
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      const hole = decodeOffsetHole(this.#scratchView, 0);
      const from = hole.offset - r.offset;
      if (hole.length === 0 || !this.#cover(r, from, hole.length)) {
        this.#malformed();
        return;
      }
      this.#handles.part(r.data, from, hole.length).fill(0);
    } else if (!this.#addStatus(r, payload)) {
      this.#malformed();
      return;
    }
    this.#chunkComplete(r);
  }

  #addStatus(r: ClientRequest, payload: Uint8Array): boolean {
    const status = this.#chunk.type === NBD_REPLY_TYPE_BLOCK_STATUS_EXT ? decodeBlockStatusExt(payload) : decodeBlockStatus(payload);
    if (status === undefined) return false;
    const value = r.value?.kind === 'block-status' ? r.value : { kind: 'block-status' as const, contexts: [] };
    if (value.contexts.length >= CONTEXTS_MAX || value.contexts.some((c) => c.id === status.contextId)) return false;
    const descriptors = value.contexts.reduce((sum, c) => sum + c.extents.length, status.descriptors.length);
    if (descriptors > STATUS_DESCRIPTORS_MAX) return false;
    value.contexts.push({ id: status.contextId, extents: status.descriptors });
    r.value = value;
    return true;
  }

  /** False when it lies outside the request, or some of it came before. */
  #cover(r: ClientRequest, from: number, length: number): boolean {
    if (from < 0 || from + length > r.length) return false;
    if (length > 0 && !r.coverage.add(from, from + length)) return false;
    if (r.data === 0) r.data = this.#handles.allocate(r.length);
    return true;
  }

  #chunkComplete(r: ClientRequest): void {
    if ((this.#chunk.flags & NBD_REPLY_FLAG_DONE) === 0) {
      this.#nextReply();
      return;
    }
    this.#replied(r);
  }

  #replied(r: ClientRequest): void {
    if (r.errno === 0) {
      const readIsWhole = r.cmd !== NBD_CMD_READ || r.coverage.isAll(r.length);
      const hasStatus = r.cmd !== NBD_CMD_BLOCK_STATUS || r.value !== undefined;
      if (!readIsWhole || !hasStatus) {
        this.#malformed();
        return;
      }
      if (r.cmd === NBD_CMD_READ && r.data === 0) r.data = this.#handles.allocate(0);
    }
    this.#nextReply();
    this.#to.replied(r);
  }

  #nextReply(): void {
    this.#state = 'magic';
    this.#fill = 0;
    this.#need = MAGIC_BYTES;
    this.#request = undefined;
  }

  #current(): ClientRequest {
    if (this.#request === undefined) throw new Error('no reply is being parsed');
    return this.#request;
  }

  /** False: it ends here. True without checksums. */
  #isSealed(length: number): boolean {
    if (this.#sealBytes === 0 || isSealed(this.#scratch, this.#scratchView, length)) return true;
    this.#damaged();
    return false;
  }

  #damaged(): void {
    this.#state = 'dead';
    this.#request = undefined;
    this.#to.damaged();
  }

  #malformed(): void {
    this.#state = 'dead';
    this.#request = undefined;
    this.#to.malformed();
  }
}
