import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { cpuMicros, descendants, endedChildrenMicros, parseStat, treeTicks } from '../../../scripts/benchmark/cpu.ts';

const line = (name: string) => `4242 (${name}) S 17 4242 4242 0 -1 4194304 100 0 0 0 11 22 3 4 20 0 5 0 1000 2000 300 0 0`;

describe('a line of /proc/PID/stat', () => {
  it('is read from behind the name, which may contain anything', () => {
    for (const name of ['nbdkit', 'a b', 'x) S 1 1 (', '(((']) {
      expect(parseStat(line(name))).toEqual({ pid: 4242, parent: 17, ownTicks: 33, endedChildrenTicks: 7 });
    }
  });

  it.each(['', '4242', '4242 (x', '4242 (x) S 17', 'x (y) S 17 1 1 0 -1 1 1 0 0 0 11 22 3 4'])('is refused when it is none: %s', (text) => {
    expect(() => parseStat(text)).toThrow('no line of /proc/PID/stat');
  });
});

describe('a tree of processes', () => {
  const process = (pid: number, parent: number, ownTicks: number, endedChildrenTicks = 0) => ({ pid, parent, ownTicks, endedChildrenTicks });
  const all = [process(1, 0, 1000), process(10, 1, 5, 7), process(11, 10, 20), process(12, 11, 300), process(20, 1, 4000)];

  it('counts children and grandchildren, those that ended too, and nobody else', () => {
    expect(treeTicks([10], all)).toBe(5 + 7 + 20 + 300);
    expect(treeTicks([12, 20], all)).toBe(4300);
    expect(treeTicks([], all)).toBe(0);
  });

  it('is refused when its root has ended: a server that died used no CPU since', () => {
    expect(() => treeTicks([99], all)).toThrow('process 99 has ended');
  });
});

it('finds what a process has started, and nothing for one that is gone', async () => {
  const child = spawn('sh', ['-c', 'sleep 30 & echo started; wait'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  const { pid } = child;
  if (pid === undefined) throw new Error('sh can not be started');
  const ended = once(child, 'exit');
  await once(child.stdout, 'data');
  expect(descendants(pid)[0]).toBe(pid);
  expect(descendants(pid)).toHaveLength(2);
  expect(descendants(process.pid)).toEqual(expect.arrayContaining(descendants(pid)));
  process.kill(-pid, 'SIGKILL');
  await ended;
  expect(descendants(pid)).toEqual([]);
});

it('counts what this very process uses', () => {
  const before = cpuMicros([process.pid]);
  const used = process.cpuUsage();
  while (process.cpuUsage(used).user < 30_000);
  expect(cpuMicros([process.pid]) - before).toBeGreaterThanOrEqual(20_000);
  expect(endedChildrenMicros()).toBeGreaterThanOrEqual(0);
});
