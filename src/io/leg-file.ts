/**
 * What a world gives the portable engine for a leg: one open file or block device, in callback style, because a promise
 * for each request would be most of TypeScript's share of a small write.
 *
 *   PortableEngine -- loops over short counts, falls back, counts references --> LegFile -- node:fs, or the seeded disk
 *
 * Invariants:
 * - each call reports exactly one `done`, in the same turn or later; no call throws for an outside reason
 * - `read` and `write` may move fewer bytes than asked; the engine goes on until complete and takes no progress as EIO
 * - the bytes lent to `read` and `write` belong to the leg file until `done`
 * - at most one `close`, after every operation is done
 */
import type { Extent, LegOptions } from './types.ts';

/** `bytes` moved; meaningless when `errno` is not 0. Read: 0 bytes means the end of the file. */
export type LegDone = (errno: number, bytes: number) => void;

export interface LegFileInfo {
  /** As last known: at open, after `truncate`, after `sizeBytes`. */
  sizeBytes: number;
  /** Smallest aligned unit that is written without read-modify-write; 512 for a regular file. */
  blockSizeBytes: number;
  /** Holes can be made and are reported. */
  sparse: boolean;
}

export interface LegFile {
  info(): LegFileInfo;
  read(into: Uint8Array, position: number, done: LegDone): void;
  write(from: Uint8Array, position: number, done: LegDone): void;
  /** Makes durable what was done before the call. */
  sync(done: (errno: number) => void): void;
  /** All of the range reads as zero afterwards; a hole only with `mayPunch`. ENOTSUP: the engine writes zeroes itself. */
  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void;
  /**
   * Contiguous from `offset`; must cover at least one byte and may end before the range's end (bounded work per call; the
   * engine asks again for the rest) but not after it. What is not known to be a hole is reported as data.
   */
  extents(offset: number, length: number, done: (errno: number, extents: Extent[]) => void): void;
  /** Regular files only; rejects with IoError ENOTSUP for a block device. */
  truncate(sizeBytes: number): Promise<void>;
  /** Asks the file or device again. Rejects with IoError. */
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

export interface LegOpener {
  /** Rejects with IoError; EBUSY when `lock` is asked for and somebody holds it. */
  open(path: string, options: LegOptions): Promise<LegFile>;
}
