/** Superblocks that the filesystems' own programs made: what is recognised, and how far it reaches. */
import { closeSync, openSync, readSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { FILESYSTEM_HEAD_BYTES, filesystemOf } from '../../src/control/filesystem-size.ts';
import { runOk, temporaryFolder, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const folder = temporaryFolder();

function image(name: string, sizeBytes: number): string {
  const file = path.join(folder, name);
  writeFileSync(file, '');
  truncateSync(file, sizeBytes);
  return file;
}

function found(file: string): ReturnType<typeof filesystemOf> {
  const bytes = new Uint8Array(FILESYSTEM_HEAD_BYTES);
  const fd = openSync(file, 'r');
  try {
    return filesystemOf(bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0)));
  } finally {
    closeSync(fd);
  }
}

describe('what mkfs makes', () => {
  testWith(['mke2fs', 'resize2fs'], 'ext2, ext3 and ext4, with small and large blocks, and after it was made smaller', async () => {
    for (const kind of ['ext2', 'ext3', 'ext4'] as const) {
      for (const blockBytes of [1024, 4096]) {
        const file = image(`${kind}-${String(blockBytes)}`, 64 * MIB);
        await runOk('mke2fs', ['-q', '-t', kind, '-b', String(blockBytes), file]);
        expect(found(file)).toEqual({ kind, sizeBytes: 64 * MIB });
        await runOk('resize2fs', [file, '40M']);
        expect(found(file)).toEqual({ kind, sizeBytes: 40 * MIB });
      }
    }
  });

  testWith(['mkfs.xfs'], 'xfs, also with blocks of 1 KiB', async () => {
    for (const blockBytes of [1024, 4096]) {
      const file = image(`xfs-${String(blockBytes)}`, 512 * MIB);
      await runOk('mkfs.xfs', ['-q', '-b', `size=${String(blockBytes)}`, file]);
      expect(found(file)).toEqual({ kind: 'xfs', sizeBytes: 512 * MIB });
    }
  });

  testWith(['mkfs.btrfs'], 'btrfs', async () => {
    const file = image('btrfs', 256 * MIB);
    await runOk('mkfs.btrfs', ['-q', file]);
    expect(found(file)).toEqual({ kind: 'btrfs', sizeBytes: 256 * MIB });
  });

  testWith(['mke2fs', 'mkfs.xfs'], 'one over another: the younger one, or the one that reaches further', async () => {
    const file = image('twice', 512 * MIB);
    await runOk('mkfs.xfs', ['-q', file]);
    await runOk('mke2fs', ['-q', '-F', '-t', 'ext4', file, '100M']);
    expect(found(file)).toMatchObject({ kind: 'ext4', sizeBytes: 100 * MIB });
  });
});
