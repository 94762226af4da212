import { describe, expect, it } from 'vitest';
import { growthChart, places, roundAbove } from '../../../scripts/benchmark/growth-chart.ts';
import { scaleText, scaleVerdictLine } from '../../../scripts/benchmark/scale-table.ts';
import { axis, MiB, point, scaleReport, scaleSample } from './scale.ts';

const grown = axis(
  [
    [point('1GiB', { x: 2 ** 30 }), [scaleSample({ startMs: 300 }), scaleSample({ startMs: 400 })]],
    [point('64TiB', { x: 2 ** 46 }), [scaleSample({ startMs: 500, spreadCpuMicros: 12.34, spreadPerSec: 20_000 })]],
  ],
  { missing: [{ label: '4TiB', why: 'no room <&>\nand a log' }] },
);

describe('the tables', () => {
  const text = scaleText(scaleReport([grown]));

  it('have a line for each point, with medians, and no column that nobody has a figure for', () => {
    expect(text).toMatch(/^\| +1GiB \| +350 \|/m);
    expect(text).toMatch(/^\| +64TiB \| +500 \|.* 20\.0k\/s \| +12\.3 \|/m);
    expect(text).not.toContain('resync decided');
  });

  it('name what was not measured, in one line', () => {
    expect(text).toContain('- not measured: 4TiB: no room <&>\n');
    expect(text).not.toContain('and a log');
  });

  it('show large writes as bytes a second', () => {
    const big = axis([[point('1MiB', { writeBytes: MiB }), [scaleSample({ writesPerSec: 1000 })]]]);
    expect(scaleText(scaleReport([big]))).toContain('1049 MB/s');
  });

  it('end with what is required, in its unit', () => {
    const measured = { median: 91 * MiB, min: 90 * MiB, max: 92 * MiB };
    const v = { figure: 'memory', metric: 'restBytes', atMost: 90 * MiB, where: 'size 1GiB', measured, met: false } as const;
    expect(scaleVerdictLine(v)).toEqual(['memory', 'below 90.0 MiB', '91.0 MiB', '90.0 MiB .. 92.0 MiB', 'size 1GiB', 'MISSED']);
    expect(scaleVerdictLine({ ...v, measured: null, where: null, met: null }).at(-1)).toBe('not measured');
    expect(scaleText(scaleReport([grown], { verdicts: [v] }))).toMatch(/### What is required\n\n(.*\n)+\| memory .*MISSED \|\n$/);
  });
});

describe('a chart', () => {
  const svg = growthChart(grown, ['a machine & its date', 'and how']);

  it('has a panel for each figure that was measured, with a dot for each point that has it', () => {
    expect(svg.match(/<polyline /g)).toHaveLength(13);
    expect(svg.match(/<circle /g)).toHaveLength(24);
    expect(svg).toContain('a machine &amp; its date');
  });

  it('shows the spread of several runs, and none of a single one', () => {
    expect(svg.match(/class="spread"/g)).toHaveLength(1);
  });

  it('stays within its frame', () => {
    const numbers = (pattern: RegExp): number[] => [...svg.matchAll(pattern)].map((m) => Number(m[1]));
    const [height = 0] = numbers(/<svg [^>]* height="(\d+)"/g);
    expect(Math.max(...numbers(/ y="([\d.]+)"/g))).toBeLessThan(height);
    expect(Math.max(...numbers(/ c?x="([\d.]+)"/g))).toBeLessThan(880);
  });

  it('places points by their logarithm where the axis says so', () => {
    expect(places([1, 10, 1000], true).map((p) => p.toFixed(3))).toEqual(['0.000', '0.333', '1.000']);
    expect(places([0, 1, 4], false)).toEqual([0, 0.25, 1]);
    expect(places([5], true)).toEqual([0.5]);
  });

  it('ends each scale at a round number', () => {
    expect([0, 0.03, 1, 7, 10, 96.2, 201, 5327].map(roundAbove)).toEqual([1, 0.05, 1, 10, 10, 100, 250, 10_000]);
  });
});
