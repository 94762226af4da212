import { describe, expect, it } from 'vitest';
import { figureOf, judge } from '../../../scripts/benchmark/judge.ts';
import type { Requirement } from '../../../scripts/benchmark/types.ts';
import { cell, sample, side } from './results.ts';

const rate: Requirement = { cell: 'c', side: 'netraid', over: ['nbdkit'], metric: 'rate', limit: { atLeast: 1.3 } };

describe('a rate', () => {
  it('is met when it is just reached, and missed just below', () => {
    const judged = (ours: number) => judge('plain', [rate], [cell('c', [side('nbdkit', [sample(100)]), side('netraid', [sample(ours)])])])[0];
    expect(judged(130)).toMatchObject({ met: true, over: 'nbdkit', measured: { median: 1.3 } });
    expect(judged(129)).toMatchObject({ met: false, measured: { median: 1.29 } });
  });

  it('is compared with the better of several', () => {
    const sides = [side('mirror', [sample(10)]), side('quorum', [sample(20)]), side('netraid', [sample(30)])];
    const [v] = judge('mirror', [{ ...rate, over: ['mirror', 'quorum'] }], [cell('c', sides)]);
    expect(v).toMatchObject({ over: 'quorum', measured: { median: 1.5 }, met: true });
  });

  it('is not judged when one of several is missing: the better one is not known', () => {
    const sides = [side('mirror', [sample(10)]), side('netraid', [sample(30)])];
    const [v] = judge('mirror', [{ ...rate, over: ['mirror', 'quorum'] }], [cell('c', sides)]);
    expect(v).toMatchObject({ measured: null, met: null });
  });

  it('is not judged when the side itself was not measured, and not asked for when the cell was not', () => {
    expect(judge('plain', [rate], [cell('c', [side('nbdkit', [sample(1)])])])).toMatchObject([{ met: null }]);
    expect(judge('plain', [rate], [cell('other', [])])).toEqual([]);
  });
});

describe('CPU', () => {
  const cpu = (n: number, targets = 0) => sample(1, { cpuMicrosPerOp: n, targetCpuMicrosPerOp: targets });

  it('has to be at most its part of the other', () => {
    const requirement: Requirement = { ...rate, metric: 'cpu', limit: { atMost: 0.85 } };
    const judged = (ours: number) => judge('plain', [requirement], [cell('c', [side('nbdkit', [cpu(10)]), side('netraid', [cpu(ours)])])])[0]?.met;
    expect(judged(8.5)).toBe(true);
    expect(judged(8.6)).toBe(false);
  });

  it('of a write and target is that of all processes, divided by the targets', () => {
    const requirement: Requirement = { cell: 'c', side: 'sync-7', over: ['sync-1'], metric: 'cpu-per-target', limit: { atMost: 1.2 } };
    const sides = [side('sync-1', [cpu(6, 4)], { targets: 1 }), side('sync-7', [cpu(20, 50)], { targets: 7 })];
    expect(judge('targets', [requirement], [cell('c', sides)])).toMatchObject([{ measured: { median: 1 }, met: true }]);
  });

  it('is not judged where there is no server', () => {
    expect(figureOf('cpu', sample(1), 0)).toBeNull();
    expect(figureOf('cpu-per-target', sample(1, { cpuMicrosPerOp: 1 }), 1)).toBeNull();
  });
});

it('takes the best of latencies, which is the lowest', () => {
  const p99 = (n: number) => [sample(1, { p99Micros: n })];
  const requirement: Requirement = { ...rate, over: ['a', 'b'], metric: 'p99', limit: { atMost: 2 } };
  const [v] = judge('latency', [requirement], [cell('c', [side('a', p99(50)), side('b', p99(10)), side('netraid', p99(30))])]);
  expect(v).toMatchObject({ over: 'b', measured: { median: 3 }, met: false });
});

it('holds a bound that stands for itself in every run, and not in the median alone', () => {
  const requirement: Requirement = { ...rate, over: [], metric: 'intent', limit: { atMost: 10 } };
  const judged = (...bytes: number[]) =>
    judge(
      'intent',
      [requirement],
      [
        cell('c', [
          side(
            'netraid',
            bytes.map((b) => sample(1, { intentBytes: b })),
          ),
        ]),
      ],
    )[0]?.met;
  expect(judged(1, 10, 2)).toBe(true);
  expect(judged(1, 11, 2)).toBe(false);
});
