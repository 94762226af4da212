/** Names of checkpoints' maps in a bitmap file (FORMAT.md). */
import type { BitmapFile } from './bitmap-file.ts';

const CHECKPOINT = 'checkpoint:';

export function checkpointMap(name: string): string {
  return `${CHECKPOINT}${name}`;
}

/** Names of the checkpoints of which the file has a map, sorted. */
export function checkpointsIn(file: BitmapFile): string[] {
  return file.mapNames.filter((n) => n.startsWith(CHECKPOINT)).map((n) => n.slice(CHECKPOINT.length));
}

/** From that region on all counts as written since each of them. */
export function markCheckpointsFrom(file: BitmapFile, firstRegion: number): void {
  for (const name of checkpointsIn(file)) {
    const map = file.map(checkpointMap(name));
    map.setRange(firstRegion, map.regionCount - 1);
  }
}

/**
 * What was being written when the last life ended counts as written since each checkpoint: its own mark may not have become durable, and
 * what had not been synced may be as it was before (M1). The intent marks that say so leave the file with the same flush that has these, or later.
 */
export function markCheckpointsWritten(file: BitmapFile): void {
  for (const name of checkpointsIn(file)) file.map(checkpointMap(name)).or(file.map('intent'));
}
