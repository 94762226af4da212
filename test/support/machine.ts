/** What tests need of the machine besides programs: root, loop devices, small file systems, memory. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Cleanup } from './cleanup.ts';
import { findProgram, run, runOk } from './programs.ts';

/** What keeps this machine from giving a test block devices; undefined: nothing. Said aloud by `testOnMachine`. */
export function lackingForDevices(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  for (const file of ['/dev/fuse', '/dev/loop-control']) if (!existsSync(file)) return file;
  for (const program of ['nbdfuse', 'fusermount3', 'losetup']) if (findProgram(program) === undefined) return program;
  return undefined;
}

export function kernelHas(filesystem: string): boolean {
  return readFileSync('/proc/filesystems', 'utf8')
    .split('\n')
    .some((l) => l.endsWith(`\t${filesystem}`));
}

/** A block device over a file, and what the kernel counts of it. */
export class LoopDevice {
  readonly device: string;
  readonly file: string;

  private constructor(device: string, file: string) {
    this.device = device;
    this.file = file;
  }

  static async make(file: string, cleanup: Cleanup, sectorBytes = 512): Promise<LoopDevice> {
    const device = (await runOk('losetup', ['-f', '--show', '--sector-size', String(sectorBytes), file])).trim();
    cleanup.add(`losetup -d ${device}`, async () => {
      await runOk('losetup', ['-d', device]);
    });
    return new LoopDevice(device, file);
  }

  /** Requests that the device has completed: fields 12 and 16 of the kernel's Documentation/admin-guide/iostats. */
  counts(): { discards: number; flushes: number } {
    const fields = readFileSync(`/sys/block/${path.basename(this.device)}/stat`, 'utf8')
      .trim()
      .split(/\s+/)
      .map(Number);
    const [discards, flushes] = [fields[11], fields[15]];
    if (discards === undefined || flushes === undefined) throw new Error(`this kernel counts no flushes of ${this.device}`);
    return { discards, flushes };
  }
}

/** A file system of at most so many bytes. Unmounted by `cleanup`. */
export async function smallFilesystem(folder: string, sizeBytes: number, cleanup: Cleanup): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await runOk('mount', ['-t', 'tmpfs', '-o', `size=${String(sizeBytes)}`, 'netraid-test', folder]);
  cleanup.add(`umount ${folder}`, async () => {
    await runOk('umount', [folder]);
  });
}

export async function growFilesystem(folder: string, sizeBytes: number): Promise<void> {
  await runOk('mount', ['-o', `remount,size=${String(sizeBytes)}`, folder]);
}

/** Fails with the first place where two legs differ. */
export async function expectIdentical(legs: readonly string[]): Promise<void> {
  const [first, ...others] = legs;
  if (first === undefined || others.length === 0) throw new Error('two legs are needed to compare');
  for (const other of others) {
    // By holes, so that a large sparse leg takes no longer than its data.
    const r = await run('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', '-U', first, other], { timeoutMs: 120_000 });
    if (r.code !== 0) throw new Error(`${first} and ${other} differ: ${r.stdout}${r.stderr}`);
  }
}
