import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Fallocate, type FallocateCall, loadFallocate } from '../../../../src/io/node/fallocate.ts';
import { Errno } from '../../../../src/io/types.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

function call(f: FallocateCall, fd: number, offset: number, length: number): Promise<number> {
  return new Promise((resolve) => {
    f(fd, offset, length, resolve);
  });
}

function shim(): Fallocate {
  const s = loadFallocate();
  if (s === undefined) throw new Error('the native shim was not built: npm rebuild');
  return s;
}

it('was built for this machine, and is loaded once', () => {
  expect(shim()).toBe(loadFallocate());
});

it('makes holes and zeroes, and tells by errno what it cannot', async () => {
  const path = join(await folder(), 'file');
  writeFileSync(path, Buffer.alloc(65536, 1));
  const fd = openSync(path, 'r+');
  const blocks = fstatSync(fd).blocks;
  expect(await call(shim().punch, fd, 8192, 16384)).toBe(0);
  expect(fstatSync(fd).blocks).toBe(blocks - 32);
  expect(await call(shim().zeroRange, fd, 100, 50)).toBe(0);
  const expected = Buffer.alloc(65536, 1).fill(0, 8192, 24576).fill(0, 100, 150);
  expect(readFileSync(path).equals(expected)).toBe(true);
  expect(await call(shim().punch, fd, 2 ** 40, 4096)).toBe(0);
  expect(fstatSync(fd).size).toBe(65536);
  expect(await call(shim().punch, fd, -1, 4096)).toBe(Errno.EINVAL);
  closeSync(fd);
  expect(await call(shim().zeroRange, fd, 0, 4096)).toBe(9);
});

it('throws for arguments that are no range', () => {
  expect(() => {
    Reflect.apply(shim().punch, undefined, [1]);
  }).toThrow(TypeError);
  expect(() => {
    Reflect.apply(shim().punch, undefined, [1, 2, 3, 'no function']);
  }).toThrow(TypeError);
});
