/**
 * What node:fs cannot do with a descriptor: locks, and seeking for sizes, data and holes. Only short calls that do not
 * block, on the main thread (in a worker thread the library aborts). Seeking moves the file offset, which nobody uses.
 */
import { flockSync, seekSync } from 'fs-ext';
import { Errno } from '../types.ts';
import { errnoOf } from './errors.ts';

const SEEK_END = 2;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** No data, or no hole, from there to the end. */
const ENXIO = 6;

/** False when another descriptor holds the lock. */
export function tryLockFd(fd: number): boolean {
  try {
    flockSync(fd, 'exnb');
    return true;
  } catch (e: unknown) {
    if (errnoOf(e) === Errno.EAGAIN) return false;
    throw e;
  }
}

export function deviceSizeBytes(fd: number): number {
  return seekSync(fd, 0, SEEK_END);
}

/** Where data begins at or after `position`; undefined: none up to the end of the file. */
export function seekData(fd: number, position: number): number | undefined {
  return seek(fd, position, SEEK_DATA);
}

/** Where a hole begins at or after `position`; the end of the file counts as one. Undefined: `position` is beyond the end. */
export function seekHole(fd: number, position: number): number | undefined {
  return seek(fd, position, SEEK_HOLE);
}

function seek(fd: number, position: number, whence: number): number | undefined {
  try {
    return seekSync(fd, position, whence);
  } catch (e: unknown) {
    if (errnoOf(e) === ENXIO) return undefined;
    throw e;
  }
}
