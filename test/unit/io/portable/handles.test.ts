import fc from 'fast-check';
import { expect, it } from 'vitest';
import { HandlePool } from '../../../../src/io/portable/handles.ts';

it('keeps live handles apart, counts them, and refuses dead ones', () => {
  const step = fc.record({ act: fc.constantFrom('allocate', 'retain', 'release'), pick: fc.nat(), length: fc.integer({ min: 0, max: 5000 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const pool = new HandlePool();
      const live: { h: number; references: number; fill: number; length: number }[] = [];
      const dead: number[] = [];
      steps.forEach((s, i) => {
        const e = live[s.pick % Math.max(1, live.length)];
        if (s.act === 'allocate' || e === undefined) {
          const h = pool.allocate(s.length);
          expect(h).toBeGreaterThan(0);
          expect(h).toBeLessThan(2 ** 32);
          expect(live.some((l) => l.h === h)).toBe(false);
          pool.view(h).fill(i & 0xff);
          live.push({ h, references: 1, fill: i & 0xff, length: s.length });
        } else if (s.act === 'retain') {
          pool.retain(e.h);
          e.references += 1;
        } else {
          pool.release(e.h);
          e.references -= 1;
          if (e.references === 0) {
            dead.push(e.h);
            live.splice(live.indexOf(e), 1);
          }
        }
        expect(pool.liveHandles).toBe(live.length);
        expect(pool.liveBytes).toBe(live.reduce((n, l) => n + l.length, 0));
      });
      for (const l of live) expect(pool.view(l.h).every((b) => b === l.fill)).toBe(true);
      for (const l of live) expect(pool.view(l.h).length).toBe(l.length);
      for (const h of dead) if (!live.some((l) => l.h === h)) expect(() => pool.view(h)).toThrow(/not live/);
    }),
    { numRuns: 60 },
  );
});

it('uses a buffer again for another length of its class', () => {
  const pool = new HandlePool();
  const h = pool.allocate(4000);
  const { buffer } = pool.view(h);
  pool.release(h);
  const again = pool.allocate(3000);
  expect(pool.view(again).buffer).toBe(buffer);
  expect(pool.view(again).length).toBe(3000);
});

it('gives away no part that is not inside, and nothing of no size', () => {
  const pool = new HandlePool();
  const h = pool.allocate(100);
  expect(pool.part(h, 40, 60).length).toBe(60);
  expect(pool.part(h, 100, 0).length).toBe(0);
  for (const [offset, length] of [
    [41, 60],
    [-1, 5],
    [0, 101],
    [0, -1],
    [NaN, 1],
  ] as const) {
    expect(() => pool.part(h, offset, length)).toThrow(RangeError);
  }
  for (const length of [-1, 1.5, NaN, Infinity]) expect(() => pool.allocate(length)).toThrow(RangeError);
});

it('serves buffers too long to be kept', () => {
  const pool = new HandlePool();
  const h = pool.allocate(20 * 1024 * 1024);
  expect(pool.view(h).length).toBe(20 * 1024 * 1024);
  pool.release(h);
  expect(pool.liveBytes).toBe(0);
});
