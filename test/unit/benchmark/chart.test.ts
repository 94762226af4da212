import { describe, expect, it } from 'vitest';
import { chart } from '../../../scripts/benchmark/chart.ts';
import { escapeXml } from '../../../scripts/benchmark/svg.ts';
import { cell, row, sample, side } from './results.ts';

/** Names of all elements, in order; throws where one is not closed, or an attribute or a character is not XML. */
function elements(svg: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  let at = 0;
  for (const m of svg.matchAll(/<(\/?)([a-z]+)((?: [\w:-]+="[^"<&]*")*)(\/?)>/g)) {
    const between = svg.slice(at, m.index);
    if (/[<>]|&(?!(?:amp|lt|gt|quot|apos);)/.test(between)) throw new Error(`no XML: ${between}`);
    at = m.index + m[0].length;
    const [, closing, name = '', , empty] = m;
    if (closing === '/') {
      if (open.pop() !== name) throw new Error(`</${name}> closes nothing`);
    } else {
      names.push(name);
      if (empty !== '/') open.push(name);
    }
  }
  if (open.length > 0 || svg.slice(at).trim() !== '') throw new Error(`not closed: ${open.join(', ')}`);
  return names;
}

const numbers = (svg: string, pattern: RegExp): number[] => [...svg.matchAll(pattern)].map((m) => Number(m[1]));

describe('a chart', () => {
  const sides = [
    side(
      'nbdkit',
      [100, 50, 200].map((n) => sample(n, { cpuMicrosPerOp: 5 })),
    ),
    side(
      'netraid',
      [50, 50, 50].map((n) => sample(n)),
    ),
  ];
  const svg = chart(row([cell('write-4k-qd1', sides), cell('read <&> "x"', [side('netraid', [sample(1)])])]), ['a machine & its date', 'and how']);

  it('is well-formed, whatever the names contain', () => {
    const names = elements(svg);
    expect(names[0]).toBe('svg');
    expect(names.filter((n) => n === 'g')).toHaveLength(3);
    expect(svg).toContain('read &lt;&amp;&gt; &quot;x&quot;');
    expect(svg).toContain('a machine &amp; its date');
  });

  it('has bars as long as the medians, on a scale up to the fastest run of the cell', () => {
    expect(numbers(svg, /class="(?:ours|peer)"[^>]* width="([\d.]+)"/g)).toEqual([200, 100, 400]);
  });

  it('tells NetRAID from the others', () => {
    expect([...svg.matchAll(/class="(ours|peer)"/g)].map((m) => m[1])).toEqual(['peer', 'ours', 'ours']);
  });

  it('shows the spread of several runs, and none of a single one', () => {
    expect(svg.match(/<line /g)).toHaveLength(6);
  });

  it('has colours for light and for dark ground', () => {
    expect(svg).toContain('@media (prefers-color-scheme: dark)');
  });

  it('is as high as what is in it', () => {
    const [height = 0] = numbers(svg, /<svg [^>]* height="(\d+)"/g);
    expect(Math.max(...numbers(svg, / y="([\d.]+)"/g))).toBeLessThan(height);
  });
});

it('escapes what XML gives a meaning', () => {
  expect(escapeXml(`<a & 'b' "c">`)).toBe('&lt;a &amp; &apos;b&apos; &quot;c&quot;&gt;');
});
