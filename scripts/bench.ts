/**
 * Measures NetRAID beside programs that do the same work; `scripts/bench --help`.
 *
 *   options -> for each row: stage (folder, servers) -> cells x rounds x sides -> verdicts -> tables, JSON, charts
 *
 * Whatever ends it, by itself or by a signal: what it started is ended, and what it made is removed.
 */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import path from 'node:path';
import { TMPFS } from './benchmark/arguments.ts';
import { checkBuilt } from './benchmark/built.ts';
import { chart } from './benchmark/chart.ts';
import { measureRow } from './benchmark/measure.ts';
import { type Options, parseOptions } from './benchmark/options.ts';
import type { Report, RowResult } from './benchmark/results.ts';
import { allRows } from './benchmark/rows.ts';
import { checkPlaces, exitCodeOf, machineOf, type Run, runToEnd, say } from './benchmark/run.ts';
import { machineLines, reportText } from './benchmark/table.ts';
import type { Cell, Row } from './benchmark/types.ts';

function cellsOf(row: Row, o: Options): readonly Cell[] {
  if (o.cells.length > 0) return row.cells.filter((c) => o.cells.includes(c.id));
  return o.quick && !o.rowsNamed ? (row.quickCells ?? row.cells) : row.cells;
}

async function measured(o: Options, run: Run): Promise<Report> {
  const { runs, seconds } = o;
  const loadBefore = loadavg()[0] ?? 0;
  const rows: RowResult[] = [];
  for (const row of allRows.filter((r) => o.rows.includes(r.name))) {
    const cells = cellsOf(row, o);
    if (cells.length === 0) continue;
    const began = performance.now();
    rows.push(
      await measureRow(row, {
        folder: run.folder,
        tmpfs: TMPFS,
        sizes: o.sizes,
        cells,
        sides: row.sides.filter((s) => !o.quick || s.quick),
        runs,
        seconds,
        ending: run.signal,
        onStage: (stage) => {
          run.stage = stage;
        },
        say,
      }),
    );
    say(`${row.name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
  }
  return { version: 1, date: new Date().toISOString(), machine: await machineOf(run.folder, loadBefore), runs, seconds, rows };
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
  if (process.env['NETRAID_DIST'] === undefined) checkBuilt(path.join(import.meta.dirname, '..'));
  return await runToEnd(options.dir, async (run) => {
    const report = await measured(options, run);
    publish(options, report);
    return report.rows.every((r) => r.missing.length === 0) ? 0 : 1;
  });
}

process.exitCode = await exitCodeOf('scripts/bench', main);
