/**
 * Unsigned variable-length numbers up to 2^53 - 1: seven bits a byte, least significant first, 0x80 says that more follow.
 * Each number has exactly one encoding; longer ones are refused, so that equal maps are equal bytes.
 */

export const VARINT_MAX_BYTES = 8;

/** Bytes are not a valid encoding; the message says what was expected. */
export class CodecError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'CodecError';
  }
}

export function varintBytes(value: number): number {
  let n = 1;
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) n += 1;
  return n;
}

/** Writes at `at`; the position behind. The caller has made room. */
export function putVarint(into: Uint8Array, at: number, value: number): number {
  let rest = value;
  let i = at;
  while (rest >= 128) {
    into[i] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
    i += 1;
  }
  into[i] = rest;
  return i + 1;
}

/** Reads forward through bytes that may be hostile. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    const b = this.#bytes[this.#at];
    if (b === undefined) throw new CodecError('the bytes end too early');
    this.#at += 1;
    return b;
  }

  /** Lent, not copied. */
  take(length: number): Uint8Array {
    if (length > this.left) throw new CodecError('the bytes end too early');
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_MAX_BYTES; i += 1) {
      const b = this.byte();
      value += (b % 128) * scale;
      if (b < 128) {
        if (b === 0 && i > 0) throw new CodecError('a number is longer than it need be');
        if (!Number.isSafeInteger(value)) break;
        return value;
      }
      scale *= 128;
    }
    throw new CodecError('a number is too large');
  }
}
