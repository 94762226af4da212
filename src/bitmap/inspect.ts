/**
 * What a bitmap file says, for people: counts each map, and opens the file for reading only, so that it may be asked of a
 * file that a daemon is using or that nobody dares to touch.
 */
import type { Files } from '../io/types.ts';
import { closeAfter, openExisting } from './file-steps.ts';
import { type Loaded, load } from './load.ts';
import { RegionMap } from './regions.ts';
import type { BitmapMeta } from './sector.ts';

export interface BitmapReport {
  meta: BitmapMeta;
  regionCount: number;
  maps: { name: string; dirtyRegions: number; dirtyBytes: number }[];
  /** Sectors missing of a flush that was never acknowledged. */
  torn: number;
  /** Closed by its last session, and nothing flushed since. */
  clean: boolean;
  baseSectors: number;
  journalSectors: number;
}

/** What a file says, for people; opens it for reading only. DamagedBitmapError as `open`. */
export async function inspect(files: Files, path: string): Promise<BitmapReport> {
  const io = await openExisting(files, path, false);
  let loaded: Loaded;
  try {
    loaded = await load(io);
  } catch (e: unknown) {
    await closeAfter(io, e);
    throw e;
  }
  await io.close();
  const { header, content, torn, journalSectors } = loaded;
  const { version, createId, deviceBytes, regionBytes, baseSectors } = header;
  const regions = new RegionMap(header);
  const maps = [...content.maps].map(([name, map]) => ({ name, dirtyRegions: map.count, dirtyBytes: map.dirtyBytes(regions) }));
  maps.sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    meta: { version, createId, deviceBytes, regionBytes, generation: content.generation },
    regionCount: regions.regionCount,
    maps,
    torn,
    clean: header.closed && journalSectors === 0,
    baseSectors,
    journalSectors,
  };
}
