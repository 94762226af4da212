/** Pages and sectors of a simulated file: the versions a sector has had since it was durable, and which one survives. */
import type { Stream } from './seed.ts';
import { copyOf, newBytes } from './slab.ts';

export const PAGE_BYTES = 4096;
export const SECTOR_BYTES = 512;
export const SECTORS_PER_PAGE = PAGE_BYTES / SECTOR_BYTES;
export const ALL_SECTORS = (1 << SECTORS_PER_PAGE) - 1;

export interface Version {
  number: number;
  /** Sectors that this write touched, bit 0 the first, and that no later write has made durable. */
  sectors: number;
  /** Those among them that no sync will make durable any more. */
  doomed: number;
  page: Uint8Array;
}

/** How one file comes out of a power failure; a mixture of plain and nasty ends. */
export type Outcome =
  | { kind: 'lost' }
  | { kind: 'kept' }
  | { kind: 'until'; number: number }
  /** Whole writes, each kept or lost by itself: later ones without earlier ones. */
  | { kind: 'reordered'; salt: number }
  /** Each sector by itself. */
  | { kind: 'torn'; keep: number };

/** Probability that a sector survives although a sync of it failed. */
const DOOMED_SURVIVES = 0.3;

/** `newest`: number of the file's newest change. */
export function drawOutcome(stream: Stream, newest: number): Outcome {
  const draw = stream.float();
  if (draw < 0.2) return { kind: 'lost' };
  if (draw < 0.35) return { kind: 'kept' };
  if (draw < 0.5) return { kind: 'until', number: stream.between(0, newest) };
  if (draw < 0.7) return { kind: 'reordered', salt: stream.u32() };
  return { kind: 'torn', keep: stream.float() };
}

/** The version whose bytes a sector holds after the power failure; undefined: the durable bytes. */
export function survivingVersion(versions: readonly Version[], bit: number, outcome: Outcome, stream: Stream): Version | undefined {
  const sound = versions.filter((v) => (v.doomed & bit) === 0 || stream.coin(DOOMED_SURVIVES));
  switch (outcome.kind) {
    case 'lost':
      return undefined;
    case 'kept':
      return sound.at(-1);
    case 'until':
      return sound.filter((v) => v.number <= outcome.number).at(-1);
    case 'reordered':
      return sound.filter((v) => keepsWrite(v.number, outcome.salt)).at(-1);
    case 'torn':
      if (stream.coin(outcome.keep)) return sound.at(-1);
      // Index -1 stands for the durable bytes.
      return sound[stream.between(-1, sound.length - 1)];
  }
}

/** One coin for each number, the same wherever the write is looked at. */
export function keepsWrite(number: number, salt: number): boolean {
  return ((Math.imul(number ^ salt, 0x9e3779b1) >>> 17) & 1) === 1;
}

/** A page like `under` (undefined: zeroes) with these sectors of `over`. */
export function overlay(under: Uint8Array | undefined, over: Uint8Array, sectors: number): Uint8Array {
  if (sectors === ALL_SECTORS) return over;
  const page = under === undefined ? newBytes(PAGE_BYTES) : copyOf(under);
  for (let sector = 0; sector < SECTORS_PER_PAGE; sector += 1) {
    if ((sectors & (1 << sector)) === 0) continue;
    page.set(over.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES), sector * SECTOR_BYTES);
  }
  return page;
}

export function sectorMask(inPage: number, length: number): number {
  const first = Math.floor(inPage / SECTOR_BYTES);
  const last = Math.floor((inPage + length - 1) / SECTOR_BYTES);
  let mask = 0;
  for (let sector = first; sector <= last; sector += 1) mask |= 1 << sector;
  return mask;
}

export function countSectors(mask: number): number {
  let count = 0;
  for (let m = mask; m !== 0; m &= m - 1) count += 1;
  return count;
}
