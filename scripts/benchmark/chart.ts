/**
 * A row as an SVG chart: for each cell a group of bars, one a side, with a scale of its own. Readable on light and on dark
 * ground. Pure.
 */
import type { CellResult, RowResult, SideResult } from './results.ts';
import { spreadOf } from './statistics.ts';
import { at, escapeXml, svgDocument, textAt } from './svg.ts';
import { medianText, rateSpread, short } from './table.ts';

const WIDTH = 880;
const MARGIN = 24;
const BARS_AT = 180;
const BARS_WIDTH = 400;
const TITLE_HEIGHT = 60;
const GROUP_HEAD = 30;
const BAR_HEIGHT = 16;
const BAR_STEP = 24;
const FOOT_HEIGHT = 20;
const NOTE_STEP = 15;

function bar(cell: CellResult, r: SideResult, y: number, most: number): string[] {
  const spread = rateSpread(cell, r);
  const width = (n: number): number => (n / most) * BARS_WIDTH;
  const middle = y + BAR_HEIGHT / 2;
  const line = (x1: number, y1: number, x2: number, y2: number): string =>
    `<line class="spread" x1="${at(x1)}" y1="${at(y1)}" x2="${at(x2)}" y2="${at(y2)}"/>`;
  const [from, to] = [BARS_AT + width(spread.min), BARS_AT + width(spread.max)];
  const whisker = [line(from, middle, to, middle), ...[from, to].map((x) => line(x, middle - 3, x, middle + 3))];
  const cpu = spreadOf(r.samples.map((s) => s.cpuMicrosPerOp));
  const targets = spreadOf(r.samples.map((s) => s.targetCpuMicrosPerOp));
  const p99 = spreadOf(r.samples.map((s) => s.p99Micros));
  const cpuText = cpu === null ? '' : `${short(cpu.median)}${targets === null ? '' : ` + ${short(targets.median)}`} µs`;
  const beside = [cpuText, p99 === null ? '' : `p99 ${short(p99.median)} µs`].filter((t) => t !== '').join(', ');
  const rate = medianText(cell, r);
  const baseline = y + BAR_HEIGHT - 3.5;
  return [
    `<g><title>${escapeXml(`${r.about}: ${rate}  ${beside}`)}</title>`,
    textAt(MARGIN, baseline, r.side),
    `<rect class="track" x="${at(BARS_AT)}" y="${at(y)}" width="${at(BARS_WIDTH)}" height="${at(BAR_HEIGHT)}" rx="2"/>`,
    `<rect class="${r.ours ? 'ours' : 'peer'}" x="${at(BARS_AT)}" y="${at(y)}" width="${at(width(spread.median))}" height="${at(BAR_HEIGHT)}" rx="2"/>`,
    ...(r.samples.length > 1 ? whisker : []),
    textAt(BARS_AT + BARS_WIDTH + 12, baseline, rate),
    textAt(BARS_AT + BARS_WIDTH + 112, baseline, beside, 'note'),
    '</g>',
  ];
}

/** `notes`: lines about machine and date. */
export function chart(row: RowResult, notes: readonly string[]): string {
  const body: string[] = [];
  let y = TITLE_HEIGHT;
  for (const cell of row.cells) {
    const most = Math.max(...cell.sides.map((s) => rateSpread(cell, s).max));
    body.push(textAt(MARGIN, y + 16, cell.cell, 'cell'));
    y += GROUP_HEAD;
    for (const side of cell.sides) {
      body.push(...bar(cell, side, y, most));
      y += BAR_STEP;
    }
  }
  const height = y + FOOT_HEIGHT + notes.length * NOTE_STEP;
  const legend = 'Bars: median, with the slowest and the fastest run. Beside: the rate, and CPU of the server (+ of the targets) for each operation.';
  const all = [
    textAt(MARGIN, 30, row.title, 'title'),
    textAt(MARGIN, 48, legend, 'note'),
    ...body,
    ...notes.map((n, i) => textAt(MARGIN, y + FOOT_HEIGHT + i * NOTE_STEP, n, 'note')),
  ];
  return svgDocument(row.title, WIDTH, height, all);
}
