import { openSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { startBackground } from '../../../src/attach/command.ts';
import { identityOf, markedProcesses, markName, signal, usersOf } from '../../../src/attach/processes.ts';
import { waitUntil } from '../../../src/attach/wait.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

it('finds a program by its mark alone, and no longer once it was killed', async () => {
  const dir = folder();
  const started = await startBackground('sleep', ['60'], path.join(dir, 'log'), { [markName]: dir });
  const found = (): Promise<number[]> => markedProcesses(dir, ['sleep']);
  expect(await waitUntil(5000, async () => (await found()).length === 1)).toBe(true);
  expect(await found()).toEqual([started.pid]);
  expect(await markedProcesses(`${dir}x`, ['sleep'])).toEqual([]);
  expect(await markedProcesses(dir, ['nbdfuse'])).toEqual([]);
  signal(started.pid, 'SIGKILL');
  expect(await waitUntil(5000, async () => (await found()).length === 0)).toBe(true);
});

it('tells a process from another that has its id later', async () => {
  const me = await identityOf(process.pid);
  expect(me).toMatch(new RegExp(`^${String(process.pid)}@\\d+$`));
  expect(await identityOf(process.pid)).toBe(me);
  expect(await identityOf(2 ** 30)).toBeUndefined();
});

it('names who has something in a folder open, but for those it was told', async () => {
  const dir = folder();
  expect(await usersOf(dir, [])).toEqual([]);
  openSync(path.join(dir, 'file'), 'w');
  expect(await usersOf(dir, [])).toEqual([expect.stringContaining(`(${String(process.pid)})`)]);
  expect(await usersOf(dir, [process.pid])).toEqual([]);
});

it('does not mind signalling a process that is gone', () => {
  expect(() => {
    signal(2 ** 30, 'SIGTERM');
  }).not.toThrow();
});
