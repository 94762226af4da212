/**
 * The two calls on descriptors that node:fs lacks: by fs-ext; where that could not be compiled, or was for another Node, by
 * the native shim; and where there is none either, by what every system has.
 *
 *              fs-ext, native shim     otherwise
 *   tryLock    flock(2)                the program `flock`, on our descriptor: the lock is of the open file, and outlives the program
 *   seek       lseek(2)                a device's size from /sys; nothing is known of holes: EINVAL, as on file systems without
 */
import type * as FsExt from 'fs-ext';
import { spawnSync } from 'node:child_process';
import { fstatSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import { Errno, IoError } from '../types.ts';
import { errnoOf } from './errors.ts';
import { loadShim } from './native-shim.ts';

export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export interface DescriptorCalls {
  /** 0, or the errno; EAGAIN: another descriptor holds the lock. */
  tryLock(fd: number): number;
  /** The position found, or the errno below 0. */
  seek(fd: number, position: number, whence: number): number;
}

/** Its number in the program that locks it. */
const PASSED_FD = 3;
const FLOCK_MAX_MS = 5000;
/** What /sys counts the size of a device in, whatever its sectors. */
const SYS_UNIT_BYTES = 512;

export const plainDescriptors: DescriptorCalls = {
  tryLock(fd) {
    // A closed descriptor's number may be given to the pipe to the program, which would then lock that.
    fstatSync(fd);
    const r = spawnSync('flock', ['-x', '-n', String(PASSED_FD)], {
      stdio: ['ignore', 'ignore', 'pipe', fd],
      timeout: FLOCK_MAX_MS,
      encoding: 'utf8',
    });
    if (r.status === 0) return 0;
    // A conflict is told by 1 and silence.
    if (r.status === 1 && r.stderr === '') return Errno.EAGAIN;
    const why = r.error?.message ?? r.stderr.trim();
    throw new IoError(Errno.EIO, `no lock: there is no native shim, and the program flock, which serves instead, failed: ${why}`);
  },

  seek(fd, _position, whence) {
    const s = fstatSync(fd);
    if (whence !== SEEK_END) return -Errno.EINVAL;
    if (!s.isBlockDevice()) return s.size;
    const bytes = Number.parseInt(readFileSync(`${deviceFolder(s.rdev)}/size`, 'ascii'), 10) * SYS_UNIT_BYTES;
    return Number.isSafeInteger(bytes) && bytes >= 0 ? bytes : -Errno.EIO;
  },
};

/** Where the kernel tells of a block device. */
export function deviceFolder(rdev: number): string {
  const major = (rdev >> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  return `/sys/dev/block/${String(major)}:${String(minor)}`;
}

let loaded: DescriptorCalls | undefined;

export function loadDescriptors(): DescriptorCalls {
  loaded ??= fsExtDescriptors() ?? shimDescriptors() ?? plainDescriptors;
  return loaded;
}

export function shimDescriptors(): DescriptorCalls | undefined {
  const shim = loadShim();
  return shim !== undefined && isDescriptors(shim) ? shim : undefined;
}

function isDescriptors(shim: object): shim is DescriptorCalls {
  return 'tryLock' in shim && 'seek' in shim;
}

/** Undefined where fs-ext is not installed or does not load, and in worker threads, where it aborts. */
export function fsExtDescriptors(): DescriptorCalls | undefined {
  if (!isMainThread) return undefined;
  let fsExt: typeof FsExt;
  try {
    fsExt = createRequire(import.meta.url)('fs-ext') as typeof FsExt;
  } catch (e: unknown) {
    // The package that is absent, and the library that is for another Node, are told as an Error.
    if (e instanceof Error) return undefined;
    throw e;
  }
  return {
    tryLock(fd) {
      try {
        fsExt.flockSync(fd, 'exnb');
        return 0;
      } catch (e: unknown) {
        return thrownErrno(e);
      }
    },
    seek(fd, position, whence) {
      try {
        return fsExt.seekSync(fd, position, whence);
      } catch (e: unknown) {
        return -thrownErrno(e);
      }
    },
  };
}

function thrownErrno(e: unknown): number {
  const errno = errnoOf(e);
  if (errno === undefined) throw e;
  return errno;
}
