/**
 * Programs that nobody here wrote, run beside the code under test. Always asynchronous: the server that they talk to lives
 * in this very event loop. Always with a deadline: some of them spin for ever when their server goes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, test } from 'vitest';

const SYSTEM_PATH = ['/usr/local/bin', '/usr/bin', '/bin', '/usr/sbin', '/sbin'];

/** PATH for child processes: also where administrators' tools are. */
export const programsPath: string = [...new Set([...(process.env.PATH ?? '').split(delimiter), ...SYSTEM_PATH])].join(delimiter);

/** The program's full path, undefined when it is not installed. */
export function findProgram(name: string): string | undefined {
  for (const folder of programsPath.split(delimiter)) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch (e: unknown) {
      if (!(e instanceof Error)) throw e;
    }
  }
  return undefined;
}

/** A test that needs programs: skipped, and said aloud, only when one of them is not installed. */
export function testWith(programs: readonly string[], title: string, body: () => Promise<void>, timeoutMs?: number): void {
  const absent = programs.filter((p) => findProgram(p) === undefined);
  if (absent.length > 0) process.stderr.write(`\nWARNING: SKIPPED "${title}": not installed here: ${absent.join(', ')}\n\n`);
  test.skipIf(absent.length > 0)(title, { ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }) }, body);
}

export interface RunOptions {
  timeoutMs?: number;
  env?: Record<string, string>;
  stdin?: string;
  cwd?: string;
}

export interface Ran {
  /** Null when a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
  timedOut: boolean;
}

const OUTPUT_MAX_CHARS = 4 * 1024 * 1024;

/** Starts a program without waiting for it; the caller ends it. */
export function start(program: string, args: readonly string[], o: RunOptions = {}): ChildProcess {
  const env = { ...process.env, LC_ALL: 'C.UTF-8', PATH: programsPath, ...o.env };
  return spawn(program, args, { cwd: o.cwd, env, stdio: ['pipe', 'pipe', 'pipe'] });
}

/** Runs a program to its end, or kills it at the deadline. Rejects only when it cannot be started. */
export function run(program: string, args: readonly string[], o: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = start(program, args, o);
    const out = { stdout: '', stderr: '' };
    let timedOut = false;
    const deadline = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, o.timeoutMs ?? 60_000);
    for (const name of ['stdout', 'stderr'] as const) {
      child[name]?.setEncoding('utf8').on('data', (text: string) => {
        if (out[name].length < OUTPUT_MAX_CHARS) out[name] += text;
      });
    }
    // A program may end without reading its input; its exit code tells what that means.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(o.stdin ?? '');
    child.on('error', (e) => {
      clearTimeout(deadline);
      reject(e);
    });
    child.on('close', (code) => {
      clearTimeout(deadline);
      resolve({ code, timedOut, ...out });
    });
  });
}

/** As `run`, but anything except exit code 0 is an error that shows what the program said. Gives its output. */
export async function runOk(program: string, args: readonly string[], o: RunOptions = {}): Promise<string> {
  const r = await run(program, args, o);
  if (r.code !== 0) {
    const how = r.timedOut ? 'did not end in time' : `exit code ${String(r.code)}`;
    throw new Error(`${program} ${args.join(' ')}: ${how}\n${r.stderr}\n${r.stdout}`);
  }
  return r.stdout;
}

/** A folder of its own, removed when the test file has ended. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'netraid-'));
  afterAll(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

/** Python for libnbd's shell, which wants the system's own interpreter first in PATH. */
export async function nbdsh(uri: string, script: string, o: RunOptions = {}): Promise<string> {
  return await runOk('nbdsh', ['-c', '-'], { ...o, env: { PATH: '/usr/bin:/bin', URI: uri, ...o.env }, stdin: script });
}

/** Waits for a condition, looking again in later turns; fails with what it waited for. */
export async function until(what: string, condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${String(timeoutMs)} ms for: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
