/** Medians, spreads and ratios of runs. Pure. */

/** NaN for none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const at = (i: number): number => sorted[i] ?? Number.NaN;
  return sorted.length % 2 === 1 ? at(half) : (at(half - 1) + at(half)) / 2;
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** Null when a run has no such figure, or there are no runs. */
export function spreadOf(values: readonly (number | null)[]): Spread | null {
  const known = values.filter((v) => v !== null);
  if (known.length === 0 || known.length < values.length) return null;
  return { median: median(known), min: Math.min(...known), max: Math.max(...known) };
}

/** Of the medians; the spread is that of the rounds, in each of which both were measured one after the other. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Spread {
  const rounds = ours.flatMap((v, i) => {
    const w = theirs[i];
    return w === undefined ? [] : [v / w];
  });
  return { median: median(ours) / median(theirs), min: Math.min(...rounds), max: Math.max(...rounds) };
}
