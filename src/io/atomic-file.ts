/** Files that are old or new, never in between (M13). */
import { dirname } from 'node:path';
import { Errno, type Files, IoError, type IoFile } from './types.ts';

/**
 * Replaces `path` with `bytes`, durably: write PATH.tmp, fsync, rename, fsync of the folder. Rejects with IoError, and then
 * the old content is still there — unless the folder's fsync failed, when either may be found after a crash. One call at a
 * time for a path. `private`: the new file is readable by its owner alone, whatever the old one was.
 */
export async function replaceFile(files: Files, path: string, bytes: Uint8Array, o: { private?: boolean } = {}): Promise<void> {
  const temporary = `${path}.tmp`;
  const secret = o.private === true;
  // A leftover would keep its mode, and whoever has it open would read on.
  if (secret) await removeIfThere(files, temporary);
  try {
    const file = await files.open(temporary, secret ? { write: true, create: true, exclusive: true, private: true } : { write: true, create: true });
    try {
      await file.truncate(0);
      await writeAll(file, temporary, bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await files.rename(temporary, path);
  } catch (e: unknown) {
    await removeIfThere(files, temporary);
    throw e;
  }
  await files.syncDirectory(dirname(path));
}

/** All of `bytes` from `position`; a write that moves nothing is EIO. */
export async function writeAll(file: IoFile, name: string, bytes: Uint8Array, position = 0): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const n = await file.write(bytes.subarray(at), position + at);
    if (n <= 0) throw new IoError(Errno.EIO, `${name}: nothing could be written`);
    at += n;
  }
}

/** Rejects with IoError where it can not be told. */
export async function exists(files: Files, path: string): Promise<boolean> {
  try {
    await files.stat(path);
    return true;
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) return false;
    throw e;
  }
}

/** For ways out of a failure that is being reported already, and before something that fails by itself where the file still is. */
export async function removeIfThere(files: Files, path: string): Promise<void> {
  try {
    await files.unlink(path);
  } catch (e: unknown) {
    if (!(e instanceof IoError)) throw e;
  }
}
