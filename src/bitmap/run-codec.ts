/**
 * Runs of a bitmap as compact pieces of bounded size, for sending maps between nodes.
 *
 *   piece = version (1 byte) | runs (varint) | { gap (varint) | length - 1 (varint) } * runs
 *
 * The first gap of a piece is the region it starts at; each further one counts the clear regions since the run before,
 * less one, so that descending or overlapping runs cannot even be written. Each piece stands alone; pieces of one map
 * ascend. What arrives comes from outside: a piece is checked whole before a bit of it is applied.
 */
import type { DirtyBitmap } from './dirty-bitmap.ts';
import { ByteReader, CodecError, putVarint, VARINT_MAX_BYTES, varintBytes } from './varint.ts';

const VERSION = 1;
/** Version, run count, and room for one run of the largest numbers. */
export const PIECE_MIN_BYTES = 1 + VARINT_MAX_BYTES + 2 * VARINT_MAX_BYTES;

/** A peer's piece is malformed, out of order, or does not fit the device. */
export class RunCodecError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'RunCodecError';
  }
}

/** Pieces of at most `pieceMaxBytes` (>= PIECE_MIN_BYTES) each; none for an empty map. */
export function* encodeRuns(bitmap: DirtyBitmap, pieceMaxBytes: number): Generator<Uint8Array, void, undefined> {
  if (!Number.isInteger(pieceMaxBytes) || pieceMaxBytes < PIECE_MIN_BYTES) {
    throw new RangeError(`a piece of ${String(pieceMaxBytes)} bytes is too small, it takes ${String(PIECE_MIN_BYTES)}`);
  }
  const body = new Uint8Array(pieceMaxBytes - 1 - VARINT_MAX_BYTES);
  let used = 0;
  let count = 0;
  let end = 0;
  for (const run of bitmap.runs()) {
    const gap = run.first - end - 1;
    if (count > 0 && used + varintBytes(gap) + varintBytes(run.length - 1) > body.length) {
      yield piece(body, used, count);
      used = 0;
      count = 0;
    }
    used = putVarint(body, used, count === 0 ? run.first : gap);
    used = putVarint(body, used, run.length - 1);
    count += 1;
    end = run.first + run.length;
  }
  if (count > 0) yield piece(body, used, count);
}

function piece(body: Uint8Array, used: number, count: number): Uint8Array {
  const out = new Uint8Array(1 + varintBytes(count) + used);
  out[0] = VERSION;
  out.set(body.subarray(0, used), putVarint(out, 1, count));
  return out;
}

/**
 * Sets the runs of one piece in `bitmap`, which must have `regionCount` regions. `from`: the lowest region the piece may
 * start at; pass the last call's answer to hold a peer to ascending pieces. Answers the region behind the last run.
 * RunCodecError leaves the bitmap as it was.
 */
export function decodeRunsInto(bytes: Uint8Array, bitmap: DirtyBitmap, regionCount: number, from = 0): number {
  if (bitmap.regionCount !== regionCount) {
    throw new RunCodecError(`the map has ${String(bitmap.regionCount)} regions, ${String(regionCount)} were expected`);
  }
  walk(bytes, regionCount, from, undefined);
  return walk(bytes, regionCount, from, bitmap);
}

function walk(bytes: Uint8Array, regionCount: number, from: number, into: DirtyBitmap | undefined): number {
  try {
    const reader = new ByteReader(bytes);
    const version = reader.byte();
    if (version !== VERSION) throw new RunCodecError(`version ${String(version)} of a map piece is not known`);
    const count = reader.varint();
    let end = 0;
    for (let i = 0; i < count; i += 1) {
      const first = i === 0 ? reader.varint() : end + 1 + reader.varint();
      if (first < from) throw new RunCodecError(`a run at region ${String(first)} comes after region ${String(from)}`);
      end = first + 1 + reader.varint();
      if (end > regionCount) throw new RunCodecError(`a run up to region ${String(end - 1)} is out of range, the device has ${String(regionCount)}`);
      into?.setRange(first, end - 1);
    }
    if (reader.left > 0) throw new RunCodecError(`${String(reader.left)} bytes follow the last run`);
    return count === 0 ? from : end;
  } catch (e: unknown) {
    if (e instanceof CodecError) throw new RunCodecError(`malformed map piece: ${e.message}`);
    throw e;
  }
}
