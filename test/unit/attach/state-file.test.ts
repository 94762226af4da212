import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type AttachState, knownTags, pathsOf, readState, removeState, writeState } from '../../../src/attach/state-file.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const state = (dir: string): AttachState => ({
  version: 1,
  tag: 'datarep-ext3',
  method: 'fuse',
  socketPath: '/run/a.sock',
  exportName: 'datarep-ext3',
  mountDir: `${dir}/datarep-ext3.attach`,
  device: '/dev/loop3',
  pid: 12,
  phase: 'attached',
  attacher: '1@2',
});

describe('the record of an attachment', () => {
  it('is read back as it was written, and leaves nothing else in the folder', async () => {
    const dir = folder();
    const p = pathsOf(dir, 'datarep-ext3');
    expect(await readState(p)).toBe('none');
    await writeState(p, state(dir), { exclusive: true });
    expect(await readState(p)).toEqual(state(dir));
    await writeState(p, { ...state(dir), pid: 13 }, { exclusive: false });
    expect(await readState(p)).toMatchObject({ pid: 13 });
    expect(readdirSync(dir)).toEqual(['datarep-ext3.attach.json']);
  });

  it('is made once: the second of two attaches is refused and changes nothing', async () => {
    const dir = folder();
    const p = pathsOf(dir, 'a');
    await writeState(p, state(dir), { exclusive: true });
    await expect(writeState(p, { ...state(dir), pid: 99 }, { exclusive: true })).rejects.toMatchObject({ kind: 'refused' });
    expect(await readState(p)).toMatchObject({ pid: 12 });
    expect(readdirSync(dir)).toEqual(['a.attach.json']);
  });

  it.each(['', '{', '{"version":2}', '[]'])('is called damaged when it is not what this version writes: %j', async (text) => {
    const p = pathsOf(folder(), 'a');
    writeFileSync(p.statePath, text);
    expect(await readState(p)).toBe('damaged');
  });

  it('is forgotten together with the log, also twice', async () => {
    const dir = folder();
    const p = pathsOf(dir, 'a');
    await writeState(p, state(dir), { exclusive: true });
    writeFileSync(p.logPath, 'x');
    await removeState(p);
    await removeState(p);
    expect(readdirSync(dir)).toEqual([]);
  });
});

it('knows tags by record and by folder', async () => {
  const dir = folder();
  mkdirSync(pathsOf(dir, 'b').mountDir);
  writeFileSync(pathsOf(dir, 'a').statePath, '{}');
  writeFileSync(pathsOf(dir, 'b').statePath, '{}');
  writeFileSync(`${dir}/other.json`, '{}');
  expect(await knownTags(dir)).toEqual(['a', 'b']);
});

it.each(['', '../x', 'a/b', '.hidden', '-rf', 'a b'])('refuses a tag that is no plain name: %j', (tag) => {
  expect(() => pathsOf('/run/netraid', tag)).toThrow(/letters, digits/);
});
