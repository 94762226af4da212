import { setTimeout as sleep } from 'node:timers/promises';

const pollMs = 20;

/** Asks `done` until it says true; false when `timeoutMs` passed first. The answer given last counts. */
export async function waitUntil(timeoutMs: number, done: () => Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!(await done())) {
    if (performance.now() >= deadline) return false;
    await sleep(pollMs);
  }
  return true;
}
