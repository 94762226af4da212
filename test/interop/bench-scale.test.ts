/** scripts/bench-scale as people run it: the cheapest point for a moment, what it writes, and that nothing is left. */
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { z } from 'zod';
import { processesBelow } from '../support/processes.ts';
import { run, temporaryFolder, testWith, until } from '../support/programs.ts';

const bench = path.join(import.meta.dirname, '..', '..', 'scripts', 'bench-scale');
const folder = temporaryFolder();

const figure = z.number().positive();
const figures = { startMs: figure, startCpuMs: figure, restBytes: figure, writesPerSec: figure, writeCpuMicros: figure, openMs: figure };
const report = z.object({
  version: z.literal(1),
  axes: z.tuple([
    z.object({
      name: z.literal('dirty'),
      missing: z.tuple([]),
      points: z.tuple([
        z.object({
          point: z.object({ label: z.literal('10'), deviceBytes: z.literal(2 ** 46), dirtyRegions: z.literal(10) }),
          samples: z.tuple([z.object({ ...figures, bitmapBytes: figure, decideMs: figure, targetCpuMicros: z.null() })]),
        }),
      ]),
    }),
  ]),
  verdicts: z.array(z.object({ metric: z.string(), met: z.boolean().nullable() })).length(4),
});

// Legs of 64 TiB lie on tmpfs: ext4 has no files of that size.
const shm = mkdtempSync('/dev/shm/nt-');
afterAll(() => {
  rmSync(shm, { recursive: true, force: true });
});

testWith(['fio'], 'one point is measured, printed, written as JSON and drawn, and nothing is left', async () => {
  const files = `${shm}/a`;
  mkdirSync(files);
  const choice = ['--axes', 'dirty', '--points', '10', '--seconds', '0.2'];
  // Relative paths are those of whoever typed them.
  const r = await run(bench, ['--quick', ...choice, '--dir', files, '--json', 's.json', '--svg', 'charts'], { cwd: folder });
  expect(r.stderr).toMatch(/^dirty 10: \d+ s$/m);
  expect(r.code).toBe(0);
  report.parse(JSON.parse(readFileSync(path.join(folder, 's.json'), 'utf8')));
  expect(r.stdout).toMatch(/^\| +10 \|/m);
  expect(r.stdout).toMatch(/^\| bitmap file for 64 TiB opens .*\| (met|MISSED) +\|$/m);
  expect(readFileSync(path.join(folder, 'charts', 'dirty.svg'), 'utf8')).toMatch(/^<svg /);
  expect(readdirSync(files)).toEqual([]);
  expect(processesBelow(`${files}/nb-`)).toEqual([]);
});

testWith(['fio'], 'ended in the middle, it leaves nothing', async () => {
  const own = `${shm}/c`;
  mkdirSync(own);
  const child = spawn(bench, ['--axes', 'targets', '--points', '1', '--seconds', '60', '--dir', own], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
  });
  await until('both daemons run', () => processesBelow(`${own}/nb-`).filter((l) => l.includes('netraidd')).length === 2, 20_000);
  child.kill('SIGINT');
  expect(await ended).toBe(130);
  expect(readdirSync(own)).toEqual([]);
  expect(processesBelow(`${own}/nb-`)).toEqual([]);
});

test('wrong usage is one line and exit code 2', async () => {
  const r = await run(bench, ['--axes', 'nope']);
  expect(r.code).toBe(2);
  expect(r.stdout).toBe('');
  expect(r.stderr).toMatch(/^scripts\/bench-scale: --axes "nope": allowed are size, dirty, targets, write \(see scripts\/bench-scale --help\)\n$/);
});
