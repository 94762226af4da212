/**
 * Where the kernel has no nbd: nbdfuse shows the export as a file, and a loop device makes a disk of the file.
 *
 *   /dev/loopN -> DIR/nbd (FUSE) -> nbdfuse -> NBD over the unix socket
 *
 * With direct I/O on the loop device a sync arrives at the server as one FLUSH and a discard as one TRIM. The steps back
 * go in the opposite order, and each is fine with the next part being dead already.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { DEFAULT_SECTOR_BYTES, loopsBelow } from './block-devices.ts';
import { type Background, run, startBackground } from './command.ts';
import { AttachError, isErrno } from './errors.ts';
import { readMounts } from './mount-table.ts';
import { markName, usersOf } from './processes.ts';
import { waitUntil } from './wait.ts';

export interface FuseMount {
  mountDir: string;
  socketPath: string;
  exportName: string;
  mark: string;
  logPath: string;
  timeoutMs: number;
}

export function exportUri(socketPath: string, exportName: string): string {
  return `nbd+unix:///${encodeURIComponent(exportName)}?socket=${encodeURIComponent(socketPath)}`;
}

async function mounted(mountDir: string): Promise<boolean> {
  return (await readMounts()).some((m) => m.mountPoint === mountDir);
}

/** Shows the export as `mountDir/nbd`. Throws `failed` with what nbdfuse said, or `timeout`; nbdfuse may then still run. */
export async function mountFuse(f: FuseMount): Promise<Background> {
  await mkdir(f.mountDir, { recursive: true, mode: 0o700 });
  const helper = await startBackground('nbdfuse', [f.mountDir, exportUri(f.socketPath, f.exportName)], f.logPath, { [markName]: f.mark });
  const ready = await waitUntil(f.timeoutMs, async () => helper.ended() !== undefined || (await mounted(f.mountDir)));
  const end = helper.ended();
  const where = `${f.mountDir}: nbdfuse for export '${f.exportName}' at ${f.socketPath}`;
  const said = await helper.said();
  if (end !== undefined) throw new AttachError('failed', `${where} ended (${end}): ${said}`);
  if (!ready) throw new AttachError('timeout', `${where} did not connect within ${String(f.timeoutMs)} ms: ${said}`);
  return helper;
}

/** Makes a disk of the export's file; answers `/dev/loopN`. */
export async function makeLoop(mountDir: string, sectorBytes: number, timeoutMs: number): Promise<string> {
  const sectors = sectorBytes === DEFAULT_SECTOR_BYTES ? [] : ['--sector-size', String(sectorBytes)];
  const { stdout } = await run('losetup', ['-f', '--show', '--direct-io=on', ...sectors, `${mountDir}/nbd`], { timeoutMs });
  const device = stdout.trim();
  if (!/^\/dev\/loop\d+$/.test(device)) throw new AttachError('failed', `losetup -f --show ${mountDir}/nbd named no device: '${device}'`);
  return device;
}

/**
 * Lets go of a loop device, which writes out what the kernel still holds for it. The kernel puts this off while anybody has
 * the device open: then `refused`, naming them, and the device goes when they close it.
 */
export async function dropLoop(device: string, mountDir: string, timeoutMs: number): Promise<void> {
  const gone = async (): Promise<boolean> => !(await loopsBelow(mountDir)).includes(device);
  try {
    await run('losetup', ['-d', device], { timeoutMs });
  } catch (e: unknown) {
    if (await gone()) return;
    throw e;
  }
  if (await waitUntil(timeoutMs, gone)) return;
  const users = await usersOf(device, []);
  throw new AttachError(
    'timeout',
    `${device}: still open ${String(timeoutMs)} ms after losetup -d, by ${users.join(', ') || 'nobody that can be seen'}`,
  );
}

/** Takes the FUSE folder away, however often it is mounted; with `lazily` also while something in it is in use. */
export async function unmountFuse(mountDir: string, timeoutMs: number, lazily: boolean): Promise<void> {
  let last: AttachError | undefined;
  const done = await waitUntil(timeoutMs, async () => {
    if (!(await mounted(mountDir))) return true;
    try {
      await run('fusermount3', ['-u', ...(lazily ? ['-z'] : []), mountDir], { timeoutMs });
      last = undefined;
    } catch (e: unknown) {
      if (!(e instanceof AttachError) || e.kind === 'missing-program') throw e;
      last = e;
    }
    return !(await mounted(mountDir));
  });
  if (!done) throw last ?? new AttachError('timeout', `${mountDir}: still mounted ${String(timeoutMs)} ms after fusermount3 -u`);
}

/** Removes the folder, which must be empty by now. */
export async function removeMountDir(mountDir: string): Promise<void> {
  try {
    await rmdir(mountDir);
  } catch (e: unknown) {
    if (!isErrno(e, 'ENOENT')) throw e;
  }
}
