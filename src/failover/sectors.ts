/**
 * The sector size of a mirror: what clients are told is the smallest unit, on every node that may serve it, and the largest
 * that a leg may have. It is fixed at creation: a filesystem made in sectors of 512 bytes can not be mounted from a leg that
 * has 4096, and whoever takes over must be able to.
 */
import { SECTOR_MAX_BYTES, SECTOR_MIN_BYTES } from './limits.ts';
import type { MirrorDefinition } from './types.ts';

type Sectors = Pick<MirrorDefinition, 'sectorSizeBytes'>;

export function isSectorSize(bytes: number): boolean {
  return bytes >= SECTOR_MIN_BYTES && bytes <= SECTOR_MAX_BYTES && Number.isInteger(Math.log2(bytes));
}

export function sectorSizeOf(d: Sectors): number {
  return d.sectorSizeBytes ?? SECTOR_MIN_BYTES;
}

/** The smallest size is not written down, as in records of before there was a choice. */
export function sectorsSaid(bytes: number): Sectors {
  return bytes === SECTOR_MIN_BYTES ? {} : { sectorSizeBytes: bytes };
}

/** A definition that another node has sent. One that does not know of sector sizes leaves ours out, and it never changes. */
export function withOwnSectors(theirs: MirrorDefinition, ours: Sectors): MirrorDefinition {
  return { ...sectorsSaid(sectorSizeOf(ours)), ...theirs };
}

/** Why a leg of such sectors can not belong to the mirror; undefined: it can. `what` ends before the size: "/dev/sdb has sectors". */
export function sectorRefusal(what: string, bytes: number, tag: string, allowed: number): string | undefined {
  if (bytes <= allowed) return undefined;
  const remedy =
    bytes > SECTOR_MAX_BYTES
      ? `no mirror takes more than ${String(SECTOR_MAX_BYTES)}`
      : `a mirror for it is made with netraid create --sector-size ${String(bytes)}`;
  return `${what} of ${String(bytes)} bytes, and mirror ${tag} of ${String(allowed)}: at most that is allowed; ${remedy}`;
}

/** Throws when an NBD server takes only blocks that are larger than what clients of the mirror may write. */
export function requireBlocks(where: string, bytes: number, d: MirrorDefinition): void {
  const refused = sectorRefusal(`${where} takes only blocks`, bytes, d.tag, sectorSizeOf(d));
  if (refused !== undefined) throw new Error(refused);
}
