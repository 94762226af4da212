import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { fsExtDescriptors, plainDescriptors, SEEK_DATA, SEEK_END, SEEK_HOLE, shimDescriptors } from '../../../../src/io/node/descriptors.ts';
import { deviceSizeBytes, seekData, seekHole, tryLockFd } from '../../../../src/io/node/fd.ts';
import { Errno } from '../../../../src/io/types.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const EBADF = 9;
const ENXIO = 6;

it('finds data and holes, and says when there are none', async () => {
  const fd = openSync(join(await folder(), 'sparse'), 'w+');
  ftruncateSync(fd, 2 ** 33);
  writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 2 ** 32);
  expect(seekData(fd, 0)).toBe(2 ** 32);
  expect(seekHole(fd, 2 ** 32)).toBe(2 ** 32 + 4096);
  expect(seekHole(fd, 0)).toBe(0);
  expect(seekData(fd, 2 ** 32 + 4096)).toBeUndefined();
  expect(seekHole(fd, 2 ** 34)).toBeUndefined();
  expect(deviceSizeBytes(fd)).toBe(2 ** 33);
  closeSync(fd);
  expect(() => seekData(fd, 0)).toThrow();
});

const ways = [
  ['fs-ext', fsExtDescriptors() ?? plainDescriptors],
  ['the native shim, where there is no fs-ext', shimDescriptors() ?? plainDescriptors],
  ['the program flock, where there is neither', plainDescriptors],
] as const;

it('has all of them here', () => {
  expect(new Set(ways.map(([, calls]) => calls)).size).toBe(3);
});

it.each(ways)('locks for one descriptor at a time, by %s', async (_, calls) => {
  const path = join(await folder(), 'lock');
  const one = openSync(path, 'w');
  const two = openSync(path, 'r');
  expect(tryLockFd(one, calls)).toBe(true);
  expect(tryLockFd(one, calls)).toBe(true);
  expect(tryLockFd(two, calls)).toBe(false);
  closeSync(one);
  expect(tryLockFd(two, calls)).toBe(true);
  closeSync(two);
  expect(() => tryLockFd(two, calls)).toThrow();
});

it('knows sizes without either, and nothing of holes', async () => {
  const fd = openSync(join(await folder(), 'sparse'), 'w+');
  ftruncateSync(fd, 2 ** 33);
  expect(deviceSizeBytes(fd, plainDescriptors)).toBe(2 ** 33);
  expect(plainDescriptors.seek(fd, 0, SEEK_DATA)).toBe(-Errno.EINVAL);
  closeSync(fd);
});

it.each(ways.slice(0, 2))('seeks and fails with the errno, by %s', async (_, calls) => {
  const fd = openSync(join(await folder(), 'sparse'), 'w+');
  ftruncateSync(fd, 2 ** 33);
  writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, 2 ** 32);
  expect(calls.seek(fd, 0, SEEK_END)).toBe(2 ** 33);
  expect(calls.seek(fd, 0, SEEK_DATA)).toBe(2 ** 32);
  expect(calls.seek(fd, 2 ** 32, SEEK_HOLE)).toBe(2 ** 32 + 4096);
  expect(calls.seek(fd, 2 ** 34, SEEK_HOLE)).toBe(-ENXIO);
  closeSync(fd);
  expect([calls.tryLock(fd), calls.seek(fd, 0, SEEK_END)]).toEqual([EBADF, -EBADF]);
});
