/**
 * What node:fs cannot do with a descriptor: locks, and seeking for sizes, data and holes. Only short calls that do not
 * block. Seeking moves the file offset, which nobody uses.
 */
import { Errno, IoError } from '../types.ts';
import { loadDescriptors, SEEK_DATA, SEEK_END, SEEK_HOLE } from './descriptors.ts';

/** No data, or no hole, from there to the end. */
const ENXIO = 6;

/** False when another descriptor holds the lock. */
export function tryLockFd(fd: number, calls = loadDescriptors()): boolean {
  const errno = calls.tryLock(fd);
  if (errno !== 0 && errno !== Errno.EAGAIN) throw new IoError(errno, 'flock');
  return errno === 0;
}

export function deviceSizeBytes(fd: number, calls = loadDescriptors()): number {
  const found = calls.seek(fd, 0, SEEK_END);
  if (found < 0) throw new IoError(-found, 'lseek');
  return found;
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
  const found = loadDescriptors().seek(fd, position, whence);
  if (found >= 0) return found;
  if (found === -ENXIO) return undefined;
  throw new IoError(-found, 'lseek');
}
