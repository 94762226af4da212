/**
 * What is mounted where, from /proc/self/mountinfo: reading it never touches a filesystem, so that it answers even when
 * the server below a mount is gone.
 */
import { readFile } from 'node:fs/promises';

export interface Mount {
  /** `major:minor` of the filesystem's device. */
  deviceNumber: string;
  mountPoint: string;
  type: string;
  /** The device's path as it was given, or what stands for it. */
  source: string;
}

/** proc(5) writes space, tab, newline and backslash as three octal digits. */
function unescape(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Lines as proc(5) gives them: id parent major:minor root mountpoint options [optional…] - type source options. */
export function parseMountTable(text: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-', 6);
    const [, , deviceNumber, , mountPoint] = fields;
    const type = fields[dash + 1];
    const source = fields[dash + 2];
    if (dash < 0 || deviceNumber === undefined || mountPoint === undefined || type === undefined || source === undefined) continue;
    mounts.push({ deviceNumber, mountPoint: unescape(mountPoint), type, source: unescape(source) });
  }
  return mounts;
}

/** In the order in which they were mounted. */
export async function readMounts(): Promise<Mount[]> {
  return parseMountTable(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** Mounts of a block device, by its number or its path. */
export function mountsOf(mounts: readonly Mount[], device: string, deviceNumber: string | undefined): Mount[] {
  return mounts.filter((m) => m.source === device || m.deviceNumber === deviceNumber);
}
