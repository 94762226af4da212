import { expect, it } from 'vitest';
import { median, ratioOf, spreadOf } from '../../../scripts/benchmark/statistics.ts';

it('takes the middle one of an odd number, and the mean of the middle two of an even one', () => {
  expect(median([30, 10, 20])).toBe(20);
  expect(median([40, 10, 20, 30])).toBe(25);
  expect(median([])).toBeNaN();
});

it('knows no spread when a run has no figure, or there are no runs', () => {
  expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(spreadOf([3, null, 2])).toBeNull();
  expect(spreadOf([])).toBeNull();
});

it('divides medians, and gives the spread of the rounds', () => {
  expect(ratioOf([10, 20, 60], [10, 10, 20])).toEqual({ median: 2, min: 1, max: 3 });
});

it('leaves a round out of the spread that only one side has', () => {
  expect(ratioOf([10, 20, 90], [10, 10])).toMatchObject({ min: 1, max: 2 });
});
