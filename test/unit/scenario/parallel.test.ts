import { expect, it } from 'vitest';
import { parallel } from '../../../src/scenario/parallel.ts';

it('does everything, so many at a time', async () => {
  let now = 0;
  let most = 0;
  const done: number[] = [];
  await parallel(2, [1, 2, 3, 4, 5], async (i) => {
    now += 1;
    most = Math.max(most, now);
    await Promise.resolve();
    done.push(i);
    now -= 1;
  });
  expect(done.sort()).toEqual([1, 2, 3, 4, 5]);
  expect(most).toBe(2);
});

it('begins nothing more after a failure, and tells the first when those under way have ended', async () => {
  const begun: number[] = [];
  let ended = false;
  await expect(
    parallel(2, [1, 2, 3, 4], async (i) => {
      begun.push(i);
      if (i === 1) throw new Error('first');
      await Promise.resolve();
      await Promise.resolve();
      ended = true;
    }),
  ).rejects.toThrow('first');
  expect(begun).toEqual([1, 2]);
  expect(ended).toBe(true);
});
