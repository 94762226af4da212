/**
 * What NetRAID costs as everything grows; `scripts/bench-scale --help`.
 *
 *   options -> for each axis: points x runs -> verdicts -> tables, JSON, charts
 *
 * Whatever ends it, by itself or by a signal: what it started is ended, and what it made is removed.
 */
import { writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import path from 'node:path';
import { findProgram } from '../test/support/programs.ts';
import { checkBuilt } from './benchmark/built.ts';
import { growthChart } from './benchmark/growth-chart.ts';
import { checkPlaces, exitCodeOf, machineOf, type Run, runToEnd, say } from './benchmark/run.ts';
import { allAxes, scaleRequirements } from './benchmark/scale-axes.ts';
import { judgeScale } from './benchmark/scale-judge.ts';
import { measureAxis } from './benchmark/scale-measure.ts';
import { parseScaleOptions, type ScaleOptions } from './benchmark/scale-options.ts';
import { scaleNotes, scaleText } from './benchmark/scale-table.ts';
import type { Axis, AxisResult, Point, ScaleReport } from './benchmark/scale-types.ts';

const NAME = 'scripts/bench-scale';

function pointsOf(axis: Axis, o: ScaleOptions): readonly Point[] {
  if (o.points.length > 0) return axis.points.filter((p) => o.points.includes(p.label));
  return axis.points.filter((p) => !o.quick || p.quick);
}

async function measured(o: ScaleOptions, run: Run): Promise<ScaleReport> {
  const { runs, seconds } = o;
  const loadBefore = loadavg()[0] ?? 0;
  const axes: AxisResult[] = [];
  for (const axis of allAxes.filter((a) => o.axes.includes(a.name))) {
    const points = pointsOf(axis, o);
    if (points.length === 0) continue;
    const onStage = (stage: NonNullable<Run['stage']>): void => {
      run.stage = stage;
    };
    axes.push(await measureAxis(axis, { folder: run.folder, points, runs, seconds, ending: run.signal, onStage, say }));
  }
  const machine = await machineOf(run.folder, loadBefore);
  return { version: 1, date: new Date().toISOString(), machine, runs, seconds, axes, verdicts: judgeScale(scaleRequirements, axes) };
}

function publish(o: ScaleOptions, r: ScaleReport): void {
  process.stdout.write(scaleText(r));
  if (o.json !== undefined) writeFileSync(o.json, `${JSON.stringify(r, null, 1)}\n`);
  for (const axis of r.axes.filter((a) => o.svg !== undefined && a.points.length > 0)) {
    writeFileSync(path.join(o.svg ?? '', `${axis.name}.svg`), growthChart(axis, scaleNotes(r)));
  }
}

async function main(): Promise<number> {
  const parsed = parseScaleOptions(process.argv.slice(2), allAxes, process.env['NETRAID_BENCH_FROM'] ?? process.cwd());
  if (parsed.kind === 'help') {
    process.stdout.write(parsed.text);
    return 0;
  }
  const { options } = parsed;
  checkPlaces(options);
  // Asked before anything is installed.
  if (process.env['NETRAID_BENCH_CHECK'] !== undefined) return 0;
  if (process.env['NETRAID_DIST'] === undefined) checkBuilt(path.join(import.meta.dirname, '..'));
  if (findProgram('fio') === undefined) throw new Error('fio is needed, and is not installed');
  return await runToEnd(options.dir, async (run) => {
    const report = await measured(options, run);
    publish(options, report);
    return report.axes.every((a) => a.missing.length === 0) ? 0 : 1;
  });
}

process.exitCode = await exitCodeOf(NAME, main);
