/** Checksums after headers and payloads, on connections that have them (src/nbd/wire/checksums.ts). */
import { crc32 } from 'node:zlib';
import { CHECKSUM_BYTES, decodeChecksum, encodeChecksum } from '../../nbd/wire/checksums.ts';
import { viewOf } from '../../nbd/wire/layout.ts';
import type { Outbox } from './outbox.ts';

/** Of bytes that `reserve` gave room for, with CHECKSUM_BYTES behind them. */
export function sealReserved(out: Outbox, at: number, length: number): void {
  const { view } = out;
  encodeChecksum(view, at + length, crc32(new Uint8Array(view.buffer, view.byteOffset + at, length)));
}

/** `crc`: of what came before. */
export function sealBytes(out: Outbox, crc: number): void {
  const at = out.reserve(CHECKSUM_BYTES);
  encodeChecksum(out.view, at, crc);
}

/** Whether the checksum behind `length` bytes at the start is theirs. */
export function isSealed(bytes: Uint8Array, view: DataView, length: number): boolean {
  return decodeChecksum(view, length) === crc32(bytes.subarray(0, length));
}

/** The checksum behind a payload, however the stream is cut. */
export class Seal {
  readonly #bytes = new Uint8Array(CHECKSUM_BYTES);
  readonly #view = viewOf(this.#bytes);
  #fill = 0;

  begin(): void {
    this.#fill = 0;
  }

  get complete(): boolean {
    return this.#fill === CHECKSUM_BYTES;
  }

  /** How many of `bytes`, from `at` on, belong to it. */
  take(bytes: Uint8Array, at: number): number {
    const from = this.#fill;
    while (this.#fill < CHECKSUM_BYTES && at + this.#fill - from < bytes.length) {
      this.#bytes[this.#fill] = bytes[at + this.#fill - from] ?? 0;
      this.#fill += 1;
    }
    return this.#fill - from;
  }

  matches(payload: Uint8Array): boolean {
    return decodeChecksum(this.#view, 0) === crc32(payload);
  }
}
