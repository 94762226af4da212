/** How the CA reads and writes: bounded, durable, one at a time. */
import { dirname } from 'node:path';
import { exists, removeIfThere, replaceFile } from '../io/atomic-file.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import { PkiError } from './types.ts';

export const CERTIFICATE_MAX_BYTES = 64 * 1024;

/** A file to be written, complete. */
export interface NewFile {
  path: string;
  bytes: Uint8Array;
  /** Readable by its owner alone. */
  private?: boolean;
}

/** Undefined when there is none. */
export async function readIfThere(files: Files, path: string, maxBytes = CERTIFICATE_MAX_BYTES): Promise<Uint8Array | undefined> {
  try {
    return await files.readFile(path, maxBytes);
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) return undefined;
    throw e;
  }
}

/** With its parents; its name is durable. */
export async function makeFolder(files: Files, folder: string): Promise<void> {
  if (await exists(files, folder)) return;
  await files.mkdir(folder);
  await files.syncDirectory(dirname(folder));
}

/** Writes files that are not there yet, in this order; when one fails, those before it are removed again. */
export async function writeNewFiles(files: Files, all: readonly NewFile[]): Promise<void> {
  const written: string[] = [];
  try {
    for (const { path, bytes, ...how } of all) {
      if (await exists(files, path)) throw new PkiError(`${path} exists already; it is left alone`);
      written.push(path);
      await replaceFile(files, path, bytes, how);
    }
  } catch (e: unknown) {
    for (const path of written) await removeIfThere(files, path);
    throw e;
  }
}

/** Runs `work` while nobody else does for the same lock file, which stays behind, empty. Throws PkiError when somebody does. */
export async function withLock<T>(files: Files, path: string, work: () => Promise<T>): Promise<T> {
  const file = await files.open(path, { write: true, create: true, private: true });
  try {
    if (!(await file.tryLock())) throw new PkiError(`another netraid pki is at work: it holds ${path}`);
    return await work();
  } finally {
    await file.close();
  }
}
