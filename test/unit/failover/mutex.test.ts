import { expect, it } from 'vitest';
import { Mutex } from '../../../src/failover/mutex.ts';

it('one at a time, in the order of asking', async () => {
  const m = new Mutex();
  const log: string[] = [];
  const gates: (() => void)[] = [];
  const step = (name: string): Promise<string> =>
    m.run(async () => {
      log.push(`${name} begins`);
      await new Promise<void>((resolve) => gates.push(resolve));
      log.push(`${name} ends`);
      return name;
    });
  const all = [step('a'), step('b'), step('c')];
  expect(m.busy).toBe(true);
  for (let i = 0; i < 3; i += 1) {
    while (gates.length === 0) await Promise.resolve();
    gates.shift()?.();
  }
  expect(await Promise.all(all)).toEqual(['a', 'b', 'c']);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  expect(m.busy).toBe(false);
});

it('a failure is its own caller’s, and holds up nobody', async () => {
  const m = new Mutex();
  const bad = m.run(() => Promise.reject(new Error('no')));
  const good = m.run(() => Promise.resolve(1));
  await expect(bad).rejects.toThrow('no');
  expect(await good).toBe(1);
  const thrown = m.run(() => {
    throw new Error('at once');
  });
  await expect(thrown).rejects.toThrow('at once');
  expect(m.busy).toBe(false);
});
