/** Memory of a daemon that has nothing to do. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NodeProcess } from './node-process.ts';

const REST_MS = 2000;
const REST_LOOK_MS = 100;
const REST_MAX_MS = 30_000;
/** What the collector takes and gives back in a process that does nothing. */
const REST_SLACK_BYTES = 1024 * 1024;

/** Resident memory once it has stayed as it is for a while. */
export async function memoryAtRest(node: NodeProcess): Promise<number> {
  const end = performance.now() + REST_MAX_MS;
  let since = performance.now();
  let [low, high] = [Infinity, 0];
  for (;;) {
    const { residentBytes } = node.memory();
    [low, high] = [Math.min(low, residentBytes), Math.max(high, residentBytes)];
    const now = performance.now();
    if (high - low > REST_SLACK_BYTES) [since, low, high] = [now, residentBytes, residentBytes];
    else if (now - since >= REST_MS) return high;
    if (now > end) throw new Error(`${node.name} does not come to rest: its memory goes from ${String(low)} to ${String(high)} bytes`);
    await sleep(REST_LOOK_MS);
  }
}
