/**
 * Work on the node's own leg that is nobody's request: telling holes, and writing again what a failed sync may have lost.
 *
 * After a failed sync the page cache calls clean what never reached the disk: reads find it, and no later sync saves it
 * (M3). Only writing it again does. So every piece is read and written back, and the sync after that can be trusted.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import type { EngineHub } from '../io/hub.ts';
import type { Handle, LegInfo } from '../io/types.ts';

export const REWRITE_PIECE_BYTES = 1024 * 1024;
const PIECES_IN_FLIGHT_MAX = 4;

/** For people: where on the leg. */
export function shownRange(offset: number, length: number): string {
  return ` (bytes ${String(offset)} to ${String(offset + length - 1)})`;
}

/** The whole range reads as zeroes and takes no room. */
export async function isHole(hub: EngineHub, leg: LegInfo, offset: number, length: number): Promise<boolean> {
  const r = await hub.run((op) => {
    hub.engine.extents(op, leg.leg, offset, length);
  });
  if (r.errno !== 0 || r.value?.kind !== 'extents') return false;
  const { extents } = r.value;
  const end = extents.reduce((most, e) => Math.max(most, e.offset + e.length), 0);
  return extents.length > 0 && extents.every((e) => e.zero) && end >= offset + length;
}

/** Whether those bytes are all zero; of no bytes nothing is said. */
export async function isZeroes(hub: EngineHub, h: Handle, length: number): Promise<boolean> {
  const r = await hub.run((op) => {
    hub.engine.isZero(op, h, 0, length, length);
  });
  return r.errno === 0 && r.value?.kind === 'zeroes' && r.value.zero.length === 1 && r.value.zero[0] === true;
}

/** Writes all regions of `map` again as they are, and syncs; the errno of the first operation that failed, 0: the leg can be trusted. */
export async function rewriteRegions(hub: EngineHub, leg: LegInfo, regions: RegionMap, map: DirtyBitmap): Promise<number> {
  const pieces = piecesOf(regions, map);
  const holes: Piece[] = [];
  const failures: number[] = [];
  const worker = async (): Promise<void> => {
    for (let p = pieces.next(); p.done !== true && failures.length === 0; p = pieces.next()) {
      const errno = await rewrite(hub, leg, p.value, holes);
      if (errno !== 0) failures.push(errno);
    }
  };
  await Promise.all(Array.from({ length: PIECES_IN_FLIGHT_MAX }, worker));
  const [failed] = failures;
  if (failed !== undefined) return failed;
  const synced = await hub.run((op) => {
    hub.engine.sync(op, leg.leg);
  });
  if (synced.errno !== 0) return synced.errno;
  // Now that zeroes are there for certain, the room that they take can be given back.
  for (const p of holes) {
    const errno = await zero(hub, leg, p, true);
    if (errno !== 0) return errno;
  }
  return 0;
}

interface Piece {
  offset: number;
  length: number;
}

function* piecesOf(regions: RegionMap, map: DirtyBitmap): Generator<Piece, void, undefined> {
  for (const run of map.runs()) {
    const end = Math.min((run.first + run.length) * regions.regionBytes, regions.deviceBytes);
    for (let offset = run.first * regions.regionBytes; offset < end; offset += REWRITE_PIECE_BYTES) {
      yield { offset, length: Math.min(REWRITE_PIECE_BYTES, end - offset) };
    }
  }
}

async function zero(hub: EngineHub, leg: LegInfo, p: Piece, mayPunch: boolean): Promise<number> {
  const r = await hub.run((op) => {
    hub.engine.zero(op, leg.leg, p.offset, p.length, mayPunch, false);
  });
  return r.errno;
}

async function rewrite(hub: EngineHub, leg: LegInfo, p: Piece, holes: Piece[]): Promise<number> {
  const { offset, length } = p;
  // A hole may be as lost as data, and to punch where a hole is seen already changes nothing: zeroes are written out.
  if (leg.sparse && (await isHole(hub, leg, offset, length))) {
    holes.push(p);
    return await zero(hub, leg, p, false);
  }
  const read = await hub.run((op) => {
    hub.engine.read(op, leg.leg, offset, length);
  });
  try {
    if (read.errno !== 0) return read.errno;
    const written = await hub.run((op) => {
      hub.engine.write(op, leg.leg, offset, read.h, 0, length, false);
    });
    return written.errno;
  } finally {
    if (read.h !== 0) hub.engine.release(read.h);
  }
}
