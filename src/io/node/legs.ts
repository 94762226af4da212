/**
 * Legs on node:fs, callback style. Files and block devices; holes by the native shim where there is one.
 *
 *   read, write, sync -> libuv's pool      zero -> fallocate, on the same pool      extents -> lseek, in short rounds
 */
import { close, constants, fdatasync, fstat, ftruncate, open, read, type Stats, write } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { LegDone, LegFile, LegFileInfo, LegOpener } from '../leg-file.ts';
import { Errno, type Extent, IoError, type LegOptions } from '../types.ts';
import { deviceFolder } from './descriptors.ts';
import { errnoOf, toIoError, withIoErrors } from './errors.ts';
import { type Fallocate, loadFallocate } from './fallocate.ts';
import { deviceSizeBytes, seekData, seekHole, tryLockFd } from './fd.ts';

const FILE_BLOCK_BYTES = 512;
const DEVICE_BLOCK_DEFAULT_BYTES = 4096;
/** Seeks made in one call of `extents`, all on the main thread. */
const SEEKS_MAX = 64;

const openFd = promisify(open);
const closeFd = promisify(close);
const statFd = promisify(fstat);
const truncateFd = promisify(ftruncate);

export class NodeLegFile implements LegFile {
  readonly fd: number;
  readonly isDevice: boolean;
  readonly #path: string;
  readonly #info: LegFileInfo;
  readonly #fallocate: Fallocate | undefined;
  /** Turned off by the first ENOTSUP, so that later zeroing does not ask in vain. */
  #canPunch: boolean;
  #canZeroRange: boolean;

  constructor(path: string, fd: number, isDevice: boolean, info: LegFileInfo, fallocate: Fallocate | undefined) {
    this.#path = path;
    this.fd = fd;
    this.isDevice = isDevice;
    this.#info = info;
    this.#fallocate = fallocate;
    this.#canPunch = fallocate !== undefined && (info.sparse || isDevice);
    this.#canZeroRange = fallocate !== undefined;
  }

  info(): LegFileInfo {
    return this.#info;
  }

  read(into: Uint8Array, position: number, done: LegDone): void {
    read(this.fd, into, 0, into.length, position, (e, bytes) => {
      done(numberOf(e), bytes);
    });
  }

  write(from: Uint8Array, position: number, done: LegDone): void {
    write(this.fd, from, 0, from.length, position, (e, bytes) => {
      done(numberOf(e), bytes);
    });
  }

  sync(done: (errno: number) => void): void {
    fdatasync(this.fd, (e) => {
      done(numberOf(e));
    });
  }

  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void {
    const shim = this.#fallocate;
    if (shim === undefined) done(Errno.ENOTSUP);
    else if (mayPunch && this.#canPunch) {
      shim.punch(this.fd, offset, length, (errno) => {
        if (!this.#isRefusal(errno)) done(errno);
        else {
          if (errno === Errno.ENOTSUP) this.#canPunch = false;
          this.#zeroRange(shim, offset, length, done);
        }
      });
    } else this.#zeroRange(shim, offset, length, done);
  }

  #zeroRange(shim: Fallocate, offset: number, length: number, done: (errno: number) => void): void {
    if (!this.#canZeroRange) {
      done(Errno.ENOTSUP);
      return;
    }
    shim.zeroRange(this.fd, offset, length, (errno) => {
      if (errno === Errno.ENOTSUP) this.#canZeroRange = false;
      done(this.#isRefusal(errno) ? Errno.ENOTSUP : errno);
    });
  }

  /**
   * "Not like this", as opposed to a failure. A device refuses ranges that are not whole sectors with EINVAL, and, with kernels before
   * 5.11, those that share a dirty page with a write with EBUSY.
   */
  #isRefusal(errno: number): boolean {
    return errno === Errno.ENOTSUP || (this.isDevice && (errno === Errno.EINVAL || errno === Errno.EBUSY));
  }

  extents(offset: number, length: number, done: (errno: number, extents: Extent[]) => void): void {
    const all = { offset, length, hole: false, zero: false };
    if (this.isDevice) {
      done(0, [all]);
      return;
    }
    let extents: Extent[];
    try {
      extents = this.#seekExtents(offset, length);
    } catch (e: unknown) {
      const errno = errnoOf(e);
      if (errno === undefined) throw e;
      // A file system that cannot seek for holes answers EINVAL or the like: everything is data then.
      if (errno !== Errno.EINVAL && errno !== Errno.ENOTSUP) {
        done(errno, []);
        return;
      }
      extents = [all];
    }
    // In a later turn, so that a long list of extents leaves room for other work in between.
    setImmediate(() => {
      done(0, extents);
    });
  }

