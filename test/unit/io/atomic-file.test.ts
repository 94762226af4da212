import { stat, writeFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { exists, replaceFile, writeAll } from '../../../src/io/atomic-file.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { Errno, type Files, IoError, type IoFile } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { expectIoError, pattern } from './engine-rig.ts';
import { temporaryFolders } from './node/temporary-folder.ts';

const folder = temporaryFolders();

/** Files that note every call and fail at one of them. */
function watched(calls: string[], failAt = '', stepBytes = Infinity): Files {
  const step = async <T>(call: string, f: () => Promise<T>): Promise<T> => {
    calls.push(call);
    if (call === failAt) throw new IoError(Errno.ENOSPC, call);
    return await f();
  };
  const watch = (f: IoFile): IoFile => ({
    read: (into, position) => f.read(into, position),
    write: (from, position) => step('write', () => f.write(from.subarray(0, stepBytes), position)),
    sync: () => step('sync', () => f.sync()),
    truncate: (n) => step('truncate', () => f.truncate(n)),
    sizeBytes: () => f.sizeBytes(),
    tryLock: () => f.tryLock(),
    close: async () => {
      await f.close();
      await step('close', () => Promise.resolve());
    },
  });
  return {
    ...nodeFiles,
    open: async (path, o) => watch(await step('open', () => nodeFiles.open(path, o))),
    rename: (from, to) => step('rename', () => nodeFiles.rename(from, to)),
    unlink: (path) => step('unlink', () => nodeFiles.unlink(path)),
    syncDirectory: (path) => step('syncDirectory', () => nodeFiles.syncDirectory(path)),
  };
}

describe('replacing a file', () => {
  it('takes the steps that make it durable, in their order', async () => {
    const root = await folder();
    const calls: string[] = [];
    await replaceFile(watched(calls), `${root}/f`, pattern(100, 1));
    expect(calls).toEqual(['open', 'truncate', 'write', 'sync', 'close', 'rename', 'syncDirectory']);
    expect(await nodeFiles.readFile(`${root}/f`, 1000)).toEqual(pattern(100, 1));
    await replaceFile(watched(calls, '', 7), `${root}/f`, pattern(50, 2));
    expect(await nodeFiles.readFile(`${root}/f`, 1000)).toEqual(pattern(50, 2));
    expect(await nodeFiles.list(root)).toEqual(['f']);
  });

  it.each(['open', 'truncate', 'write', 'sync', 'close', 'rename'])('keeps the old content and no leftovers when %s fails', async (failAt) => {
    const root = await folder();
    await replaceFile(nodeFiles, `${root}/f`, pattern(100, 1));
    await expectIoError(replaceFile(watched([], failAt), `${root}/f`, pattern(100, 2)), Errno.ENOSPC);
    expect(await nodeFiles.readFile(`${root}/f`, 1000)).toEqual(pattern(100, 1));
    expect(await nodeFiles.list(root)).toEqual(['f']);
  });

  it('reports that the folder could not be synced', async () => {
    const root = await folder();
    await expectIoError(replaceFile(watched([], 'syncDirectory'), `${root}/f`, pattern(1, 1)), Errno.ENOSPC);
  });

  it('begins with an empty file where a crash left a longer one', async () => {
    const root = await folder();
    const f = await nodeFiles.open(`${root}/f.tmp`, { write: true, create: true });
    await f.write(pattern(500, 9), 0);
    await f.close();
    await replaceFile(nodeFiles, `${root}/f`, pattern(10, 1));
    expect(await nodeFiles.readFile(`${root}/f`, 1000)).toEqual(pattern(10, 1));
  });

  it('keeps a private file to its owner, also where a leftover or the old file was open to others', async () => {
    const root = await folder();
    for (const name of ['f', 'f.tmp']) await writeFile(`${root}/${name}`, 'x', { mode: 0o644 });
    const reader = await nodeFiles.open(`${root}/f.tmp`, {});
    const modes: number[] = [];
    const files: Files = {
      ...nodeFiles,
      open: async (path, o) => {
        const file = await nodeFiles.open(path, o);
        modes.push((await stat(path)).mode & 0o777);
        return file;
      },
    };
    await replaceFile(files, `${root}/f`, pattern(10, 1), { private: true });
    expect([modes, (await stat(`${root}/f`)).mode & 0o777]).toEqual([[0o600], 0o600]);
    expect(await reader.sizeBytes()).toBe(1);
    await reader.close();
    expect(await nodeFiles.list(root)).toEqual(['f']);
  });

  it('does not spin when nothing can be written', async () => {
    const root = await folder();
    await expectIoError(replaceFile(watched([], '', 0), `${root}/f`, pattern(10, 1)), Errno.EIO);
  });
});

it('writes all at a position', async () => {
  const root = await folder();
  const f = await watched([], '', 3).open(`${root}/f`, { write: true, create: true });
  await writeAll(f, 'f', pattern(10, 1), 5);
  expect(await f.sizeBytes()).toBe(15);
  await f.close();
});

describe('exists', () => {
  it('knows an absent file from one that it can not look at', async () => {
    const files = new MemoryFiles();
    expect(await exists(files, '/a')).toBe(false);
    files.put('/a', new Uint8Array(1));
    expect(await exists(files, '/a')).toBe(true);
    files.fault = () => ({ errno: Errno.EACCES });
    await expect(exists(files, '/a')).rejects.toThrow(IoError);
  });
});
