import { describe, expect, it } from 'vitest';
import { HOOK_QUEUE_MAX, HookQueue } from '../../../src/control/hook-queue.ts';
import { settle } from '../../support/manual-clock.ts';

/** A queue of jobs that end when the test says so. */
function rig() {
  const queue = new HookQueue();
  const ran: string[] = [];
  const ends: (() => void)[] = [];
  const job = (name: string) => (): Promise<void> => {
    ran.push(name);
    return new Promise((resolve) => {
      ends.push(resolve);
    });
  };
  const end = async (): Promise<void> => {
    ends.shift()?.();
    await settle();
  };
  return { queue, ran, job, end };
}

describe('the queue of a mirror’s hooks', () => {
  it('runs one after the other, in order', async () => {
    const { queue, ran, job, end } = rig();
    queue.add('a', job('a'));
    queue.add('b', job('b'));
    expect(ran).toEqual(['a']);
    await end();
    expect(ran).toEqual(['a', 'b']);
    let idle = false;
    void queue.idle().then(() => {
      idle = true;
    });
    await settle();
    expect(idle).toBe(false);
    await end();
    expect(idle).toBe(true);
  });

  it('keeps of what waits and happens again the newer one, at its newer place', async () => {
    const { queue, ran, job, end } = rig();
    for (const [key, name] of [
      ['x', 'runs'],
      ['a', 'a1'],
      ['b', 'b'],
      ['a', 'a2'],
    ] as const)
      queue.add(key, job(name));
    for (let i = 0; i < 4; i += 1) await end();
    expect(ran).toEqual(['runs', 'b', 'a2']);
  });

  it('lets one go first, and tells when it has ended', async () => {
    const { queue, ran, job, end } = rig();
    queue.add('a', job('a'));
    queue.add('b', job('b'));
    let ended = false;
    void queue.addFirst('c', job('c')).then(() => {
      ended = true;
    });
    await end();
    expect([ran, ended]).toEqual([['a', 'c'], false]);
    await end();
    expect([ran, ended]).toEqual([['a', 'c', 'b'], true]);
  });

  it('leaves nobody waiting for what is dropped', async () => {
    const { queue, ran, job, end } = rig();
    queue.add('a', job('a'));
    queue.add('b', job('b'));
    const waits = queue.addFirst('c', job('c'));
    expect([queue.drop('b'), queue.drop()]).toEqual([1, 1]);
    await waits;
    await end();
    expect(ran).toEqual(['a']);
  });

  it('has no room beyond its limit', () => {
    const { queue, job } = rig();
    queue.add('runs', job('runs'));
    for (let i = 0; i < HOOK_QUEUE_MAX; i += 1) expect(queue.add(String(i), job(''))).toBe(true);
    expect(queue.add('one more', job(''))).toBe(false);
    expect(queue.add('0', job(''))).toBe(true);
  });
});
