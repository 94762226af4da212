import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../scripts/benchmark/arguments.ts';
import { allAxes, scaleRequirements } from '../../../scripts/benchmark/scale-axes.ts';
import { parseScaleOptions } from '../../../scripts/benchmark/scale-options.ts';
import { roomOfPoint } from '../../../scripts/benchmark/scale-measure.ts';

const parse = (...argv: string[]) => parseScaleOptions(argv, allAxes, '/from');

function options(...argv: string[]) {
  const p = parse(...argv);
  if (p.kind !== 'options') throw new Error('help was printed');
  return p.options;
}

describe('what is typed', () => {
  it('may be nothing: every axis, three runs of two seconds, on tmpfs', () => {
    expect(options()).toEqual({
      quick: false,
      axes: ['size', 'dirty', 'targets', 'write'],
      points: [],
      runs: 3,
      seconds: 2,
      dir: '/dev/shm',
      json: undefined,
      svg: undefined,
    });
  });

  it('chooses axes, in their own order, and points of them', () => {
    expect(options('--axes', 'write,size', '--points', '64KiB').axes).toEqual(['size', 'write']);
    expect(options('--axes', 'dirty', '--points', '10,100000').points).toEqual(['10', '100000']);
  });

  it('is one short run with --quick', () => {
    expect(options('--quick')).toMatchObject({ quick: true, runs: 1, seconds: 0.5 });
  });

  it('means paths in the folder of whoever typed it', () => {
    expect(options('--json', 's.json', '--svg', 'c', '--dir', '.')).toMatchObject({ json: '/from/s.json', svg: '/from/c', dir: '/from' });
  });
});

describe('what is refused, in one line', () => {
  it.each([
    [['--axes', 'nope'], '--axes "nope": allowed are size, dirty, targets, write'],
    [['--axes', 'write', '--points', '64TiB'], '--points "64TiB": allowed are 4KiB, 16KiB, 64KiB, 256KiB, 1MiB'],
    [['--runs', '0'], '--runs "0": allowed is a number from 1 to 100'],
    [['--seconds', '61'], '--seconds "61": allowed is a number from 0.1 to 60'],
    [['--dir', ''], '--dir is empty: allowed is a path'],
    [['--frob'], "Unknown option '--frob'"],
    [['stray'], "Unexpected argument 'stray'"],
  ])('%j', (argv, expected) => {
    expect(() => parse(...argv)).toThrow(new UsageError(expected));
  });
});

describe('the help', () => {
  const p = parse('--help');
  const text = p.kind === 'help' ? p.text : '';

  it('names every axis and every point', () => {
    for (const a of allAxes) {
      expect(text).toContain(`    ${a.name} `);
      for (const x of a.points) expect(text).toContain(x.label);
    }
  });

  it('has examples that are allowed, and says what its exit codes mean', () => {
    const examples = text.split('\n').filter((l) => l.startsWith('  scripts/bench-scale '));
    expect(examples.length).toBeGreaterThan(1);
    for (const e of examples) expect(parse(...e.trim().split(' ').slice(1)).kind).toBe('options');
    expect(text).toMatch(/^Exit codes: 0 .*; 1 .*; 2 /m);
  });

  it('fits a terminal', () => {
    expect(Math.max(...text.split('\n').map((l) => l.length))).toBeLessThanOrEqual(132);
  });
});

describe('the axes', () => {
  const points = allAxes.flatMap((a) => a.points);

  it('reach as far as NetRAID does', () => {
    const most = (of: (p: (typeof points)[number]) => number): number => Math.max(...points.map(of));
    expect([most((p) => p.deviceBytes), most((p) => p.dirtyRegions), most((p) => p.targets)]).toEqual([2 ** 46, 1_000_000, 7]);
    expect(Math.min(...points.map((p) => p.deviceBytes))).toBe(2 ** 30);
  });

  it('name each point once, from left to right', () => {
    for (const { points: own } of allAxes) {
      expect(new Set(own.map((p) => p.label)).size).toBe(own.length);
      expect(own.map((p) => p.x)).toEqual(own.map((p) => p.x).toSorted((a, b) => a - b));
    }
  });

  it('have what is required among the points of --quick', () => {
    const quick = points.filter((p) => p.quick);
    for (const r of scaleRequirements) expect(quick.some((p) => r.of(p))).toBe(true);
  });

  it('fit in the memory that the help speaks of', () => {
    expect(Math.max(...points.map(roomOfPoint))).toBeLessThanOrEqual(4 * 2 ** 30);
  });
});
