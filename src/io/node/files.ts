/** Files of the control plane: promises, and every error an IoError. */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, stat, statfs, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Errno, type Files, type FileStat, IoError, type IoFile, type OpenOptions } from '../types.ts';
import { withIoErrors } from './errors.ts';
import { deviceSizeBytes, tryLockFd } from './fd.ts';

const MODE = 0o644;
const PRIVATE_MODE = 0o600;
const READ_STEP_BYTES = 64 * 1024;

/** ext2 to ext4, XFS, Btrfs, F2FS, tmpfs, ZFS: what is written by O_DSYNC is as durable there as after fsync. Of others (FUSE, 9p) nobody here knows. */
const HONOUR_DSYNC: readonly number[] = [0xef53, 0x58465342, 0x9123683e, 0xf2f52010, 0x01021994, 0x2fc12fc1];

async function honoursDsync(path: string): Promise<boolean> {
  const { type } = await statfs(dirname(path));
  return HONOUR_DSYNC.includes(type);
}

class NodeFile implements IoFile {
  readonly synced: boolean;
  readonly #path: string;
  readonly #handle: FileHandle;
  #closed = false;

  constructor(path: string, handle: FileHandle, synced: boolean) {
    this.synced = synced;
    this.#path = path;
    this.#handle = handle;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return withIoErrors(this.#path, async () => (await this.#handle.read(into, 0, into.length, position)).bytesRead);
  }

  write(from: Uint8Array, position: number): Promise<number> {
    return withIoErrors(this.#path, async () => (await this.#handle.write(from, 0, from.length, position)).bytesWritten);
  }

  sync(): Promise<void> {
    return withIoErrors(this.#path, () => this.#handle.sync());
  }

  truncate(sizeBytes: number): Promise<void> {
    return withIoErrors(this.#path, () => this.#handle.truncate(sizeBytes));
  }

  sizeBytes(): Promise<number> {
    return withIoErrors(this.#path, async () => {
      const s = await this.#handle.stat();
      return s.isBlockDevice() ? deviceSizeBytes(this.#handle.fd) : s.size;
    });
  }

  tryLock(): Promise<boolean> {
    return withIoErrors(this.#path, () => Promise.resolve(tryLockFd(this.#handle.fd)));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await withIoErrors(this.#path, () => this.#handle.close());
  }
}

export const nodeFiles: Files = {
  open(path: string, o: OpenOptions): Promise<IoFile> {
    return withIoErrors(path, async () => {
      const synced = o.synced === true && o.write === true && (await honoursDsync(path));
      let flags = o.write === true ? constants.O_RDWR : constants.O_RDONLY;
      if (o.create === true) flags |= constants.O_CREAT;
      if (o.create === true && o.exclusive === true) flags |= constants.O_EXCL;
      if (synced) flags |= constants.O_DSYNC;
      return new NodeFile(path, await open(path, flags, o.private === true ? PRIVATE_MODE : MODE), synced);
    });
  },

  readFile(path: string, maxBytes: number): Promise<Uint8Array> {
    return withIoErrors(path, async () => {
      const file = await open(path, constants.O_RDONLY);
      try {
        return await readAll(file, path, maxBytes);
      } finally {
        await file.close();
      }
    });
  },

  list(path: string): Promise<string[]> {
    return withIoErrors(path, async () => (await readdir(path)).sort());
  },

  stat(path: string): Promise<FileStat> {
    return withIoErrors(path, async () => {
      const s = await stat(path);
      if (s.isFile()) return { kind: 'file', sizeBytes: s.size };
      if (s.isDirectory()) return { kind: 'directory', sizeBytes: s.size };
      if (!s.isBlockDevice()) return { kind: 'other', sizeBytes: 0 };
      const device = await open(path, constants.O_RDONLY);
      try {
        return { kind: 'block', sizeBytes: deviceSizeBytes(device.fd) };
      } finally {
        await device.close();
      }
    });
  },

  async mkdir(path: string): Promise<void> {
    await withIoErrors(path, () => mkdir(path, { recursive: true }));
  },

  rename(from: string, to: string): Promise<void> {
    return withIoErrors(from, () => rename(from, to));
  },

  unlink(path: string): Promise<void> {
    return withIoErrors(path, () => unlink(path));
  },

  syncDirectory(path: string): Promise<void> {
    return withIoErrors(path, async () => {
      const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
  },
};

async function readAll(file: FileHandle, path: string, maxBytes: number): Promise<Uint8Array> {
  const { size } = await file.stat();
  // One byte more than expected, so that the end is seen without another round; files in /proc and /sys claim no size.
  let bytes = new Uint8Array(Math.min(Math.max(size, READ_STEP_BYTES), maxBytes) + 1);
  let fill = 0;
  for (;;) {
    const { bytesRead } = await file.read(bytes, fill, bytes.length - fill, fill);
    fill += bytesRead;
    if (fill > maxBytes) throw new IoError(Errno.EFBIG, `${path} is longer than ${String(maxBytes)} bytes`);
    if (bytesRead === 0) return bytes.slice(0, fill);
    if (fill === bytes.length) {
      const bigger = new Uint8Array(Math.min(bytes.length * 2, maxBytes + 1));
      bigger.set(bytes);
      bytes = bigger;
    }
  }
}
