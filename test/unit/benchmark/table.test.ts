import { describe, expect, it } from 'vitest';
import { judge } from '../../../scripts/benchmark/judge.ts';
import { markdownTable, rateText, reportText, rowText, short, verdictLine } from '../../../scripts/benchmark/table.ts';
import { cell, report, row, sample, side } from './results.ts';

it('makes every line of a table as wide as the others, and keeps bars out of cells', () => {
  const text = markdownTable(
    ['a', 'figure'],
    [
      ['x|y', '1'],
      ['longer than the head', '22.5'],
    ],
    [false, true],
  );
  const lines = text.split('\n');
  expect(new Set(lines.map((l) => l.length)).size).toBe(1);
  expect(lines[1]).toMatch(/^\|-+\|-+:\|$/);
  expect(lines[2]).toContain('x\\|y');
  expect(lines[3]).toMatch(/ {3}22\.5 \|$/);
});

it('shows three digits, with the unit that fits', () => {
  expect([0.123, 1.234, 12.34, 123.4].map(short)).toEqual(['0.12', '1.23', '12.3', '123']);
  expect(rateText(false, { opsPerSec: 9876, bytesPerSec: 0 })).toBe('9876/s');
  expect(rateText(false, { opsPerSec: 187_000, bytesPerSec: 0 })).toBe('187k/s');
  expect(rateText(true, { opsPerSec: 0, bytesPerSec: 3_484_000_000 })).toBe('3484 MB/s');
});

describe('a row', () => {
  const sides = [
    side(
      'nbdkit',
      [100, 120, 110].map((n) => sample(n)),
    ),
    side(
      'netraid',
      [220, 210, 230].map((n) => sample(n)),
    ),
  ];

  it('shows median, spread and ratio of each side, and no column without a figure', () => {
    const text = rowText(row([cell('write-4k-qd1', sides)]));
    expect(text).toContain('| cell         | side    |  rate |     min .. max | over nbdkit |');
    expect(text).toContain('| write-4k-qd1 | netraid | 220/s | 210/s .. 230/s |        2.00 |');
    expect(text).not.toContain('CPU');
  });

  it('names what was not measured, and why', () => {
    const text = rowText(row([], { missing: [{ side: 'qemu-nbd', why: 'not installed: qemu-nbd' }] }));
    expect(text).toContain('- not measured: qemu-nbd: not installed: qemu-nbd');
    expect(text).not.toContain('|');
  });
});

describe('a verdict', () => {
  const cells = [cell('c', [side('nbdkit', [sample(100)]), side('netraid', [sample(90, { intentBytes: 3 * 2 ** 30 })])])];
  const line = (over: string[], metric: 'rate' | 'intent', limit: { atLeast: number } | { atMost: number }) =>
    judge('plain', [{ cell: 'c', side: 'netraid', over, metric, limit }], cells).map(verdictLine)[0];

  it('says what was wanted and what was measured', () => {
    expect(line(['nbdkit'], 'rate', { atLeast: 1 })).toEqual([
      'plain',
      'c',
      'netraid',
      'rate over nbdkit',
      'at least 1.00',
      '0.90',
      '0.90 .. 0.90',
      'MISSED',
    ]);
    expect(line([], 'intent', { atMost: 4 * 2 ** 30 })?.slice(3)).toEqual(['left to resync, GiB', 'at most 4.00', '3.00', '3.00 .. 3.00', 'met']);
  });

  it('says when it was not measured', () => {
    expect(line(['qemu-nbd'], 'rate', { atLeast: 1 })?.at(-1)).toBe('not measured');
  });
});

it('begins with machine and date, and ends with what is required', () => {
  const cells = [cell('c', [side('nbdkit', [sample(1)]), side('netraid', [sample(2)])])];
  const verdicts = judge('plain', [{ cell: 'c', side: 'netraid', over: ['nbdkit'], metric: 'rate', limit: { atLeast: 1 } }], cells);
  const text = reportText(report([row(cells, { verdicts })]));
  expect(text.split('\n')[0]).toBe(
    '2030-01-02: CPU, 2 cores, 16 GiB, Linux 6.1, Node v20, files on ext4; medians of 5 runs of 4 s, sides in turn; load average 0.1 before, 0.2 after',
  );
  expect(text.indexOf('### Plain export (plain)')).toBeLessThan(text.indexOf('### What is required'));
  expect(reportText(report([row(cells)]))).not.toContain('required');
});
