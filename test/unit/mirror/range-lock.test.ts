import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RangeLock, WAITING } from '../../../src/mirror/range-lock.ts';

describe('range lock', () => {
  it('a request that overlaps a held one waits, and gets its turn when that one ends', () => {
    const lock = new RangeLock();
    const turns: number[] = [];
    const waiter = { onLocked: (tag: number) => turns.push(tag) };
    const a = lock.acquire(0, 10, waiter, 1);
    expect(lock.acquire(5, 15, waiter, 2)).toBe(WAITING);
    expect(lock.acquire(20, 30, waiter, 3)).not.toBe(WAITING);
    lock.release(a);
    expect(turns).toEqual([2]);
  });

  it('a newcomer does not overtake an earlier waiter that it overlaps', () => {
    const lock = new RangeLock();
    const turns: number[] = [];
    const waiter = { onLocked: (tag: number) => turns.push(tag) };
    const a = lock.acquire(0, 10, waiter, 1);
    expect(lock.acquire(5, 20, waiter, 2)).toBe(WAITING);
    expect(lock.acquire(15, 25, waiter, 3)).toBe(WAITING);
    lock.release(a);
    expect(turns).toEqual([2]);
  });

  it('an empty range and a slot that is not held are refused', () => {
    const lock = new RangeLock();
    const waiter = { onLocked: () => undefined };
    expect(() => lock.acquire(5, 5, waiter, 1)).toThrow(/empty/);
    const s = lock.acquire(0, 1, waiter, 1);
    lock.release(s);
    expect(() => {
      lock.release(s);
    }).toThrow(/not held/);
  });

  it('never lets overlapping ranges be held together, serves overlapping ones in order, and serves all', () => {
    const range = fc.tuple(fc.nat(60), fc.integer({ min: 1, max: 20 }));
    fc.assert(
      fc.property(fc.array(fc.oneof(range, fc.constant('release' as const)), { maxLength: 120 }), (steps) => {
        const lock = new RangeLock();
        const held = new Map<number, { slot: number; start: number; end: number }>();
        const ranges: { start: number; end: number }[] = [];
        const grantedAt: number[] = [];
        let clock = 0;
        const take = (tag: number, slot: number): void => {
          const r = ranges[tag];
          if (r === undefined) throw new Error('unknown tag');
          for (const h of held.values()) expect(h.start < r.end && r.start < h.end).toBe(false);
          held.set(tag, { slot, ...r });
          grantedAt[tag] = clock;
          clock += 1;
        };
        const waiter = { onLocked: take };
        const releaseOne = (): void => {
          const first = held.entries().next().value;
          if (first === undefined) return;
          held.delete(first[0]);
          lock.release(first[1].slot);
        };
        for (const s of steps) {
          if (s === 'release') {
            releaseOne();
            continue;
          }
          const tag = ranges.length;
          ranges.push({ start: s[0], end: s[0] + s[1] });
          const slot = lock.acquire(s[0], s[0] + s[1], waiter, tag);
          if (slot !== WAITING) take(tag, slot);
        }
        while (held.size > 0) releaseOne();
        expect(Object.keys(grantedAt).length).toBe(ranges.length);
        expect(lock.held).toBe(0);
        expect(lock.waiting).toBe(0);
        ranges.forEach((a, i) => {
          ranges.forEach((b, j) => {
            if (i < j && a.start < b.end && b.start < a.end) expect(grantedAt[i] ?? 0).toBeLessThan(grantedAt[j] ?? 0);
          });
        });
      }),
    );
  });
});
