/**
 * The threads that serve connections (native-shims/serve.c, order.c), in a process without an engine: what depends on who is where in one moment
 * (support/stream-at.c, support/serve-threads.c).
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';

const here = (p: string): string => fileURLToPath(new URL(p, import.meta.url));
const shims = here('../../native-shims');
const FLAGS = ['-std=c11', '-O2', '-Wall', '-Wextra', '-Wno-unused-parameter', '-D_GNU_SOURCE', '-D_FILE_OFFSET_BITS=64', '-DNAPI_VERSION=8'];
/** Of what it waits for, which is a fifth of a second: a thread that does not sleep takes nearly all of it. */
const ASLEEP_US = 20_000;
const REQUEST_BYTES = 28;

/** Where the headers are that the shim was built with. */
function headers(): string {
  const dir = /"nodedir": "([^"]+)"/.exec(readFileSync(path.join(shims, 'build', 'config.gypi'), 'utf8'))?.[1];
  if (dir === undefined) throw new Error('the shim was built without headers');
  return path.join(dir, 'include', 'node');
}

describe.skipIf(loadNativeEngine() === undefined)('the threads that serve connections', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'netraid-threads-'));
  const run = async (program: string, ...args: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(path.join(folder, program), args, { timeout: 100_000 });
    return stdout.trim();
  };

  beforeAll(() => {
    for (const [program, ...parts] of [['stream-at'], ['serve-threads', 'serve.c', 'order.c', 'piped.c']] as const) {
      const sources = [here(`support/${program}.c`), ...parts.map((p) => path.join(shims, p))];
      const args = [...FLAGS, '-I', headers(), '-I', shims, '-o', path.join(folder, program), ...sources, '-pthread'];
      const r = spawnSync('gcc', args, { encoding: 'utf8' });
      expect([r.status, r.stderr]).toEqual([0, '']);
    }
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it('know where the stream of another has come to, also while that is received', async () => {
    const seen = JSON.parse(await run('stream-at', '600000')) as { known: number; less: number; more: number };
    expect(seen.known).toBeGreaterThan(0);
    expect(seen).toMatchObject({ less: 0, more: 0 });
  });

  it.each([
    [1, 1, 1],
    [1, 1, 3],
    [2, 2, 1],
    [3, 3, 1],
    [3, 1, 1],
  ])('go on when there is room for answers again, in whatever moment that is (%i connections, by %i threads, seed %i)', async (...of) => {
    const [connections, threads, seed] = of.map(String) as [string, string, string];
    expect(await run('serve-threads', 'ask', connections, threads, '150000', seed)).toBe('all');
  });

  it('take no more than its header of a long write, while one before it waits awake for its mark', async () => {
    expect(Number(await run('serve-threads', 'long'))).toBe(REQUEST_BYTES);
  });

  it('sleep while nobody takes their answers and others hold the rest of them', async () => {
    expect(Number(await run('serve-threads', 'hold'))).toBeLessThan(ASLEEP_US);
  });
});
