/** How large a mirror is when nobody says: as its first leg, in whole sectors. */
import { Errno, type Files, IoError } from '../io/types.ts';
import { ControlError } from './types.ts';

/** Throws ControlError for what can be no leg. */
export async function sizeOfLeg(files: Files, leg: string): Promise<number> {
  try {
    const { kind, sizeBytes } = await files.stat(leg);
    if (kind !== 'file' && kind !== 'block')
      throw new ControlError('bad-request', `${leg} is ${kind === 'directory' ? 'a directory' : 'neither'}; a leg is a file or a block device`);
    return sizeBytes - (sizeBytes % 512);
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT)
      throw new ControlError('bad-request', `${leg} does not exist; give a size to make a file there`);
    throw e;
  }
}
