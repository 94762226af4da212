/**
 * The peer of a client connection, as a server may be: it compares each byte that it reads with what was sent, and answers when and how a test
 * has it answer, also before a payload has come whole.
 */
import { crc32 } from 'node:zlib';
import { NBD_CMD_READ, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { REQUEST, SIMPLE_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import { decodeRequest, encodeSimpleReply, newRequestHeader, type RequestHeader } from '../../../src/nbd/wire/transmission.ts';
import type { IoSocket, WireParams } from '../../../src/io/types.ts';
import { sealed } from './conformance-serve.ts';
import { joined } from './engine-rig.ts';

/** What was sent; of a WRITE, `from` is where its bytes are among those of all. */
export interface Sent {
  cmd: number;
  offset: number;
  length: number;
  from: number;
}

type Part = 'head' | 'data' | 'seal';

const NO_BYTES = new Uint8Array(0);

export class StreamPeer {
  /** What the stream is to be, in its order. */
  readonly expected: Sent[] = [];
  /** Of those whose header has come. */
  readonly heads: RequestHeader[] = [];
  /** Those that have come whole. */
  wholes = 0;
  bytes = 0;
  /** The first byte, or header, that was not what was sent. */
  wrong: string | undefined;
  closed: number | undefined;
  /** After each piece that has come. */
  onPiece: (() => void) | undefined;
  readonly socket: IoSocket;
  readonly #payloads: Uint8Array;
  readonly #seals: boolean;
  #part: Part = 'head';
  /** Of a header or a checksum, so far. */
  #some: Uint8Array = NO_BYTES;
  #payloadBytes = 0;

  constructor(socket: IoSocket, wire: WireParams, payloads: Uint8Array) {
    this.socket = socket;
    this.#payloads = payloads;
    this.#seals = wire.checksums === true;
    socket.start({
      onData: (b) => {
        this.bytes += b.length;
        for (let at = 0; at < b.length && this.wrong === undefined; ) at += this.#take(b.subarray(at));
        this.onPiece?.();
      },
      onClose: (errno) => {
        this.closed = errno;
      },
    });
  }

  /** To the request that came as the `i`th; a READ gets the bytes from 0 on. */
  answer(i: number, errno: number): void {
    const [to, sent] = [this.heads[i], this.expected[i]];
    if (to === undefined || sent === undefined) throw new Error(`request ${String(i)} has not come`);
    const head = new Uint8Array(SIMPLE_REPLY.SIZE);
    encodeSimpleReply(viewOf(head), 0, errno, to.cookieHi, to.cookieLo);
    const data = sent.cmd === NBD_CMD_READ && errno === 0 ? this.#payloads.subarray(0, sent.length) : NO_BYTES;
    const parts = this.#seals ? [sealed(head), data.length > 0 ? sealed(data) : data] : [head, data];
    if (this.closed === undefined) this.socket.write(joined(parts));
  }

  /** How many of these bytes were for the next part of the stream. */
  #take(b: Uint8Array): number {
    const sent = this.expected[this.wholes];
    if (sent === undefined) {
      this.wrong = `${String(b.length)} bytes after all that was sent`;
      return 0;
    }
    if (this.#part === 'data') return this.#takeData(b, sent);
    const need = (this.#part === 'head' ? REQUEST.SIZE : 0) + (this.#seals ? 4 : 0);
    const n = Math.min(b.length, need - this.#some.length);
    this.#some = joined([this.#some, b.subarray(0, n)]);
    if (this.#some.length < need) return n;
    if (this.#part === 'head') this.#takeHead(this.#some, sent);
    else {
      const crc = crc32(this.#payloads.subarray(sent.from, sent.from + sent.length));
      if (viewOf(this.#some).getUint32(0, false) !== crc) this.wrong ??= `request ${String(this.wholes)}: another checksum of the payload`;
      this.#whole();
    }
    this.#some = NO_BYTES;
    return n;
  }

  #takeHead(some: Uint8Array, sent: Sent): void {
    const h = newRequestHeader();
    const plain = some.subarray(0, REQUEST.SIZE);
    if (this.#seals) this.#differs(some, sealed(plain), 'checksum of the header');
    if (!decodeRequest(viewOf(plain), 0, h) || h.type !== sent.cmd || h.offset !== sent.offset || h.length !== sent.length) {
      this.wrong ??= `request ${String(this.wholes)}: ${JSON.stringify(h)} for ${JSON.stringify(sent)}`;
    }
    this.heads.push(h);
    if (sent.cmd === NBD_CMD_WRITE) this.#part = 'data';
    else this.#whole();
  }

  #takeData(b: Uint8Array, sent: Sent): number {
    const n = Math.min(b.length, sent.length - this.#payloadBytes);
    const from = sent.from + this.#payloadBytes;
    this.#differs(b.subarray(0, n), this.#payloads.subarray(from, from + n), `payload from ${String(this.#payloadBytes)} on`);
    this.#payloadBytes += n;
    if (this.#payloadBytes < sent.length) return n;
    if (this.#seals) this.#part = 'seal';
    else this.#whole();
    return n;
  }

  #whole(): void {
    this.wholes += 1;
    this.#part = 'head';
    this.#payloadBytes = 0;
  }

  #differs(came: Uint8Array, expected: Uint8Array, what: string): void {
    if (Buffer.compare(came, expected) !== 0) this.wrong ??= `request ${String(this.wholes)}: another ${what}`;
  }
}
