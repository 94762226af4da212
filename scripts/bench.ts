/**
 * Measures NetRAID beside programs that do the same work; `scripts/bench --help`.
 *
 *   options -> for each row: stage (folder, servers) -> cells x rounds x sides -> verdicts -> tables, JSON, charts
 *
 * Whatever ends it, by itself or by a signal: what it started is ended, and what it made is removed.
 */
import { accessSync, constants, mkdirSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runOk } from '../test/support/programs.ts';
import { chart } from './benchmark/chart.ts';
import { measureRow } from './benchmark/measure.ts';
import { type Options, parseOptions, UsageError } from './benchmark/options.ts';
import type { Report, RowResult } from './benchmark/results.ts';
import { allRows } from './benchmark/rows.ts';
import type { Stage } from './benchmark/stage.ts';
import type { Cell, Row } from './benchmark/types.ts';
import { machineLines, reportText } from './benchmark/table.ts';

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
/** A unix socket's path has room for 107 bytes; the rest is what daemons put below the folder. */
const DIR_MAX_BYTES = 40;

/** How long a start takes at most, when the benchmark is to end in the middle of it. */
const START_MAX_MS = 30_000;

const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

const message = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** Everything that would spoil a long run in its last minute is asked first. Throws UsageError. */
function checkPlaces(o: Options): void {
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

function cellsOf(row: Row, o: Options): readonly Cell[] {
  if (o.cells.length > 0) return row.cells.filter((c) => o.cells.includes(c.id));
  return o.quick && !o.rowsNamed ? (row.quickCells ?? row.cells) : row.cells;
}

class Bench {
  readonly #o: Options;
  readonly #folder: string;
  readonly #ending = new AbortController();
  #stage: Stage | undefined;
  #settled: Promise<void> = Promise.resolve();

  constructor(o: Options) {
    this.#o = o;
    this.#folder = mkdtempSync(path.join(o.dir, 'nb-'));
  }

  get ending(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Called once. */
  run(): Promise<Report> {
    const report = this.#run();
    this.#settled = report.then(
      () => undefined,
      () => undefined,
    );
    return report;
  }

  async #run(): Promise<Report> {
    const { runs, seconds } = this.#o;
    const loadBefore = loadavg()[0] ?? 0;
    const rows: RowResult[] = [];
    for (const row of allRows.filter((r) => this.#o.rows.includes(r.name))) {
      const cells = cellsOf(row, this.#o);
      if (cells.length === 0) continue;
      const began = performance.now();
      rows.push(
        await measureRow(row, {
          folder: this.#folder,
          sizes: this.#o.sizes,
          cells,
          sides: row.sides.filter((s) => !this.#o.quick || s.quick),
          runs,
          seconds,
          ending: this.#ending.signal,
          onStage: (stage) => {
            this.#stage = stage;
          },
          say,
        }),
      );
      say(`${row.name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
    }
    const machine = {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      kernel: release(),
      node: process.version,
      filesystem: (await runOk('findmnt', ['-n', '-o', 'FSTYPE', '--target', this.#folder], { timeoutMs: 5000 })).trim(),
      loadBefore,
      loadAfter: loadavg()[0] ?? 0,
    };
    return { version: 1, date: new Date().toISOString(), machine, runs, seconds, rows };
  }

  /** In the middle of whatever it does. */
  async end(): Promise<void> {
    this.#ending.abort(new Error('the benchmark is being ended'));
    const late = new AbortController();
    try {
      await this.#stage?.close();
      // What was just being started is ended as soon as it can be.
      await Promise.race([this.#settled, sleep(START_MAX_MS, undefined, { signal: late.signal })]);
    } finally {
      late.abort();
      await this.remove();
    }
  }

  async remove(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }
}

function publish(o: Options, r: Report): void {
  process.stdout.write(reportText(r));
  if (o.json !== undefined) writeFileSync(o.json, `${JSON.stringify(r, null, 1)}\n`);
  for (const row of r.rows.filter((x) => o.svg !== undefined && x.cells.length > 0)) {
    writeFileSync(path.join(o.svg ?? '', `${row.name}.svg`), chart(row, machineLines(r)));
  }
}

async function main(): Promise<number> {
  const parsed = parseOptions(process.argv.slice(2), allRows, process.env['NETRAID_BENCH_FROM'] ?? process.cwd());
  if (parsed.kind === 'help') {
    process.stdout.write(parsed.text);
    return 0;
  }
  const { options } = parsed;
  checkPlaces(options);
  // Asked before anything is installed.
  if (process.env['NETRAID_BENCH_CHECK'] !== undefined) return 0;
  const bench = new Bench(options);
  for (const [signal, status] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      // Asked twice: at once; children die with this process.
      if (bench.ending) process.exit(status);
      say(`${signal}: ending what was started`);
      bench.end().then(
        () => process.exit(status),
        (e: unknown) => {
          say(message(e));
          process.exit(status);
        },
      );
    });
  }
  try {
    const report = await bench.run();
    publish(options, report);
    return report.rows.every((r) => r.missing.length === 0) ? 0 : 1;
  } catch (e: unknown) {
    // The signal's handler ends the process, when everything has been ended.
    if (bench.ending) return await new Promise<never>(() => undefined);
    throw e;
  } finally {
    if (!bench.ending) await bench.remove();
  }
}

try {
  process.exitCode = await main();
} catch (e: unknown) {
  say(`scripts/bench: ${message(e)}${e instanceof UsageError ? ' (see scripts/bench --help)' : ''}`);
  process.exitCode = e instanceof UsageError ? 2 : 1;
}
