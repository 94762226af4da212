/** A bitmap file with many dirty regions, as the daemon would have written it after as many writes all over the device. */
import { BitmapFile } from '../../src/bitmap/bitmap-file.ts';
import { decodeHeader, SECTOR_BYTES } from '../../src/bitmap/sector.ts';
import { nodeFiles } from '../../src/io/node/files.ts';

/** That many regions of `regionCount`, ascending, as far from each other as they can be. Pure. */
export function spreadRegions(count: number, regionCount: number): number[] {
  if (count > regionCount) throw new RangeError(`${String(count)} dirty regions do not fit in ${String(regionCount)}`);
  return Array.from({ length: count }, (_, i) => Math.floor((i * regionCount) / count));
}

/** Opens a bitmap file as the daemon does when it starts; whose it is stands in its first sector. */
export async function openBitmap(path: string): Promise<BitmapFile> {
  const head = Buffer.alloc(SECTOR_BYTES);
  const io = await nodeFiles.open(path, {});
  try {
    await io.read(head, 0);
  } finally {
    await io.close();
  }
  const { file } = await BitmapFile.open(nodeFiles, path, decodeHeader(head));
  return file;
}

/** Exactly so many regions are dirty for `node` from now on. Of a file that no daemon has open. */
export async function markDirty(path: string, node: string, count: number): Promise<void> {
  const file = await openBitmap(path);
  const map = file.map(`oos:${node}`);
  map.clearAll();
  for (const r of spreadRegions(count, map.regionCount)) map.set(r);
  await file.close();
}
