import { expect, it } from 'vitest';
import { waitUntil } from '../../../src/attach/wait.ts';

it('asks again until the answer is yes', async () => {
  let asked = 0;
  expect(await waitUntil(5000, () => Promise.resolve(++asked === 3))).toBe(true);
  expect(asked).toBe(3);
});

it('gives up at the deadline, having asked at least once', async () => {
  let asked = 0;
  const never = (): Promise<boolean> => {
    asked += 1;
    return Promise.resolve(false);
  };
  expect(await waitUntil(0, never)).toBe(false);
  expect(asked).toBe(1);
});

it('hands an error on', async () => {
  await expect(waitUntil(5000, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
});
