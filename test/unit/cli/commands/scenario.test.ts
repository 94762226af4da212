import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BufferTerminal } from '../../../../src/cli/buffer-terminal.ts';
import { parseSeeds } from '../../../../src/cli/commands/scenario.ts';
import { runCommandLine } from '../../../../src/cli/run.ts';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { nodeFiles } from '../../../../src/io/node/files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'netraid-command-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function netraid(...argv: string[]): Promise<{ exit: number; out: string; errors: string }> {
  const terminal = new BufferTerminal();
  const client = () => ({ call: () => Promise.reject(new Error('nobody')), events: () => Promise.reject(new Error('nobody')) });
  const exit = await runCommandLine(['netraid', ...argv], {
    client,
    terminal,
    clock: nodeClock,
    files: nodeFiles,
    devices: null,
    crypto: null,
    version: 'test',
  });
  return { exit, out: terminal.out.join('\n'), errors: terminal.errors.join('\n') };
}

describe('netraid scenario', () => {
  const text = 'scenario: a test\nmirror: {tag: t, size: 1MiB, nodes: {a: 1}}\nsteps:\n  - up: a\n  - {run: "mirror_status t", prints: t}\n';

  it('runs a file in the simulated world, its commands included', async () => {
    const file = path.join(folder, 'a.yaml');
    writeFileSync(file, text);
    const { exit, out } = await netraid('scenario', 'run', file, '--world', 'simulated', '--seed', '7', '--json');
    expect(JSON.parse(out)).toMatchObject({ ok: true, seed: 7, world: 'simulated' });
    expect(exit).toBe(0);
  });

  it('exits with 2 for what is no scenario, and for wrong usage', async () => {
    const file = path.join(folder, 'a.yaml');
    writeFileSync(file, 'scenario: x\n');
    expect(await netraid('scenario', 'run', file, '--world', 'simulated')).toMatchObject({
      exit: 2,
      errors: `${file}:1: mirror: is missing; allowed: fields with values, such as tag, size and nodes`,
    });
    for (const argv of [
      ['run', file],
      ['run', '--world', 'simulated'],
      ['walk', file, '--world', 'simulated'],
      ['run', file, '--world', 'real'],
      ['run', file, '--world', 'simulated', '--seed', 'x'],
    ]) {
      expect((await netraid('scenario', ...argv)).exit).toBe(2);
    }
  });

  it('says what changes nothing in this world', async () => {
    const file = path.join(folder, 'a.yaml');
    writeFileSync(file, text);
    expect((await netraid('scenario', 'run', file, '--world', 'simulated', '--keep')).errors).toContain('--keep changes nothing');
  });
});

it.each([
  ['7', [7]],
  ['1,3', [1, 3]],
  ['1..3,9', [1, 2, 3, 9]],
])('takes the seeds %s', (given, seeds) => {
  expect(parseSeeds(given)).toEqual(seeds);
});

it.each(['', 'x', '-1', '3..1', '1..', '1..99999999'])('refuses the seeds %j', (given) => {
  expect(() => parseSeeds(given)).toThrow('allowed: a whole number, or several');
});
