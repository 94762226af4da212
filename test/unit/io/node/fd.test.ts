import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { deviceSizeBytes, seekData, seekHole, tryLockFd } from '../../../../src/io/node/fd.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

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

it('locks for one descriptor at a time', async () => {
  const path = join(await folder(), 'lock');
  const one = openSync(path, 'w');
  const two = openSync(path, 'r');
  expect(tryLockFd(one)).toBe(true);
  expect(tryLockFd(one)).toBe(true);
  expect(tryLockFd(two)).toBe(false);
  closeSync(one);
  expect(tryLockFd(two)).toBe(true);
  closeSync(two);
});
