/** An axis as an SVG chart: for each figure a small panel of its own, how it grows along the axis. Pure. */
import { shownMetrics } from './scale-table.ts';
import type { AxisResult } from './scale-types.ts';
import { type Spread, spreadOf } from './statistics.ts';
import { at, escapeXml, svgDocument, textAt } from './svg.ts';
import { short } from './table.ts';

const WIDTH = 880;
const MARGIN = 24;
const TITLE_HEIGHT = 66;
const COLUMNS = 2;
const PANEL_WIDTH = (WIDTH - MARGIN) / COLUMNS;
const PANEL_HEIGHT = 170;
const PLOT_LEFT = 52;
const PLOT_RIGHT = 34;
const PLOT_TOP = 34;
const PLOT_HEIGHT = 92;
const FOOT_HEIGHT = 16;
const NOTE_STEP = 15;
const DOT = 3;
/** Labels below a panel that would run into the one before them are left out. */
const LABEL_MIN_PX = 44;
const STEPS = [1, 2, 2.5, 5, 10];

interface Dot {
  x: number;
  label: string;
  spread: Spread;
}

/** The smallest round number that is at least `n`; 1 when that is not above 0. */
export function roundAbove(n: number): number {
  if (!(n > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  const step = STEPS.find((s) => s * power >= n * (1 - 1e-9)) ?? 10;
  return step * power;
}

/** 0 to 1 along the axis, for each of `xs`; only one of them stands in the middle. */
export function places(xs: readonly number[], log: boolean): number[] {
  const on = xs.map((x) => (log ? Math.log10(x) : x));
  const [from, to] = [Math.min(...on), Math.max(...on)];
  return on.map((v) => (to > from ? (v - from) / (to - from) : 0.5));
}

function panel(title: string, unit: string, dots: readonly Dot[], log: boolean, left: number, top: number): string[] {
  const most = roundAbove(Math.max(...dots.map((d) => d.spread.max)));
  const [x0, x1] = [left + PLOT_LEFT, left + PANEL_WIDTH - PLOT_RIGHT];
  const [y0, y1] = [top + PLOT_TOP + PLOT_HEIGHT, top + PLOT_TOP];
  const xs = places(
    dots.map((d) => d.x),
    log,
  ).map((p) => x0 + p * (x1 - x0));
  const yOf = (n: number): number => y0 - (n / most) * (y0 - y1);
  const grid = [0, 0.5, 1].map((part) => {
    const y = at(yOf(most * part));
    return `<line class="grid" x1="${at(x0)}" y1="${y}" x2="${at(x1)}" y2="${y}"/>`;
  });
  const scale = [0, 0.5, 1].map((part) => textAt(left + PLOT_LEFT - 8, yOf(most * part) + 4, compact(most * part), 'note end'));
  const line = dots.map((d, i) => `${at(xs[i] ?? x0)},${at(yOf(d.spread.median))}`).join(' ');
  const marks = dots.flatMap((d, i) => {
    const x = at(xs[i] ?? x0);
    const whisker = `<line class="spread" x1="${x}" y1="${at(yOf(d.spread.min))}" x2="${x}" y2="${at(yOf(d.spread.max))}"/>`;
    return [
      ...(d.spread.max > d.spread.min ? [whisker] : []),
      `<circle class="ours" cx="${x}" cy="${at(yOf(d.spread.median))}" r="${String(DOT)}"><title>${escapeXml(`${d.label}: ${short(d.spread.median)} ${unit}`)}</title></circle>`,
    ];
  });
  const labels: string[] = [];
  let last = -Infinity;
  for (const [i, d] of dots.entries()) {
    const x = xs[i] ?? x0;
    if (x - last < LABEL_MIN_PX) continue;
    last = x;
    labels.push(textAt(x, y0 + 16, d.label, 'note middle'));
  }
  return [textAt(left, top + 18, `${title}, ${unit}`, 'cell'), ...grid, ...scale, `<polyline class="curve" points="${line}"/>`, ...marks, ...labels];
}

/** `12k`, `1.5M`: there is little room beside a scale. */
function compact(n: number): string {
  if (n >= 1e6) return `${String(n / 1e6)}M`;
  return n >= 10_000 ? `${String(n / 1e3)}k` : String(Number(n.toPrecision(3)));
}

/** `notes`: lines about machine and date. */
export function growthChart(a: AxisResult, notes: readonly string[]): string {
  const panels = shownMetrics.flatMap((s) => {
    const dots = a.points.flatMap(({ point, samples }): Dot[] => {
      const spread = spreadOf(samples.map((x) => x[s.metric]));
      if (spread === null) return [];
      const { median, min, max } = spread;
      return [{ x: point.x, label: point.label, spread: { median: median / s.scale, min: min / s.scale, max: max / s.scale } }];
    });
    return dots.length === 0 ? [] : [{ ...s, dots }];
  });
  const rows = Math.ceil(panels.length / COLUMNS);
  const y = TITLE_HEIGHT + rows * PANEL_HEIGHT;
  const body = [
    textAt(MARGIN, 30, a.title, 'title'),
    textAt(
      MARGIN,
      48,
      `To the right: ${a.unit}${a.log ? ', on a logarithmic scale' : ''}. Upwards: each figure, from 0. Dots: medians; lines: from the least run to the greatest.`,
      'note',
    ),
    ...panels.flatMap((p, i) =>
      panel(p.title, p.unit, p.dots, a.log, MARGIN + (i % COLUMNS) * PANEL_WIDTH, TITLE_HEIGHT + Math.floor(i / COLUMNS) * PANEL_HEIGHT),
    ),
    ...notes.map((n, i) => textAt(MARGIN, y + FOOT_HEIGHT + i * NOTE_STEP, n, 'note')),
  ];
  return svgDocument(a.title, WIDTH, y + FOOT_HEIGHT + notes.length * NOTE_STEP, body);
}