  #seekExtents(offset: number, length: number): Extent[] {
    const end = offset + length;
    const extents: Extent[] = [];
    let at = offset;
    const add = (to: number, hole: boolean): void => {
      if (to > at) extents.push({ offset: at, length: to - at, hole, zero: hole });
      at = Math.max(at, to);
    };
    for (let seeks = 0; at < end && seeks < SEEKS_MAX; seeks += 2) {
      const data = seekData(this.fd, at);
      // What lies beyond the end of the file is no hole: reading it is an error, and is left to show.
      if (data === undefined) {
        add(Math.min(end, Math.max(at, this.#info.sizeBytes)), true);
        add(end, false);
        break;
      }
      add(Math.min(end, data), true);
      if (at >= end) break;
      add(Math.min(end, seekHole(this.fd, at) ?? end), false);
    }
    return extents;
  }

  async truncate(sizeBytes: number): Promise<void> {
    if (this.isDevice) throw new IoError(Errno.ENOTSUP, `${this.#path} is a block device: its size cannot be set`);
    await withIoErrors(this.#path, () => truncateFd(this.fd, sizeBytes));
    this.#info.sizeBytes = sizeBytes;
  }

  sizeBytes(): Promise<number> {
    return withIoErrors(this.#path, async () => {
      this.#info.sizeBytes = this.isDevice ? deviceSizeBytes(this.fd) : (await statFd(this.fd)).size;
      return this.#info.sizeBytes;
    });
  }

  close(): Promise<void> {
    return withIoErrors(this.#path, () => closeFd(this.fd));
  }
}

export interface NodeLegOptions {
  /** Undefined: no holes can be made. */
  fallocate: Fallocate | undefined;
}

export function createNodeLegOpener(o: NodeLegOptions = { fallocate: loadFallocate() }): LegOpener {
  return {
    open: (path, options) => openNodeLeg(path, options, o.fallocate),
  };
}

/** Rejects with IoError; EBUSY when `lock` is asked for and somebody holds it. */
export function openNodeLeg(path: string, options: LegOptions, fallocate: Fallocate | undefined): Promise<NodeLegFile> {
  return withIoErrors(path, () => openLeg(path, options, fallocate));
}

async function openLeg(path: string, options: LegOptions, fallocate: Fallocate | undefined): Promise<NodeLegFile> {
  const before = await stat(path);
  if (!before.isFile() && !before.isBlockDevice()) throw new IoError(Errno.EINVAL, `${path} is neither a file nor a block device`);
  let flags = options.write ? constants.O_RDWR : constants.O_RDONLY;
  // The kernel refuses with EBUSY a device that is mounted or in use by another driver.
  if (before.isBlockDevice() && options.lock) flags |= constants.O_EXCL;
  const fd = await openFd(path, flags);
  try {
    const s = await statFd(fd);
    if (options.lock && !tryLockFd(fd)) throw new IoError(Errno.EBUSY, `${path} is in use by another process`);
    const isDevice = s.isBlockDevice();
    const info = isDevice ? await deviceInfo(fd, s) : await fileInfo(fd, s, options.write, fallocate);
    return new NodeLegFile(path, fd, isDevice, info, fallocate);
  } catch (e: unknown) {
    await closeFd(fd);
    throw toIoError(e, path);
  }
}

async function fileInfo(fd: number, s: Stats, writable: boolean, fallocate: Fallocate | undefined): Promise<LegFileInfo> {
  return {
    sizeBytes: s.size,
    blockSizeBytes: FILE_BLOCK_BYTES,
    sparse: writable && fallocate !== undefined && (await canPunch(fd, s.size, fallocate)),
  };
}

/** Tries a hole beyond the end, where there is nothing to lose. */
async function canPunch(fd: number, sizeBytes: number, fallocate: Fallocate): Promise<boolean> {
  const beyond = Math.ceil(sizeBytes / DEVICE_BLOCK_DEFAULT_BYTES) * DEVICE_BLOCK_DEFAULT_BYTES;
  const errno = await new Promise<number>((resolve) => {
    fallocate.punch(fd, beyond, DEVICE_BLOCK_DEFAULT_BYTES, resolve);
  });
  return errno === 0;
}

async function deviceInfo(fd: number, s: Stats): Promise<LegFileInfo> {
  return { sizeBytes: deviceSizeBytes(fd), blockSizeBytes: await deviceBlockBytes(s.rdev), sparse: false };
}

/** A partition has no queue of its own: its disk, one folder up, has. */
async function deviceBlockBytes(rdev: number): Promise<number> {
  const device = deviceFolder(rdev);
  for (const queue of [`${device}/queue`, `${device}/../queue`]) {
    try {
      const bytes = Number.parseInt(await readFile(`${queue}/logical_block_size`, 'ascii'), 10);
      if (bytes >= FILE_BLOCK_BYTES) return bytes;
    } catch (e: unknown) {
      if (errnoOf(e) === undefined) throw e;
    }
  }
  return DEVICE_BLOCK_DEFAULT_BYTES;
}

function numberOf(e: NodeJS.ErrnoException | null): number {
  if (e === null) return 0;
  const errno = errnoOf(e);
  if (errno === undefined) throw e;
  return errno;
}
