/** Holds what was measured against what is required. Pure. */
import type { CellResult, SideResult, Verdict } from './results.ts';
import { median, ratioOf, type Spread, spreadOf } from './statistics.ts';
import type { Metric, Requirement, Sample } from './types.ts';

/** Null where the sample has no such figure. */
export function figureOf(metric: Metric, s: Sample, targets: number): number | null {
  switch (metric) {
    case 'rate':
      return s.opsPerSec;
    case 'cpu':
      return s.cpuMicrosPerOp;
    case 'cpu-per-target':
      return s.cpuMicrosPerOp === null || s.targetCpuMicrosPerOp === null ? null : (s.cpuMicrosPerOp + s.targetCpuMicrosPerOp) / targets;
    case 'p99':
      return s.p99Micros;
    case 'intent':
      return s.intentBytes;
  }
}

/** Undefined unless every sample has that figure, and there is one. */
function figures(metric: Metric, r: SideResult | undefined): number[] | undefined {
  const all = (r?.samples ?? []).map((s) => figureOf(metric, s, r?.targets ?? 0));
  const known = all.filter((v) => v !== null);
  return known.length === 0 || known.length < all.length ? undefined : known;
}

function compared(r: Requirement, cell: CellResult | undefined): { over: string | null; measured: Spread } | undefined {
  const side = (name: string): SideResult | undefined => cell?.sides.find((s) => s.side === name);
  const ours = figures(r.metric, side(r.side));
  if (ours === undefined) return undefined;
  const others = r.over.map((name) => ({ name, values: figures(r.metric, side(name)) }));
  const [first, ...rest] = others.flatMap(({ name, values }) => (values === undefined ? [] : [{ name, values }]));
  if (first === undefined) return r.over.length > 0 ? undefined : { over: null, measured: spreadOf(ours) ?? { median: 0, min: 0, max: 0 } };
  // Without one of them, the best of them is not known.
  if (rest.length + 1 < others.length) return undefined;
  const better = (a: number, b: number): boolean => ('atLeast' in r.limit ? a > b : a < b);
  const best = rest.reduce((a, b) => (better(median(b.values), median(a.values)) ? b : a), first);
  return { over: best.name, measured: ratioOf(ours, best.values) };
}

export function judge(row: string, requirements: readonly Requirement[], cells: readonly CellResult[]): Verdict[] {
  return requirements
    .filter((r) => cells.some((c) => c.cell === r.cell))
    .map((r) => {
      const found = compared(
        r,
        cells.find((c) => c.cell === r.cell),
      );
      const { cell, side, metric, limit } = r;
      if (found === undefined) return { row, cell, side, metric, limit, over: null, measured: null, met: null };
      const { over, measured } = found;
      // A bound that stands for itself holds in every run.
      const atMost = over === null ? measured.max : measured.median;
      const met = 'atLeast' in limit ? measured.median >= limit.atLeast : atMost <= limit.atMost;
      return { row, cell, side, metric, limit, over, measured, met };
    });
}
