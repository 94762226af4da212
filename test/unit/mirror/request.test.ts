import { expect, it } from 'vitest';
import { LEGS_MAX, NOT_ASKED, RequestPool } from '../../../src/mirror/request.ts';

it('a record is reused, and comes back as new', () => {
  const pool = new RequestPool();
  const a = pool.take();
  a.h = 5;
  a.fua = true;
  a.mayPunch = true;
  a.lockSlot = 3;
  a.marked = true;
  a.pending = 2;
  a.results[2] = 0;
  a.data = 7;
  a.errno = 5;
  a.seal = 9;
  a.provesAll = true;
  pool.give(a);
  expect(pool.busy).toBe(0);
  const b = pool.take();
  expect(b).toBe(a);
  expect(b).toMatchObject({
    h: 0,
    fua: false,
    mayPunch: false,
    lockSlot: -1,
    marked: false,
    pending: 0,
    data: 0,
    errno: 0,
    seal: 0,
    provesAll: false,
  });
  expect([...b.results]).toEqual(Array.from({ length: LEGS_MAX }, () => NOT_ASKED));
});

it('an answer for a record that is not in flight is a broken invariant', () => {
  const pool = new RequestPool();
  const a = pool.take();
  expect(pool.at(a.index)).toBe(a);
  pool.give(a);
  expect(() => pool.at(a.index)).toThrow('not in flight');
  expect(() => pool.at(77)).toThrow('not in flight');
});

it('lists those in flight', () => {
  const pool = new RequestPool();
  const [a, b, c] = [pool.take(), pool.take(), pool.take()];
  pool.give(b);
  expect([...pool.active()]).toEqual([a, c]);
  expect(pool.busy).toBe(2);
});
