/**
 * Frames between nodes: a length, then JSON. The only file that knows how a message looks in bytes.
 *
 *      0        4                              4 + length
 *      +--------+--------------------+--------+
 *      | length |  JSON text, UTF-8  |  seal  |
 *      +--------+--------------------+--------+
 *       u32, big-endian; 1 .. FRAME_MAX_BYTES, itself not counted
 *
 * The seal is the CRC-32 (as zlib's) of the JSON text, as 16 characters of white space that stand for two bits each, the highest
 * first. White space may follow a value in JSON: a node of before there were seals takes no notice, and its own frames have none.
 * What is behind a value and is anything else is no JSON, so that a seal can't be damaged into none.
 *
 * Invariants:
 * - chunk borders mean nothing: any split of the same bytes gives the same frames
 * - memory is bounded by one frame; a length is judged before a byte of the body is kept
 * - a frame that was damaged on its way says nothing
 * - after the first fault a decoder gives nothing more, since the next frame's start is unknown
 */

import { crc32 } from 'node:zlib';

export const FRAME_HEADER_BYTES = 4;
export const FRAME_MAX_BYTES = 1024 * 1024;

export type FrameFault = 'empty' | 'too-long' | 'damaged' | 'not-utf8' | 'not-json';

export class FrameError extends Error {
  readonly fault: FrameFault;
  constructor(fault: FrameFault, message: string) {
    super(message);
    this.name = 'FrameError';
    this.fault = fault;
  }
}

const SEAL_BYTES = 16;
/** What 0 to 3 are written as. */
const SEAL_DIGITS = [0x20, 0x09, 0x0a, 0x0d] as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Header and body. FrameError `too-long` when the text is over the limit; TypeError for what JSON cannot say. */
export function encodeFrame(value: object, maxBytes: number = FRAME_MAX_BYTES): Uint8Array {
  const text = encoder.encode(JSON.stringify(value));
  const length = text.length + SEAL_BYTES;
  if (length > maxBytes) {
    throw new FrameError('too-long', `a message of ${String(length)} bytes is over the limit of ${String(maxBytes)}`);
  }
  const frame = new Uint8Array(FRAME_HEADER_BYTES + length);
  new DataView(frame.buffer).setUint32(0, length);
  frame.set(text, FRAME_HEADER_BYTES);
  const crc = crc32(text);
  for (let i = 0; i < SEAL_BYTES; i += 1) frame[FRAME_HEADER_BYTES + text.length + i] = SEAL_DIGITS[((crc >>> (30 - 2 * i)) & 3) as 0 | 1 | 2 | 3];
  return frame;
}

/** The CRC that the body ends with; undefined: it has no seal. */
function sealOf(body: Uint8Array): number | undefined {
  if (body.length <= SEAL_BYTES) return undefined;
  let crc = 0;
  for (const byte of body.subarray(body.length - SEAL_BYTES)) {
    const digit = SEAL_DIGITS.findIndex((d) => d === byte);
    if (digit < 0) return undefined;
    crc = crc * 4 + digit;
  }
  return crc;
}

/** The body's length out of a header; FrameError `empty` or `too-long`. */
export function decodeLength(header: Uint8Array, maxBytes: number = FRAME_MAX_BYTES): number {
  const length = new DataView(header.buffer, header.byteOffset, FRAME_HEADER_BYTES).getUint32(0);
  if (length === 0) throw new FrameError('empty', 'a frame without content');
  if (length > maxBytes) throw new FrameError('too-long', `a frame of ${String(length)} bytes is over the limit of ${String(maxBytes)}`);
  return length;
}

/** What the body says; FrameError `damaged`, `not-utf8` or `not-json`. */
export function decodeBody(body: Uint8Array): unknown {
  const seal = sealOf(body);
  if (seal !== undefined && seal !== crc32(body.subarray(0, body.length - SEAL_BYTES))) {
    throw new FrameError('damaged', 'a frame that was damaged on its way');
  }
  let text: string;
  try {
    text = decoder.decode(body);
  } catch (e: unknown) {
    if (!(e instanceof TypeError)) throw e;
    throw new FrameError('not-utf8', 'a frame that is not UTF-8');
  }
  try {
    return JSON.parse(text) as unknown;
  } catch (e: unknown) {
    if (!(e instanceof SyntaxError)) throw e;
    throw new FrameError('not-json', 'a frame that is not JSON');
  }
}

export class FrameDecoder {
  readonly #maxBytes: number;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  /** The body being gathered, when it did not come in one chunk. */
  #body: Uint8Array | undefined;
  #bodyBytes = 0;
  #fault: FrameError | undefined;

  constructor(maxBytes: number = FRAME_MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes kept of a frame that is not complete. */
  get keptBytes(): number {
    return this.#headerBytes + this.#bodyBytes;
  }

  /** Calls `onFrame` for each frame that these bytes complete, in order; throws FrameError at the first fault and ever after. */
  push(bytes: Uint8Array, onFrame: (value: unknown) => void): void {
    if (this.#fault !== undefined) throw this.#fault;
    try {
      let at = 0;
      while (at < bytes.length) at = this.#step(bytes, at, onFrame);
    } catch (e: unknown) {
      if (e instanceof FrameError) this.#fault = e;
      throw e;
    }
  }

  /** Takes one header part or one body part; returns where to go on. */
  #step(bytes: Uint8Array, at: number, onFrame: (value: unknown) => void): number {
    if (this.#headerBytes < FRAME_HEADER_BYTES) {
      const n = Math.min(FRAME_HEADER_BYTES - this.#headerBytes, bytes.length - at);
      this.#header.set(bytes.subarray(at, at + n), this.#headerBytes);
      this.#headerBytes += n;
      if (this.#headerBytes === FRAME_HEADER_BYTES) decodeLength(this.#header, this.#maxBytes);
      return at + n;
    }
    const length = decodeLength(this.#header, this.#maxBytes);
    if (this.#bodyBytes === 0 && bytes.length - at >= length) {
      this.#finish(bytes.subarray(at, at + length), onFrame);
      return at + length;
    }
    this.#body ??= new Uint8Array(length);
    const n = Math.min(length - this.#bodyBytes, bytes.length - at);
    this.#body.set(bytes.subarray(at, at + n), this.#bodyBytes);
    this.#bodyBytes += n;
    if (this.#bodyBytes === length) this.#finish(this.#body, onFrame);
    return at + n;
  }

  #finish(body: Uint8Array, onFrame: (value: unknown) => void): void {
    this.#headerBytes = 0;
    this.#bodyBytes = 0;
    this.#body = undefined;
    onFrame(decodeBody(body));
  }
}
