/**
 * A filesystem on an attached device: made only when asked and only on an empty device, checked, mounted, unmounted.
 */
import { mkdir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { deviceNumberOf } from './block-devices.ts';
import { oneLine, run } from './command.ts';
import { AttachError, isErrno } from './errors.ts';
import { mountsOf, readMounts } from './mount-table.ts';
import { usersOf } from './processes.ts';

export type FilesystemType = 'ext4' | 'xfs';

export interface MountOptions {
  device: string;
  /** Where to mount; made when it does not exist. */
  dir: string;
  /** Make this filesystem first; refused when the device holds one, or any other signature, already. */
  mkfs?: FilesystemType;
  /** With `mkfs`: overwrite whatever the device holds. */
  force?: boolean;
  /** Check the filesystem before it is mounted, and repair what is safe to repair (ext4). */
  check?: boolean;
  /** `mount -o`. */
  options?: string;
  /** For mounting and looking; making and checking have `longTimeoutMs`. */
  timeoutMs?: number;
  longTimeoutMs?: number;
}

const shortTimeoutMs = 60_000;
const checkTimeoutMs = 3_600_000;

/** Makes or checks the filesystem as asked, and mounts it. Nothing to do when the device is mounted there already. */
export async function mountFilesystem(o: MountOptions): Promise<{ type: string; mountPoint: string }> {
  const timeoutMs = o.timeoutMs ?? shortTimeoutMs;
  const longTimeoutMs = o.longTimeoutMs ?? checkTimeoutMs;
  await requireBlockDevice(o.device);
  await mkdir(o.dir, { recursive: true });
  const mountPoint = await realpath(o.dir);
  const mounts = await readMounts();
  const [existing] = mountsOf(mounts, o.device, await deviceNumberOf(o.device));
  if (existing !== undefined) {
    if (existing.mountPoint === mountPoint && o.mkfs === undefined) return { type: existing.type, mountPoint };
    throw new AttachError('refused', `${o.device} is mounted on ${existing.mountPoint} already; unmount it first`);
  }
  const other = mounts.findLast((m) => m.mountPoint === mountPoint);
  if (other !== undefined) throw new AttachError('refused', `${mountPoint}: ${other.source} (${other.type}) is mounted there; choose another folder`);

  if (o.mkfs !== undefined) await makeFilesystem(o.device, o.mkfs, o.force === true, timeoutMs, longTimeoutMs);
  const type = await filesystemType(o.device, timeoutMs);
  if (type === undefined) throw new AttachError('refused', `${o.device} holds no filesystem; ask for one to be made: ext4 or xfs`);
  const mount = (): Promise<unknown> =>
    run('mount', ['-t', type, ...(o.options === undefined ? [] : ['-o', o.options]), o.device, mountPoint], { timeoutMs });
  if (o.check === true) {
    const settle = async (): Promise<void> => {
      await mount();
      await unmount({ dir: mountPoint, timeoutMs });
    };
    await checkFilesystem(o.device, type, longTimeoutMs, settle);
  }
  await mount();
  return { type, mountPoint };
}

async function requireBlockDevice(device: string): Promise<void> {
  try {
    if ((await stat(device)).isBlockDevice()) return;
  } catch (e: unknown) {
    if (!isErrno(e, 'ENOENT', 'ENOTDIR')) throw e;
  }
  throw new AttachError('invalid', `${device} is no block device; allowed: the device that attaching answered, such as /dev/nbd0 or /dev/loop0`);
}

/** The type's name as mount knows it; undefined for a device without a filesystem. */
export async function filesystemType(device: string, timeoutMs: number): Promise<string | undefined> {
  // blkid answers 2 for "nothing found".
  const { stdout } = await run('blkid', ['-p', '-s', 'TYPE', '-o', 'value', device], { timeoutMs, accept: [2] });
  const type = stdout.trim();
  return type === '' ? undefined : type;
}

/** What the device holds, as wipefs names it (filesystems, partition tables, RAID, LVM); empty for a blank device. */
export async function signaturesOn(device: string, timeoutMs: number): Promise<string[]> {
  const { stdout } = await run('wipefs', ['--noheadings', '--output', 'TYPE', device], { timeoutMs });
  return [...new Set(stdout.split('\n').map((l) => l.trim()))].filter((l) => l !== '');
}

async function makeFilesystem(device: string, type: FilesystemType, force: boolean, timeoutMs: number, longTimeoutMs: number): Promise<void> {
  const held = await signaturesOn(device, timeoutMs);
  if (held.length > 0 && !force) {
    throw new AttachError(
      'refused',
      `${device} holds data already (${held.join(', ')}): no ${type} is made on it; mount it as it is, or ask with force`,
    );
  }
  const args = type === 'ext4' ? ['-q', '-F'] : ['-q', '-f'];
  await run(`mkfs.${type}`, [...args, device], { timeoutMs: longTimeoutMs });
}

/** e2fsck: 1 is "errors corrected"; 2 would ask to reboot, for a mounted root; from 4 on errors are left. */
const e2fsckCorrected = 1;
/** Printed, whatever the status, when the log must be replayed by a mount before a check means anything. */
const xfsLogNotReplayed = /valuable metadata changes in a log/;

async function checkFilesystem(device: string, type: string, timeoutMs: number, settle: () => Promise<void>): Promise<void> {
  if (/^ext[234]$/.test(type)) {
    const r = await run('e2fsck', ['-p', device], { timeoutMs, accept: [e2fsckCorrected, 2, 4, 5, 6, 7, 8, 12] });
    if (r.status > e2fsckCorrected) {
      throw new AttachError(
        'failed',
        `${device}: e2fsck -p left errors (status ${String(r.status)}): ${oneLine(r.stdout + r.stderr)}; run e2fsck by hand`,
      );
    }
    return;
  }
  if (type === 'xfs') {
    const ask = () => run('xfs_repair', ['-n', device], { timeoutMs, accept: [1, 2] });
    let r = await ask();
    if (xfsLogNotReplayed.test(r.stdout + r.stderr)) {
      await settle();
      r = await ask();
    }
    if (r.status !== 0) {
      throw new AttachError(
        'failed',
        `${device}: xfs_repair -n found damage (status ${String(r.status)}): ${oneLine(r.stderr)}; run xfs_repair by hand`,
      );
    }
    return;
  }
  throw new AttachError('invalid', `${device} holds ${type}, which is not checked here; allowed: ext2, ext3, ext4, xfs`);
}

/** Unmounts a folder; fine when nothing is mounted there. `refused`, naming who, while something in it is in use. */
export async function unmount(o: { dir: string; timeoutMs?: number }): Promise<{ wasMounted: boolean }> {
  const wanted = path.resolve(o.dir);
  const real = await realpath(wanted).catch((e: unknown) => {
    // A mount whose server is gone may answer EIO even to this; then the name must do.
    if (isErrno(e, 'ENOENT', 'EIO', 'ENOTCONN', 'ESHUTDOWN')) return wanted;
    throw e;
  });
  const found = (await readMounts()).some((m) => m.mountPoint === real);
  if (!found) return { wasMounted: false };
  try {
    await run('umount', [real], { timeoutMs: o.timeoutMs ?? shortTimeoutMs });
  } catch (e: unknown) {
    if (!(e instanceof AttachError) || !e.message.includes('busy')) throw e;
    const users = await usersOf(real, []);
    throw new AttachError('refused', `${real} is in use by ${users.join(', ') || 'something that can not be seen'}; it stays mounted`);
  }
  return { wasMounted: true };
}
