/** Holds what was measured against what is required. Pure. */
import type { AxisResult, ScaleRequirement, ScaleVerdict } from './scale-types.ts';
import { spreadOf } from './statistics.ts';

/** Each bound at the point where it is worst: one that stands for itself holds in every run. */
export function judgeScale(requirements: readonly ScaleRequirement[], axes: readonly AxisResult[]): ScaleVerdict[] {
  return requirements.map(({ figure, metric, atMost, of }) => {
    const found = axes.flatMap((a) =>
      a.points.flatMap(({ point, samples }) => {
        const measured = of(point) ? spreadOf(samples.map((s) => s[metric])) : null;
        return measured === null ? [] : [{ where: `${a.name} ${point.label}`, measured }];
      }),
    );
    const [first, ...rest] = found;
    if (first === undefined) return { figure, metric, atMost, where: null, measured: null, met: null };
    const worst = rest.reduce((a, b) => (b.measured.max > a.measured.max ? b : a), first);
    return { figure, metric, atMost, ...worst, met: worst.measured.max <= atMost };
  });
}
