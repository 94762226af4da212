import { expect, it } from 'vitest';
import { scaleRequirements } from '../../../scripts/benchmark/scale-axes.ts';
import { judgeScale } from '../../../scripts/benchmark/scale-judge.ts';
import type { ScaleRequirement } from '../../../scripts/benchmark/scale-types.ts';
import { axis, MiB, point, scaleSample } from './scale.ts';

const opens: ScaleRequirement = { figure: 'opens', metric: 'openMs', atMost: 1000, of: (p) => p.deviceBytes > 2 ** 40 };
const large = { deviceBytes: 2 ** 46 };

it('takes the worst of the points that a bound is for, and of its runs the worst', () => {
  const found = axis([
    [point('small'), [scaleSample({ openMs: 9000 })]],
    [point('a', large), [scaleSample({ openMs: 20 }), scaleSample({ openMs: 1001 }), scaleSample({ openMs: 30 })]],
    [point('b', large), [scaleSample({ openMs: 500 })]],
  ]);
  expect(judgeScale([opens], [found])).toEqual([
    { figure: 'opens', metric: 'openMs', atMost: 1000, where: 'size a', measured: { median: 30, min: 20, max: 1001 }, met: false },
  ]);
});

it('is met by what is just as much', () => {
  expect(judgeScale([opens], [axis([[point('a', large), [scaleSample({ openMs: 1000 })]]])])[0]?.met).toBe(true);
});

it('is not measured where no point is of that kind, or none has the figure', () => {
  const decided: ScaleRequirement = { ...opens, metric: 'decideMs' };
  for (const v of judgeScale([opens, decided], [axis([[point('small'), [scaleSample()]]])])) {
    expect(v).toMatchObject({ where: null, measured: null, met: null });
  }
});

it('asks for the four figures that are required', () => {
  const rest = axis([[point('1GiB'), [scaleSample({ restBytes: 91 * MiB })]]]);
  const dirty = axis(
    [[point('100000', { ...large, dirtyRegions: 100_000, targets: 0 }), [scaleSample({ restBytes: 150 * MiB, peakBytes: 199 * MiB })]]],
    {
      name: 'dirty',
    },
  );
  expect(judgeScale(scaleRequirements, [rest, dirty]).map((v) => [v.metric, v.where, v.met])).toEqual([
    ['restBytes', 'size 1GiB', false],
    ['peakBytes', 'dirty 100000', true],
    ['openMs', 'dirty 100000', true],
    ['startMs', 'size 1GiB', true],
  ]);
});
