/**
 * Long writes of client connections where the threads that send them are late to say so (support/late-sends.c): the conformance of those, in a
 * process of its own. With one processor there are no such threads.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { processors } from './support/processors.ts';

const here = (p: string): string => fileURLToPath(new URL(p, import.meta.url));

interface Report {
  numPassedTests: number;
  testResults: { assertionResults: { status: string; fullName: string; failureMessages: string[] }[] }[];
}

describe.skipIf(loadNativeEngine() === undefined)('long writes of several client connections', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'netraid-late-'));
  const library = path.join(folder, 'late-sends.so');

  beforeAll(() => {
    const built = spawnSync('gcc', ['-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-o', library, here('support/late-sends.c'), '-ldl'], {
      encoding: 'utf8',
    });
    expect([built.error, built.stderr, built.status]).toEqual([undefined, '', 0]);
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('are what they are to be also when threads are late to say that they have left', async () => {
    const [late, report] = [path.join(folder, 'late'), path.join(folder, 'report')];
    const preloaded = [process.env['LD_PRELOAD'] ?? '', library].filter((l) => l !== '').join(' ');
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST'));
    const env = { ...Object.fromEntries(own), LD_PRELOAD: preloaded, NETRAID_TEST_LATE: late };
    const args = [
      'run',
      '--project',
      'native',
      'test/native/engine.test.ts',
      '-t',
      'long writes of several',
      '--reporter=json',
      '--outputFile',
      report,
    ];
    const child = spawn(process.execPath, [here('../../node_modules/vitest/vitest.mjs'), ...args], { cwd: here('../..'), env, timeout: 110_000 });
    const status = await new Promise((resolve) =>
      child.on('close', (code, signal) => {
        resolve(code ?? signal);
      }),
    );
    const { numPassedTests, testResults } = JSON.parse(readFileSync(report, 'utf8')) as Report;
    const failed = testResults.flatMap((r) => r.assertionResults).filter((r) => r.status === 'failed');
    expect(failed).toEqual([]);
    expect(status).toBe(0);
    expect(numPassedTests).toBeGreaterThan(10);
    expect(existsSync(late)).toBe(processors() > 1);
  });
});
