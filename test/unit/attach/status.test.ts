import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { status, sweep } from '../../../src/attach/status.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

it('shows nothing where nothing was attached, also without a run folder', async () => {
  expect(await status({ runDir: folder() })).toEqual([]);
  expect(await status({ runDir: '/no/such/folder' })).toEqual([]);
});

it('shows what a killed attach left, and sweeps it away, but keeps a folder that holds something, with the reason', async () => {
  const dir = folder();
  mkdirSync(path.join(dir, 'a.attach'));
  writeFileSync(path.join(dir, 'b.attach.json'), '{');
  mkdirSync(path.join(dir, 'c.attach', 'precious'), { recursive: true });
  expect((await status({ runDir: dir })).map((s) => [s.tag, s.condition, s.method])).toEqual([
    ['a', 'leftover', 'unknown'],
    ['b', 'leftover', 'unknown'],
    ['c', 'leftover', 'unknown'],
  ]);
  expect(await sweep({ runDir: dir })).toEqual({ cleaned: ['a', 'b'], left: [{ tag: 'c', why: expect.stringContaining('ENOTEMPTY') as string }] });
  expect(readdirSync(dir)).toEqual(['c.attach']);
});
