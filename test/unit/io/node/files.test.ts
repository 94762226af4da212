import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFiles } from '../../../../src/io/node/files.ts';
import { Errno } from '../../../../src/io/types.ts';
import { expectIoError, pattern } from '../engine-rig.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

describe('files', () => {
  it('are written, read, cut, locked and closed', async () => {
    const path = join(await folder(), 'file');
    const f = await nodeFiles.open(path, { write: true, create: true });
    expect(await f.write(pattern(1000, 1), 10)).toBe(1000);
    await f.sync();
    expect(await f.sizeBytes()).toBe(1010);
    const into = new Uint8Array(500);
    expect(await f.read(into, 10)).toBe(500);
    expect(into).toEqual(pattern(1000, 1).subarray(0, 500));
    expect(await f.read(into, 1000)).toBe(10);
    expect(await f.read(into, 5000)).toBe(0);
    await f.truncate(20);
    expect(await f.sizeBytes()).toBe(20);
    const other = await nodeFiles.open(path, {});
    expect(await f.tryLock()).toBe(true);
    expect(await other.tryLock()).toBe(false);
    await f.close();
    await f.close();
    expect(await other.tryLock()).toBe(true);
    await expectIoError(other.write(new Uint8Array(1), 0), 9);
    await other.close();
  });

  it('are opened only as asked', async () => {
    const path = join(await folder(), 'file');
    await expectIoError(nodeFiles.open(path, { write: true }), Errno.ENOENT);
    await (await nodeFiles.open(path, { write: true, create: true, exclusive: true })).close();
    await expectIoError(nodeFiles.open(path, { write: true, create: true, exclusive: true }), Errno.EEXIST);
    await expectIoError(nodeFiles.open(join(path, 'below'), {}), Errno.ENOTDIR);
  });

  it('are private from the first moment when asked, and keep their mode when they are there already', async () => {
    const root = await folder();
    for (const [name, o] of [
      ['private', { write: true, create: true, private: true }],
      ['common', { write: true, create: true }],
    ] as const)
      await (await nodeFiles.open(join(root, name), o)).close();
    await (await nodeFiles.open(join(root, 'common'), { write: true, create: true, private: true })).close();
    const mode = async (name: string): Promise<number> => (await stat(join(root, name))).mode & 0o777;
    expect([await mode('private'), await mode('common')]).toEqual([0o600, 0o644]);
  });

  it('are read whole, up to a limit', async () => {
    const path = join(await folder(), 'file');
    const f = await nodeFiles.open(path, { write: true, create: true });
    await f.write(pattern(200_000, 2), 0);
    await f.close();
    expect((await nodeFiles.readFile(path, 200_000)).length).toBe(200_000);
    expect(Buffer.compare(await nodeFiles.readFile(path, 10_000_000), pattern(200_000, 2))).toBe(0);
    await expectIoError(nodeFiles.readFile(path, 199_999), Errno.EFBIG);
    await expectIoError(nodeFiles.readFile(`${path}-absent`, 1), Errno.ENOENT);
    expect(new TextDecoder().decode(await nodeFiles.readFile('/proc/self/comm', 100)).length).toBeGreaterThan(1);
  });

  it('live in folders that are made, listed, synced and emptied', async () => {
    const root = await folder();
    const deep = join(root, 'a/b/c');
    await nodeFiles.mkdir(deep);
    await nodeFiles.mkdir(deep);
    for (const n of ['z', 'B', 'a']) await (await nodeFiles.open(join(deep, n), { write: true, create: true })).close();
    expect(await nodeFiles.list(deep)).toEqual(['B', 'a', 'z']);
    await nodeFiles.rename(join(deep, 'z'), join(deep, 'a'));
    await nodeFiles.unlink(join(deep, 'B'));
    await nodeFiles.syncDirectory(deep);
    expect(await nodeFiles.list(deep)).toEqual(['a']);
    await expectIoError(nodeFiles.unlink(join(deep, 'B')), Errno.ENOENT);
    await expectIoError(nodeFiles.list(join(root, 'none')), Errno.ENOENT);
    await expectIoError(nodeFiles.syncDirectory(join(deep, 'a')), Errno.ENOTDIR);
  });

  it('are told apart by kind', async () => {
    const root = await folder();
    await (await nodeFiles.open(join(root, 'f'), { write: true, create: true })).close();
    expect(await nodeFiles.stat(join(root, 'f'))).toEqual({ kind: 'file', sizeBytes: 0 });
    expect((await nodeFiles.stat(root)).kind).toBe('directory');
    expect((await nodeFiles.stat('/dev/null')).kind).toBe('other');
    await expectIoError(nodeFiles.stat(join(root, 'none')), Errno.ENOENT);
  });
});
