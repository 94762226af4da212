import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { exportUri, removeMountDir } from '../../../src/attach/fuse-loop.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

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
