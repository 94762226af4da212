import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { attach, detach, isWhole, type Parts, requireRoot } from '../../../src/attach/attach.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const whole: Parts = {
  state: {
    version: 1,
    tag: 'a',
    method: 'fuse',
    socketPath: '/s',
    exportName: '',
    mountDir: '/m',
    device: '/dev/loop1',
    pid: 3,
    phase: 'attached',
    attacher: '1@2',
  },
  loops: ['/dev/loop1'],
  nbd: undefined,
  devices: ['/dev/loop1'],
  helpers: [3],
  mountedDir: true,
  mountPoints: [],
};

it('is whole only with record, helper, folder and the very device', () => {
  expect(isWhole(whole)).toBe(true);
  const lacking: Partial<Parts>[] = [{ state: 'none' }, { state: 'damaged' }, { helpers: [] }, { mountedDir: false }, { loops: ['/dev/loop2'] }];
  for (const l of lacking) expect(isWhole({ ...whole, ...l })).toBe(false);
});

it('refuses a path where no server listens, and leaves nothing', async () => {
  const dir = folder();
  const wrong = { socketPath: path.join(dir, 'none.sock'), exportName: '', runDir: dir, tag: 'a' };
  await expect(attach(wrong)).rejects.toMatchObject({ kind: 'invalid', message: /no server at .*none\.sock/ });
  expect(readdirSync(dir)).toEqual([]);
});

it('refuses to attach as an ordinary user, saying what it takes', () => {
  expect(() => {
    requireRoot(1000, 'a');
  }).toThrow(/takes root/);
  requireRoot(0, 'a');
});

it('detaches what a killed attach left: a record, an empty folder, a log; and then there is nothing to do', async () => {
  const dir = folder();
  mkdirSync(path.join(dir, 'a.attach'));
  writeFileSync(path.join(dir, 'a.attach.json'), 'half a rec');
  writeFileSync(path.join(dir, 'a.attach.log'), '');
  expect(await detach({ runDir: dir, tag: 'a' })).toEqual({ wasAttached: true, forced: [] });
  expect(readdirSync(dir)).toEqual([]);
  expect(await detach({ runDir: dir, tag: 'a' })).toEqual({ wasAttached: false, forced: [] });
});

it('says so when the run folder does not exist', async () => {
  await expect(detach({ runDir: '/no/such/folder', tag: 'a' })).rejects.toMatchObject({ kind: 'invalid' });
});
