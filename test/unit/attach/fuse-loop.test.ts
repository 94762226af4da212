import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { exportUri, makeLoop, removeMountDir } from '../../../src/attach/fuse-loop.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const realPath = process.env['PATH'] ?? '';

afterEach(() => {
  process.env['PATH'] = realPath;
});

it.each([
  [512, ''],
  [4096, '--sector-size 4096 '],
])('makes a loop device of sectors of %i bytes', async (sectorBytes, option) => {
  const bin = folder();
  const args = path.join(bin, 'args');
  writeFileSync(path.join(bin, 'losetup'), `#!/bin/sh\necho "$@" >${args}\necho /dev/loop7\n`);
  chmodSync(path.join(bin, 'losetup'), 0o755);
  process.env['PATH'] = `${bin}:${realPath}`;
  expect(await makeLoop('/run/a.attach', sectorBytes, 5000)).toBe('/dev/loop7');
  expect(readFileSync(args, 'utf8')).toBe(`-f --show --direct-io=on ${option}/run/a.attach/nbd\n`);
});

it('writes export names and paths so that no character of them ends the name', () => {
  expect(exportUri('/run/netraid/a b.sock', 'data?x=1/y')).toBe('nbd+unix:///data%3Fx%3D1%2Fy?socket=%2Frun%2Fnetraid%2Fa%20b.sock');
});

it('removes the folder, also twice, and never one that holds something', async () => {
  const dir = path.join(folder(), 'a.attach');
  mkdirSync(path.join(dir, 'precious'), { recursive: true });
  await expect(removeMountDir(dir)).rejects.toMatchObject({ code: 'ENOTEMPTY' });
  await removeMountDir(path.join(dir, 'precious'));
  await removeMountDir(dir);
  await removeMountDir(dir);
});
