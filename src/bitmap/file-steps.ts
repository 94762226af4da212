/**
 * Steps with files that the bitmap file is made of: opening what must exist, writing to the last byte, and putting a new
 * file in the place of an old one so that a crash leaves one of the two, whole (M13).
 */
import { dirname } from 'node:path';
import { Errno, type Files, IoError, type IoFile } from '../io/types.ts';
import { DamagedBitmapError } from './sector.ts';

const NO_ROOM: readonly number[] = [Errno.ENOSPC, Errno.EFBIG, Errno.EDQUOT];

/** A new file could not take the old one's place; `renamed`: perhaps it did. `cause` says why. */
export class ReplaceFailed extends Error {
  readonly renamed: boolean;
  constructor(renamed: boolean, cause: unknown) {
    super('the bitmap file could not be replaced', { cause });
    this.name = 'ReplaceFailed';
    this.renamed = renamed;
  }
}

/**
 * Write beside, fsync, rename, fsync of the folder; the new file, open, and how many of `zeroBytes` behind the content there was room for.
 * Throws ReplaceFailed.
 */
export async function replaceFile(
  files: Files,
  path: string,
  content: Uint8Array,
  zeroBytes = 0,
): Promise<{ readonly file: IoFile; readonly zeroBytes: number }> {
  const temporary = `${path}.tmp`;
  let file: IoFile | undefined;
  let renamed = false;
  try {
    file = await files.open(temporary, { write: true, create: true, synced: true });
    await file.truncate(0);
    const written = await writeAtLeast(file, zeroBytes > 0 ? Buffer.concat([content], content.length + zeroBytes) : content, 0, content.length);
    const full = written < content.length + zeroBytes;
    // A full disk needs the room back.
    if (full) await file.truncate(content.length);
    await file.sync();
    renamed = true;
    await files.rename(temporary, path);
    await files.syncDirectory(dirname(path));
    return { file, zeroBytes: full ? 0 : zeroBytes };
  } catch (e: unknown) {
    if (file !== undefined) {
      await closeAfter(file, e);
      // A full disk needs the room back.
      if (!renamed) await afterwards(e, 'removing the new file', () => files.unlink(temporary));
    }
    throw new ReplaceFailed(renamed, e);
  }
}

/** DamagedBitmapError when it is absent or can not be read: nothing is silently made anew (M13). */
export async function openExisting(files: Files, path: string, write: boolean): Promise<IoFile> {
  try {
    return await files.open(path, { write, synced: true });
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) throw new DamagedBitmapError('missing', `${path} is not there`);
    if (e instanceof IoError && e.errno === Errno.EIO) throw new DamagedBitmapError('unreadable', `${path} can not be opened: ${e.message}`);
    throw e;
  }
}

/** Closes a file whose content no longer matters; a `failure` that will be reported says so if closing fails as well. */
export async function closeAfter(file: IoFile, failure: unknown): Promise<void> {
  await afterwards(failure, 'closing', () => file.close());
}

async function afterwards(failure: unknown, what: string, step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (e: unknown) {
    if (failure instanceof Error) failure.message += `; ${what} failed too: ${String(e)}`;
  }
}

/** Writes on after a short write; throws when the file takes no more and has not taken `enough`. Bytes written. */
export async function writeAtLeast(file: IoFile, bytes: Uint8Array, position: number, enough: number): Promise<number> {
  let done = 0;
  while (done < bytes.length) {
    try {
      const n = await file.write(done === 0 ? bytes : bytes.subarray(done), position + done);
      if (n === 0) throw new IoError(Errno.EIO, 'the file takes no more bytes');
      done += n;
    } catch (e: unknown) {
      if (done >= enough && e instanceof IoError && NO_ROOM.includes(e.errno)) return done;
      throw e;
    }
  }
  return done;
}
