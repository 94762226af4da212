/** What scripts/bench-scale has found, as Markdown tables. Pure. */
import type { AxisResult, ScaleMetric, ScaleReport, ScaleVerdict } from './scale-types.ts';
import { spreadOf } from './statistics.ts';
import { machineLine, markdownTable, rateText, runsLine, short } from './table.ts';

const MiB = 1024 ** 2;
const KiB = 1024;
const BIG_WRITE_BYTES = 64 * KiB;

interface Shown {
  metric: ScaleMetric;
  head: string;
  /** In a chart. */
  title: string;
  /** One of these units is so many of the figure. */
  scale: number;
  unit: string;
}

/** In the order of the columns. */
export const shownMetrics: readonly Shown[] = [
  { metric: 'startMs', head: 'in service ms', title: 'From start to in service', scale: 1, unit: 'ms' },
  { metric: 'startCpuMs', head: 'its CPU ms', title: 'CPU until in service', scale: 1, unit: 'ms' },
  { metric: 'restBytes', head: 'at rest MiB', title: 'Memory of the source at rest', scale: MiB, unit: 'MiB' },
  { metric: 'loadedBytes', head: 'after writes', title: 'Memory after writes', scale: MiB, unit: 'MiB' },
  { metric: 'peakBytes', head: 'highest', title: 'Memory at its highest', scale: MiB, unit: 'MiB' },
  { metric: 'writesPerSec', head: 'writes', title: 'Writes a second', scale: 1, unit: '/s' },
  { metric: 'writeCpuMicros', head: 'µs CPU', title: 'CPU of the source a write', scale: 1, unit: 'µs' },
  { metric: 'targetCpuMicros', head: 'targets', title: 'CPU of all targets a write', scale: 1, unit: 'µs' },
  { metric: 'spreadPerSec', head: 'all over', title: 'Writes a second all over the device', scale: 1, unit: '/s' },
  { metric: 'spreadCpuMicros', head: 'µs CPU', title: 'CPU of the source a write all over the device', scale: 1, unit: 'µs' },
  { metric: 'bitmapBytes', head: 'bitmap KiB', title: 'Bitmap file', scale: KiB, unit: 'KiB' },
  { metric: 'openMs', head: 'opens ms', title: 'The bitmap file opens', scale: 1, unit: 'ms' },
  { metric: 'openCpuMs', head: 'its CPU ms', title: 'CPU of opening it', scale: 1, unit: 'ms' },
  { metric: 'decideMs', head: 'resync decided ms', title: 'Partial resync decided', scale: 1, unit: 'ms' },
];

function cellText(s: Shown, n: number, writeBytes: number): string {
  if (s.unit === '/s') return rateText(writeBytes >= BIG_WRITE_BYTES, { opsPerSec: n, bytesPerSec: n * writeBytes });
  return short(n / s.scale);
}

function axisText(a: AxisResult): string {
  // Columns that nobody has a figure for are left out.
  const kept = shownMetrics.filter((s) => a.points.some((p) => spreadOf(p.samples.map((x) => x[s.metric])) !== null));
  const lines = a.points.map(({ point, samples }) => [
    point.label,
    ...kept.map((s) => {
      const spread = spreadOf(samples.map((x) => x[s.metric]));
      return spread === null ? '' : cellText(s, spread.median, point.writeBytes);
    }),
  ]);
  const table = markdownTable([a.unit, ...kept.map((s) => s.head)], lines, [true, ...kept.map(() => true)]);
  const missing = a.missing.map((m) => `- not measured: ${m.label}: ${m.why.split('\n', 1)[0] ?? ''}`);
  return [`### ${a.title} (${a.name})`, '', ...(lines.length > 0 ? [table] : []), ...(missing.length > 0 ? ['', ...missing] : []), ''].join('\n');
}

export function scaleVerdictLine(v: ScaleVerdict): string[] {
  const shown = shownMetrics.find((s) => s.metric === v.metric);
  const figure = (n: number): string => `${short(n / (shown?.scale ?? 1))} ${shown?.unit ?? ''}`;
  const wanted = `below ${figure(v.atMost)}`;
  if (v.measured === null || v.where === null) return [v.figure, wanted, '', '', '', 'not measured'];
  const { median, min, max } = v.measured;
  return [v.figure, wanted, figure(median), `${figure(min)} .. ${figure(max)}`, v.where, v.met === true ? 'met' : 'MISSED'];
}

/** What it was measured on, and how. */
export function scaleNotes(r: ScaleReport): [string, string] {
  return [machineLine(r), runsLine(r, 'one after the other')];
}

export function scaleText(r: ScaleReport): string {
  const head = ['figure', 'wanted', 'measured', 'min .. max', 'where it is worst', ''];
  const required = `### What is required\n\n${markdownTable(head, r.verdicts.map(scaleVerdictLine), [false, false, true, true, false, false])}\n`;
  return [scaleNotes(r).join('; '), '', ...r.axes.map(axisText), required].join('\n');
}
