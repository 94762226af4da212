import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { nodeClock } from '../../../../src/io/node/clock.ts';

it('never calls early, not even after a long turn', async () => {
  const waits = [0, 1, 2, 3.7, 15].flatMap((ms) =>
    Array.from({ length: 20 }, () => {
      // Begun at all fractions of a millisecond, in a turn whose own length must not count as waiting.
      const begun = nodeClock.now();
      while (nodeClock.now() - begun < 0.13);
      const from = nodeClock.now();
      return new Promise<number>((resolve) => {
        nodeClock.after(ms, () => {
          resolve(nodeClock.now() - from - ms);
        });
      });
    }),
  );
  expect(Math.min(...(await Promise.all(waits)))).toBeGreaterThanOrEqual(0);
});

it('does not call what was cancelled', async () => {
  let called = false;
  const timer = nodeClock.after(1, () => {
    called = true;
  });
  timer.cancel();
  await new Promise<void>((resolve) => {
    nodeClock.after(10, resolve);
  });
  expect(called).toBe(false);
});

it('waits longer than Node’s longest timeout rather than calling at once', async () => {
  let called = false;
  const timer = nodeClock.after(2 ** 33, () => {
    called = true;
  });
  await new Promise<void>((resolve) => {
    nodeClock.after(5, resolve);
  });
  expect(called).toBe(false);
  timer.cancel();
});

it('calls soon, but in a later turn', async () => {
  const order: string[] = [];
  const done = new Promise<void>((resolve) => {
    nodeClock.soon(() => {
      order.push('soon');
      resolve();
    });
  });
  order.push('now');
  await Promise.resolve();
  order.push('microtask');
  await done;
  expect(order).toEqual(['now', 'microtask', 'soon']);
});

it('keeps no process alive', () => {
  const clock = fileURLToPath(new URL('../../../../src/io/node/clock.ts', import.meta.url));
  const program = `import { nodeClock } from ${JSON.stringify(clock)}; nodeClock.after(60_000, () => {});`;
  const tsx = fileURLToPath(new URL('../../../../node_modules/tsx/dist/loader.mjs', import.meta.url));
  const run = spawnSync(process.execPath, ['--import', tsx, '--input-type=module', '--eval', program], { timeout: 9000 });
  expect(run.status).toBe(0);
});

it('tells people the time of day', () => {
  expect(nodeClock.wallNow()).toBeGreaterThan(Date.UTC(2024, 0, 1));
});
