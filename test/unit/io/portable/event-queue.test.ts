import { expect, it } from 'vitest';
import { EventQueue } from '../../../../src/io/portable/event-queue.ts';
import { EventKind } from '../../../../src/io/types.ts';
import { ManualClock, settle } from '../../../support/manual-clock.ts';

it('keeps every field of many events, in order, and runs what follows a delivery', async () => {
  let after = 0;
  const queue = new EventQueue(new ManualClock(), () => {
    after += 1;
  });
  const seen: unknown[] = [];
  queue.handle((e) => {
    for (let i = 0; i < e.count; i += 1) {
      if (e.kind[i] === EventKind.REQUEST) seen.push([e.conn[i], e.id[i], e.cmd[i], e.flags[i], e.offset[i], e.length[i], e.handle[i]]);
      else if (e.kind[i] === EventKind.DONE) seen.push([e.id[i], e.errno[i], e.length[i], e.handle[i], e.value[i]]);
      else seen.push([e.conn[i], e.errno[i]]);
    }
  });
  const expected: unknown[] = [];
  for (let i = 0; i < 300; i += 1) {
    queue.request(1, 2 ** 40 + i, 3, 4, 2 ** 50 + i, 0xffffffff, 0xfffffff0 + (i % 15));
    expected.push([1, 2 ** 40 + i, 3, 4, 2 ** 50 + i, 0xffffffff, 0xfffffff0 + (i % 15)]);
    queue.done(2 ** 33 + i, 5, i, 6, { kind: 'digest', hex: String(i) });
    expected.push([2 ** 33 + i, 5, i, 6, { kind: 'digest', hex: String(i) }]);
    queue.closed(0xffffffff, i);
    expected.push([0xffffffff, i]);
  }
  expect(seen).toEqual([]);
  await settle();
  expect(seen).toEqual(expected);
  expect(after).toBe(1);
});

it('forgets values of an earlier batch', async () => {
  const queue = new EventQueue(new ManualClock(), () => undefined);
  const values: unknown[] = [];
  queue.handle((e) => {
    for (let i = 0; i < e.count; i += 1) values.push(e.value[i]);
  });
  for (let round = 0; round < 3; round += 1) {
    queue.done(1, 0, 0, 0, round < 2 ? { kind: 'zeroes', zero: [] } : undefined);
    await settle();
  }
  queue.closed(1, 0);
  await settle();
  expect(values.map((v) => v === undefined)).toEqual([false, false, true, true]);
});

it('waits for its handler', async () => {
  const queue = new EventQueue(new ManualClock(), () => undefined);
  queue.closed(7, 0);
  await settle();
  const seen: number[] = [];
  queue.handle((e) => {
    seen.push(e.conn[0] ?? 0);
  });
  await settle();
  expect(seen).toEqual([7]);
});
