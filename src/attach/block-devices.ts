/**
 * What the kernel says of its block devices, from /sys alone: nothing here opens a device or a file behind one, so that
 * it answers even when whoever serves the device is gone.
 */
import { constants } from 'node:fs';
import { open, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { AttachError, isErrno } from './errors.ts';

/** Where the kernel's tables are; other than the default in tests. */
export interface BlockRoots {
  sysBlockDir: string;
  devDir: string;
}

export const systemRoots: BlockRoots = { sysBlockDir: '/sys/block', devDir: '/dev' };

/** Of loop and nbd devices that nobody says anything else about; the kernel also counts sizes in it. */
export const DEFAULT_SECTOR_BYTES = 512;

async function attribute(roots: BlockRoots, name: string, attr: string): Promise<string | undefined> {
  try {
    return (await readFile(path.join(roots.sysBlockDir, name, attr), 'utf8')).replace(/\n$/, '');
  } catch (e: unknown) {
    // ENXIO and EIO: the device was let go of between looking it up and reading.
    if (isErrno(e, 'ENOENT', 'ENODEV', 'ENXIO', 'EIO', 'ENOTDIR')) return undefined;
    throw e;
  }
}

async function names(roots: BlockRoots, pattern: RegExp): Promise<string[]> {
  try {
    return (await readdir(roots.sysBlockDir)).filter((n) => pattern.test(n)).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT')) return [];
    throw e;
  }
}

/** `major:minor`, as the mount table shows it; undefined for a device that is not there. */
export function deviceNumberOf(device: string, roots: BlockRoots = systemRoots): Promise<string | undefined> {
  return attribute(roots, path.basename(device), 'dev');
}

/** Loop devices with a backing file below the folder: `/dev/loopN`, in order of N. */
export async function loopsBelow(dir: string, roots: BlockRoots = systemRoots): Promise<string[]> {
  const found: string[] = [];
  for (const name of await names(roots, /^loop\d+$/)) {
    const backing = await attribute(roots, name, 'loop/backing_file');
    if (backing?.startsWith(`${dir}/`) === true) found.push(path.join(roots.devDir, name));
  }
  return found;
}

export interface NbdDevice {
  device: string;
  /** The process that holds the connection; undefined for a free device. */
  pid: number | undefined;
  sizeBytes: number;
}

export async function nbdDevices(roots: BlockRoots = systemRoots): Promise<NbdDevice[]> {
  const found: NbdDevice[] = [];
  for (const name of await names(roots, /^nbd\d+$/)) {
    const pid = await attribute(roots, name, 'pid');
    const sectors = await attribute(roots, name, 'size');
    found.push({
      device: path.join(roots.devDir, name),
      pid: pid === undefined ? undefined : Number(pid),
      sizeBytes: Number(sectors ?? '0') * DEFAULT_SECTOR_BYTES,
    });
  }
  return found;
}

/**
 * Throws `refused` when somebody has claimed the device: a mount, also one in another mount namespace, swap, RAID, device
 * mapper. The kernel itself is asked, by opening it exclusively.
 */
export async function refuseWhenClaimed(device: string): Promise<void> {
  try {
    const file = await open(device, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK);
    await file.close();
  } catch (e: unknown) {
    if (isErrno(e, 'EBUSY')) {
      throw new AttachError(
        'refused',
        `${device} is in use: mounted in another namespace, or held as swap, RAID or device mapper; release it there first`,
      );
    }
    if (!isErrno(e, 'ENXIO', 'ENOENT', 'ENODEV', 'EIO')) throw e;
  }
}
