/**
 * A row as an SVG chart: for each cell a group of bars, one a side, with a scale of its own. Readable on light and on dark
 * ground; nothing but plain SVG and one style sheet. Pure.
 */
import type { CellResult, RowResult, SideResult } from './results.ts';
import { spreadOf } from './statistics.ts';
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

const style = `
    text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2430; }
    .title { font-size: 18px; font-weight: 600; }
    .note { font-size: 11px; fill: #5b6472; }
    .cell { font-weight: 600; }
    .ground { fill: #ffffff; }
    .track { fill: #eef0f4; }
    .ours { fill: #2f6fde; }
    .peer { fill: #98a1b0; }
    .spread { stroke: #1f2430; stroke-width: 1.5; }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6e9ef; }
      .note { fill: #9aa4b2; }
      .ground { fill: #14171d; }
      .track { fill: #232832; }
      .ours { fill: #6ba1ff; }
      .peer { fill: #6d7787; }
      .spread { stroke: #e6e9ef; }
    }
  `;

export function escapeXml(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&apos;' };
  return text.replace(/[&<>"']/g, (c) => entities[c] ?? c);
}

const at = (n: number): string => n.toFixed(1);

function textAt(x: number, y: number, text: string, kind = ''): string {
  return `<text x="${at(x)}" y="${at(y)}"${kind === '' ? '' : ` class="${kind}"`}>${escapeXml(text)}</text>`;
}

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
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${String(WIDTH)}" height="${String(height)}" viewBox="0 0 ${String(WIDTH)} ${String(height)}" role="img">`,
    `  <title>${escapeXml(row.title)}</title>`,
    `  <style>${style}</style>`,
    `  <rect class="ground" width="${String(WIDTH)}" height="${String(height)}"/>`,
    `  ${textAt(MARGIN, 30, row.title, 'title')}`,
    `  ${textAt(MARGIN, 48, legend, 'note')}`,
    ...body.map((l) => `  ${l}`),
    ...notes.map((n, i) => `  ${textAt(MARGIN, y + FOOT_HEIGHT + i * NOTE_STEP, n, 'note')}`),
    '</svg>',
    '',
  ].join('\n');
}
