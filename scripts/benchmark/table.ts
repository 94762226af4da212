/** A report as Markdown tables, which can be read in a terminal and put into a README as they are. Pure. */
import type { CellResult, Report, RowResult, SideResult, Verdict } from './results.ts';
import { ratioOf, type Spread, spreadOf } from './statistics.ts';
import type { Metric, Sample } from './types.ts';

/** Columns as wide as their widest cell; numbers to the right where `right` says so. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[], right: readonly boolean[] = []): string {
  const cells = [head, ...rows].map((r) => head.map((_, i) => (r[i] ?? '').replaceAll('|', '\\|')));
  const widths = head.map((_, i) => Math.max(3, ...cells.map((r) => (r[i] ?? '').length)));
  const pad = (text: string, i: number): string => {
    const room = ' '.repeat((widths[i] ?? 0) - text.length);
    return right[i] === true ? room + text : text + room;
  };
  const line = (r: readonly string[]): string => `| ${r.map(pad).join(' | ')} |`;
  const rule = `|${widths.map((w, i) => (right[i] === true ? `${'-'.repeat(w + 1)}:` : '-'.repeat(w + 2))).join('|')}|`;
  const [first = [], ...others] = cells;
  return [line(first), rule, ...others.map(line)].join('\n');
}

/** Three digits are more than a noisy machine tells. */
export function short(n: number): string {
  const digits = Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2;
  return n.toFixed(digits);
}

/** `48.2k/s` or `3484 MB/s`. */
export function rateText(inBytes: boolean, s: Pick<Sample, 'opsPerSec' | 'bytesPerSec'>): string {
  if (inBytes) return `${short(s.bytesPerSec / 1e6)} MB/s`;
  return s.opsPerSec >= 10_000 ? `${short(s.opsPerSec / 1000)}k/s` : `${s.opsPerSec.toFixed(0)}/s`;
}

const spreadText = (s: Spread | null): string => (s === null ? '' : short(s.median));

const plainRate = (inBytes: boolean, s: Sample): number => (inBytes ? s.bytesPerSec : s.opsPerSec);

/** Median and spread of the rate. */
export function rateSpread(cell: Pick<CellResult, 'inBytes'>, r: SideResult): Spread {
  return spreadOf(r.samples.map((s) => plainRate(cell.inBytes, s))) ?? { median: Number.NaN, min: Number.NaN, max: Number.NaN };
}

export function medianText(cell: Pick<CellResult, 'inBytes'>, r: SideResult): string {
  const { median } = rateSpread(cell, r);
  return rateText(cell.inBytes, { opsPerSec: median, bytesPerSec: median });
}

function sideLine(cell: CellResult, r: SideResult, reference: SideResult | undefined): string[] {
  const text = (n: number): string => rateText(cell.inBytes, { opsPerSec: n, bytesPerSec: n });
  const spread = rateSpread(cell, r);
  const rates = (x: SideResult): number[] => x.samples.map((s) => s.opsPerSec);
  const p99 = spreadOf(r.samples.map((s) => s.p99Micros));
  return [
    cell.cell,
    r.side,
    medianText(cell, r),
    r.samples.length > 1 ? `${text(spread.min)} .. ${text(spread.max)}` : '',
    spreadText(spreadOf(r.samples.map((s) => s.cpuMicrosPerOp))),
    spreadText(spreadOf(r.samples.map((s) => s.targetCpuMicrosPerOp))),
    p99 === null ? '' : `${short(p99.median)} µs`,
    reference === undefined ? '' : short(ratioOf(rates(r), rates(reference)).median),
  ];
}

export function rowText(r: RowResult): string {
  const head = ['cell', 'side', 'rate', 'min .. max', 'CPU µs/op', 'targets µs/op', 'p99', `over ${r.reference}`];
  const lines = r.cells.flatMap((c) => {
    const reference = c.sides.find((s) => s.side === r.reference);
    return c.sides.map((s) => sideLine(c, s, reference));
  });
  // Columns that nobody has a figure for are left out.
  const kept = head.map((_, i) => i).filter((i) => i < 3 || lines.some((l) => l[i] !== ''));
  const take = (l: readonly string[]): string[] => kept.map((i) => l[i] ?? '');
  const table = markdownTable(
    take(head),
    lines.map(take),
    kept.map((i) => i >= 2),
  );
  const missing = r.missing.map((m) => `- not measured: ${m.side}: ${m.why}`);
  return [`### ${r.title} (${r.name})`, '', ...(lines.length > 0 ? [table] : []), ...(missing.length > 0 ? ['', ...missing] : []), ''].join('\n');
}

const metricNames: Record<Metric, string> = {
  rate: 'rate',
  cpu: 'CPU an operation',
  'cpu-per-target': 'CPU a write and target',
  p99: 'p99',
  intent: 'left to resync, GiB',
};

const shownFigure = (metric: Metric, n: number): string => short(metric === 'intent' ? n / 1024 ** 3 : n);

export function verdictLine(v: Verdict): string[] {
  const what = v.over === null ? metricNames[v.metric] : `${metricNames[v.metric]} over ${v.over}`;
  const wanted = 'atLeast' in v.limit ? `at least ${shownFigure(v.metric, v.limit.atLeast)}` : `at most ${shownFigure(v.metric, v.limit.atMost)}`;
  if (v.measured === null) return [v.row, v.cell, v.side, what, wanted, '', '', 'not measured'];
  const { measured } = v;
  const figure = (n: number): string => shownFigure(v.metric, n);
  const spread = `${figure(measured.min)} .. ${figure(measured.max)}`;
  return [v.row, v.cell, v.side, what, wanted, figure(measured.median), spread, v.met === true ? 'met' : 'MISSED'];
}

export function verdictsText(rows: readonly RowResult[]): string {
  const lines = rows.flatMap((r) => r.verdicts).map(verdictLine);
  if (lines.length === 0) return '';
  const head = ['row', 'cell', 'side', 'figure', 'wanted', 'measured', 'min .. max', ''];
  return `### What is required\n\n${markdownTable(head, lines, [false, false, false, false, false, true, true, false])}\n`;
}

/** What it was measured on. */
export function machineLine({ date, machine }: Pick<Report, 'date' | 'machine'>): string {
  const { cpu, cores, memoryBytes, kernel, node, filesystem } = machine;
  const memory = `${(memoryBytes / 1024 ** 3).toFixed(0)} GiB`;
  return `${date.slice(0, 10)}: ${cpu}, ${String(cores)} cores, ${memory}, Linux ${kernel}, Node ${node}, files on ${filesystem}`;
}

/** How often and how long, and what else the machine had to do. */
export function runsLine({ runs, seconds, machine }: Pick<Report, 'runs' | 'seconds' | 'machine'>, order: string): string {
  const load = `load average ${machine.loadBefore.toFixed(1)} before, ${machine.loadAfter.toFixed(1)} after`;
  return `medians of ${String(runs)} ${runs === 1 ? 'run' : 'runs'} of ${String(seconds)} s, ${order}; ${load}`;
}

/** What it was measured on, and how. */
export function machineLines(r: Report): [string, string] {
  return [machineLine(r), runsLine(r, 'sides in turn')];
}

export function reportText(r: Report): string {
  return [machineLines(r).join('; '), '', ...r.rows.map(rowText), verdictsText(r.rows)].join('\n');
}
