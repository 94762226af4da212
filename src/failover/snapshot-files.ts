/** Files of snapshots: what they are called, made and removed. They mean nothing to a later life of the daemon. */
import { join } from 'node:path';
import type { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import { Errno, type Files, IoError, type LegId } from '../io/types.ts';
import { isName, nodePaths, snapshotName } from './paths.ts';

/** A sparse file of zeroes, for its owner alone, whose name is durable. Rejects with IoError. */
export async function makeSnapshotFile(files: Files, hub: EngineHub, path: string, folder: string, sizeBytes: number): Promise<LegId> {
  await files.mkdir(folder);
  const file = await files.open(path, { write: true, create: true, exclusive: true, private: true });
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  await files.syncDirectory(folder);
  return (await hub.engine.openLeg(path, { write: true, lock: true })).leg;
}

/** The room is given back at once, also while something is still under way on it. Rejects with IoError. */
export async function removeSnapshotFile(files: Files, path: string): Promise<void> {
  try {
    await files.unlink(path);
  } catch (e: unknown) {
    if (!(e instanceof IoError && e.errno === Errno.ENOENT)) throw e;
  }
}

/** Those of an earlier life; anything else in the folder stays. A file that can't be removed is told of, and is no reason not to start. */
export async function removeOldSnapshots(files: Files, root: string, log: Log): Promise<void> {
  const folder = nodePaths(root).snapshots;
  let names: string[];
  try {
    names = await files.list(folder);
  } catch (e: unknown) {
    if (!(e instanceof IoError)) throw e;
    if (e.errno !== Errno.ENOENT) log.warn('snapshots of an earlier life can not be looked for', { folder, error: e.message });
    return;
  }
  for (const name of names) {
    const [tag = '', snapshot = '', ...more] = name.split('@');
    if (more.length > 0 || !isName(tag) || !isName(snapshot) || snapshotName(tag, snapshot) !== name) continue;
    const path = join(folder, name);
    try {
      await removeSnapshotFile(files, path);
      log.info('a snapshot of an earlier life is removed', { path });
    } catch (e: unknown) {
      log.warn('a snapshot of an earlier life can not be removed', { path, error: String(e) });
    }
  }
}
