/** How large a mirror and its sectors are when nobody says: as its first leg. And which sizes a mirror may have. */
import { DEVICE_MAX_BYTES } from '../bitmap/regions.ts';
import { SECTOR_MAX_BYTES, SECTOR_MIN_BYTES } from '../failover/limits.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import type { Daemon } from './daemon.ts';
import { ControlError } from './types.ts';

const SIZE_MIN_BYTES = 4096;

/** Throws ControlError for a size that no mirror of such sectors has. */
export function checkSize(sizeBytes: number, sectorBytes: number): void {
  const within = Number.isSafeInteger(sizeBytes) && sizeBytes >= SIZE_MIN_BYTES && sizeBytes <= DEVICE_MAX_BYTES;
  if (within && sizeBytes % sectorBytes === 0) return;
  throw new ControlError('bad-request', `size ${String(sizeBytes)}: allowed is 4 KiB to 64 TiB in whole sectors of ${String(sectorBytes)} bytes`);
}

/** Makes the first leg ready; what is not said is taken from it. Throws ControlError or ClusterError for what can be no leg. */
export async function prepareFirstLeg(
  d: Daemon,
  p: { tag: string; leg: string; sizeBytes: number | null; sectorBytes?: number },
): Promise<{ sizeBytes: number; sectorBytes: number; made: boolean }> {
  const atLeast = p.sectorBytes ?? SECTOR_MIN_BYTES;
  const size = p.sizeBytes ?? wholeSectors(await sizeOfLeg(d.options.io.files, p.leg), atLeast);
  checkSize(size, atLeast);
  const { made, info } = await d.prepareLeg(p.leg, { tag: p.tag, sizeBytes: size, sectorBytes: p.sectorBytes ?? SECTOR_MAX_BYTES });
  const sectorBytes = p.sectorBytes ?? info.blockSizeBytes;
  const sizeBytes = p.sizeBytes ?? wholeSectors(size, sectorBytes);
  checkSize(sizeBytes, sectorBytes);
  return { sizeBytes, sectorBytes, made };
}

function wholeSectors(sizeBytes: number, sectorBytes: number): number {
  return sizeBytes - (sizeBytes % sectorBytes);
}

async function sizeOfLeg(files: Files, leg: string): Promise<number> {
  try {
    const { kind, sizeBytes } = await files.stat(leg);
    if (kind !== 'file' && kind !== 'block')
      throw new ControlError('bad-request', `${leg} is ${kind === 'directory' ? 'a directory' : 'neither'}; a leg is a file or a block device`);
    return sizeBytes;
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT)
      throw new ControlError('bad-request', `${leg} does not exist; give a size to make a file there`);
    throw e;
  }
}
