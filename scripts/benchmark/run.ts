/**
 * One run of a benchmark: its folder, what is up in it, and its end.
 *
 * Whatever ends it, by itself or by a signal: what it started is ended, and what it made is removed.
 */
import { accessSync, constants, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runOk } from '../../test/support/programs.ts';
import { UsageError } from './arguments.ts';
import type { Machine } from './results.ts';
import type { Stage } from './stage.ts';

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
/** A unix socket's path has room for 107 bytes; the rest is what daemons put below the folder. */
const DIR_MAX_BYTES = 40;
/** How long a start takes at most, when the benchmark is to end in the middle of it. */
const START_MAX_MS = 30_000;

/** Tables alone go to standard output. */
export const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

export const message = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** Everything that would spoil a long run in its last minute is asked first. Throws UsageError. */
export function checkPlaces(o: { dir: string; json: string | undefined; svg: string | undefined }): void {
  const refused = (option: string, e: unknown): UsageError => new UsageError(`${option}: ${message(e)}`);
  try {
    if (!statSync(o.dir).isDirectory()) throw new Error(`${o.dir} is no folder`);
    accessSync(o.dir, constants.W_OK);
  } catch (e: unknown) {
    throw refused('--dir', e);
  }
  if (Buffer.byteLength(o.dir) > DIR_MAX_BYTES) {
    throw new UsageError(`--dir: ${o.dir} is too long a path for sockets below it: allowed are ${String(DIR_MAX_BYTES)} bytes`);
  }
  try {
    if (o.svg !== undefined) mkdirSync(o.svg, { recursive: true });
    if (o.json !== undefined) writeFileSync(o.json, '', { flag: 'a' });
  } catch (e: unknown) {
    throw refused('--svg, --json', e);
  }
}

export async function machineOf(folder: string, loadBefore: number): Promise<Machine> {
  // Of file systems mounted one over the other, the last one is seen.
  const mounts = (await runOk('findmnt', ['-n', '-o', 'FSTYPE', '--target', folder], { timeoutMs: 5000 })).trim().split('\n');
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    filesystem: mounts.at(-1) ?? 'unknown',
    loadBefore,
    loadAfter: loadavg()[0] ?? 0,
  };
}

export class Run {
  readonly folder: string;
  /** What is up now. */
  stage: Stage | undefined;
  readonly #ending = new AbortController();
  #settled: Promise<unknown> = Promise.resolve();

  constructor(dir: string) {
    this.folder = mkdtempSync(path.join(dir, 'nb-'));
  }

  /** Aborted when the benchmark is being ended: nothing more is begun. */
  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  /** Its end is waited for by `end`. */
  watched<T>(work: Promise<T>): Promise<T> {
    this.#settled = Promise.allSettled([work]);
    return work;
  }

  /** In the middle of whatever it does. */
  async end(): Promise<void> {
    this.#ending.abort(new Error('the benchmark is being ended'));
    const late = new AbortController();
    try {
      await this.stage?.close();
      // What was just being started is ended as soon as it can be.
      await Promise.race([this.#settled, sleep(START_MAX_MS, undefined, { signal: late.signal })]);
    } finally {
      late.abort();
      await this.remove();
    }
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Does `work` in a folder below `dir`; never comes back when a signal ends it. */
export async function runToEnd<T>(dir: string, work: (run: Run) => Promise<T>): Promise<T> {
  const run = new Run(dir);
  for (const [signal, status] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      // Asked twice: at once; children die with this process.
      if (run.signal.aborted) process.exit(status);
      say(`${signal}: ending what was started`);
      run.end().then(
        () => process.exit(status),
        (e: unknown) => {
          say(message(e));
          process.exit(status);
        },
      );
    });
  }
  try {
    return await run.watched(work(run));
  } catch (e: unknown) {
    // The signal's handler ends the process, when everything has been ended.
    if (run.signal.aborted) return await new Promise<never>(() => undefined);
    throw e;
  } finally {
    if (!run.signal.aborted) await run.remove();
  }
}

/** 2, and one line, for wrong usage; 1 for whatever else went wrong. */
export async function exitCodeOf(program: string, main: () => Promise<number>): Promise<number> {
  try {
    return await main();
  } catch (e: unknown) {
    say(`${program}: ${message(e)}${e instanceof UsageError ? ` (see ${program} --help)` : ''}`);
    return e instanceof UsageError ? 2 : 1;
  }
}
