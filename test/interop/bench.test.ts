/** scripts/bench as people run it: one row for a moment, what it writes, and that nothing is left. */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { processesBelow } from '../support/processes.ts';
import { run, temporaryFolder, testWith, until } from '../support/programs.ts';

const bench = path.join(import.meta.dirname, '..', '..', 'scripts', 'bench');
const folder = temporaryFolder();

const figure = z.number().positive();
const report = z.object({
  version: z.literal(1),
  machine: z.object({ cpu: z.string(), cores: figure, filesystem: z.string() }),
  runs: z.literal(2),
  rows: z.tuple([
    z.object({
      name: z.literal('node'),
      missing: z.tuple([]),
      cells: z.tuple([
        z.object({
          cell: z.literal('write-4k-qd32'),
          sides: z.array(
            z.object({
              side: z.string(),
              samples: z.array(z.object({ opsPerSec: figure, bytesPerSec: figure, cpuMicrosPerOp: figure })).length(2),
            }),
          ),
        }),
      ]),
      verdicts: z.tuple([z.object({ side: z.literal('netraid-node'), over: z.literal('nbdkit'), met: z.boolean() })]),
    }),
  ]),
});

testWith(['nbdkit', 'fio'], 'one row is measured, printed, written as JSON and drawn, and nothing is left', async () => {
  const files = path.join(folder, 'a');
  mkdirSync(files);
  const json = path.join(folder, 'b.json');
  const choice = ['--rows', 'node', '--cells', 'write-4k-qd32', '--runs', '2', '--seconds', '0.2'];
  // Relative paths are those of whoever typed them.
  const r = await run(bench, ['--quick', ...choice, '--dir', files, '--json', 'b.json', '--svg', 'charts'], { cwd: folder });
  expect(r.stderr).toContain('node write-4k-qd32: nbdkit ');
  expect(r.code).toBe(0);
  const found = report.parse(JSON.parse(readFileSync(json, 'utf8')));
  expect(found.rows[0].cells[0].sides.map((s) => s.side)).toEqual(['nbdkit', 'netraid-node']);
  expect(r.stdout).toMatch(/^\| write-4k-qd32 \| netraid-node \| /m);
  expect(r.stdout).toMatch(/^\| node +\| write-4k-qd32 .*\| (met|MISSED) +\|$/m);
  expect(readFileSync(path.join(folder, 'charts', 'node.svg'), 'utf8')).toMatch(/^<svg /);
  expect(readdirSync(files)).toEqual([]);
  expect(processesBelow(`${files}/nb-`)).toEqual([]);
});

testWith(['nbdkit', 'fio'], 'ended in the middle, it leaves nothing', async () => {
  const files = path.join(folder, 'c');
  mkdirSync(files);
  const child = spawn(bench, ['--quick', '--rows', 'node', '--seconds', '60', '--dir', files], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => {
    child.on('exit', resolve);
  });
  await until('daemon and server run', () => ['netraidd', 'nbdkit'].every((p) => processesBelow(`${files}/nb-`).some((l) => l.includes(p))), 20_000);
  child.kill('SIGTERM');
  expect(await ended).toBe(143);
  expect(readdirSync(files)).toEqual([]);
  expect(processesBelow(`${files}/nb-`)).toEqual([]);
});

test('wrong usage is one line and exit code 2', async () => {
  const r = await run(bench, ['--rows', 'nope']);
  expect(r.code).toBe(2);
  expect(r.stdout).toBe('');
  expect(r.stderr).toMatch(/^scripts\/bench: --rows "nope": allowed are plain, [^\n]*\(see scripts\/bench --help\)\n$/);
});
