import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { nodePrograms } from '../../../../src/io/node/programs.ts';
import { describePrograms, type ProgramSpec } from '../conformance-programs.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const LIMITS = { timeoutMs: 5000, graceMs: 200, outputMaxBytes: 4096 };

async function script(path: string, lines: readonly string[]): Promise<void> {
  await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  await chmod(path, 0o755);
}

function linesOf({ exit = 0, durationMs = 0, output = '', stubborn = false, says }: ProgramSpec): string[] {
  const said = says === undefined ? `printf %s '${output}'` : `printf %s "$1 $2 ${says.map((v) => `$${v}`).join(' ')}"`;
  const sleep = durationMs === 0 ? [] : [`${stubborn ? '' : 'exec '}sleep ${String(durationMs / 1000)}`];
  return [...(stubborn ? ["trap '' TERM"] : []), said, ...sleep, `exit ${String(exit)}`];
}

/** One that has ended, and that nobody has asked for yet, does not run. */
function isRunning(pid: string): boolean {
  const stat = `/proc/${pid}/stat`;
  return existsSync(stat) && !/\) Z /.test(readFileSync(stat, 'utf8'));
}

describePrograms('node world', async () => {
  const dir = await folder();
  return { programs: nodePrograms, folder: dir, install: (name, spec) => script(join(dir, name), linesOf(spec)), drive: (body) => body() };
});

it('lists regular files that may be run, and links to them, and nothing else', async () => {
  const dir = await folder();
  await script(join(dir, 'run'), []);
  await writeFile(join(dir, 'plain'), 'no program');
  await mkdir(join(dir, 'subfolder'));
  await symlink(join(dir, 'run'), join(dir, 'link'));
  await symlink(join(dir, 'nowhere'), join(dir, 'dangling'));
  expect(await nodePrograms.list(dir)).toEqual(['link', 'run']);
});

it('gives a PATH that leads to node, and nothing of its own environment', async () => {
  const dir = await folder();
  await script(join(dir, 'env'), ['env | sort', 'pwd', 'cat']);
  const { output } = await nodePrograms.run(join(dir, 'env'), [], { NETRAID_TAG: 't' }, LIMITS);
  const lines = output.trim().split('\n');
  // The shell adds PWD, and others of its own, to what it was given.
  expect(lines.filter((l) => !/^(PWD|OLDPWD|SHLVL|_)=/.test(l))).toEqual(['NETRAID_TAG=t', expect.stringMatching(/^PATH=/), '/']);
  expect(lines.find((l) => l.startsWith('PATH='))?.split(':')).toContain(dirname(process.execPath));
});

it('ends all that a program has started, when its time is over', async () => {
  const dir = await folder();
  await script(join(dir, 'group'), ['sleep 60 &', `echo $! > ${join(dir, 'pid')}`, 'wait']);
  expect(await nodePrograms.run(join(dir, 'group'), [], {}, { ...LIMITS, timeoutMs: 300 })).toMatchObject({ timedOut: true, signal: 'SIGTERM' });
  const pid = (await readFile(join(dir, 'pid'), 'utf8')).trim();
  await vi.waitFor(() => {
    expect(isRunning(pid)).toBe(false);
  });
});

it('does not wait for what a program leaves running, nor ends it', async () => {
  const dir = await folder();
  await script(join(dir, 'starts'), [`(sleep 0.5; echo still here; touch ${join(dir, 'done')}) &`, 'echo started']);
  const ran = await nodePrograms.run(join(dir, 'starts'), [], {}, LIMITS);
  expect(ran).toEqual({ exit: 0, signal: null, timedOut: false, output: 'started\n' });
  expect(existsSync(join(dir, 'done'))).toBe(false);
  await vi.waitFor(
    () => {
      expect(existsSync(join(dir, 'done'))).toBe(true);
    },
    { timeout: 4000 },
  );
});

it('refuses a file that is no program', async () => {
  const dir = await folder();
  await writeFile(join(dir, 'plain'), 'no program');
  await expect(nodePrograms.run(join(dir, 'plain'), [], {}, LIMITS)).rejects.toMatchObject({ name: 'IoError', code: 'EACCES' });
});
