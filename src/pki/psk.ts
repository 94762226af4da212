/** Files of pre-shared keys, as GnuTLS's psktool writes them: a line `USER:` and the key in hex for each user. */
import { replaceFile } from '../io/atomic-file.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import { readIfThere, withLock } from './disk.ts';
import { PkiError, type PkiWorld } from './types.ts';

const KEY_BYTES = 32;
const FILE_MAX_BYTES = 1024 * 1024;
const LINE = /^([^:]+):(?:[0-9A-Fa-f]{2})+$/;

/**
 * Gives `user` a key of 32 random bytes in `path`, which is made where it is absent, and is readable by its owner alone from then on.
 * Throws PkiError when the user has one, or the file holds anything else, and then it has not changed.
 */
export async function addPreSharedKey(w: PkiWorld, path: string, user: string): Promise<void> {
  const { files, crypto } = w;
  await usersOf(files, path);
  await withLock(files, `${path}.lock`, async () => {
    const { text, users } = await usersOf(files, path);
    if (users.includes(user)) throw new PkiError(`${user} has a key in ${path} already`);
    const key = Buffer.from(crypto.getRandomValues(new Uint8Array(KEY_BYTES))).toString('hex');
    const gap = text === '' || text.endsWith('\n') ? '' : '\n';
    await replaceFile(files, path, Buffer.from(`${text}${gap}${user}:${key}\n`, 'latin1'), { private: true });
  });
}

/** Throws PkiError when it is not a file of keys. */
async function usersOf(files: Files, path: string): Promise<{ text: string; users: string[] }> {
  await requireFile(files, path);
  const bytes = await readIfThere(files, path, FILE_MAX_BYTES);
  const text = Buffer.from(bytes ?? []).toString('latin1');
  const users = text.split('\n').flatMap((line, i) => {
    if (line === '') return [];
    const user = LINE.exec(line)?.[1];
    if (user === undefined) throw new PkiError(`${path} is no file of keys: line ${String(i + 1)} is not USER:HEX; it is left alone`);
    return [user];
  });
  return { text, users };
}

/** A device would be replaced by a file, and so would a pipe. */
async function requireFile(files: Files, path: string): Promise<void> {
  try {
    if ((await files.stat(path)).kind !== 'file') throw new PkiError(`${path} is no file`);
  } catch (e: unknown) {
    if (!(e instanceof IoError && e.errno === Errno.ENOENT)) throw e;
  }
}
