import { expect, it } from 'vitest';
import { EXTENTS_MAX, LegOp } from '../../../../src/io/portable/leg-op.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { MemoryLeg } from '../memory-leg.ts';

it('goes on in place when a leg answers within the call, however short its steps', () => {
  const file = new MemoryLeg(new ManualClock(), 100_000);
  file.stepBytes = 1;
  let ends = 0;
  const op = new LegOp(() => {
    ends += 1;
  });
  op.write(file, 0, new Uint8Array(100_000).fill(5), true);
  expect(ends).toBe(1);
  expect(op.errno).toBe(0);
  expect(op.moved).toBe(100_000);
  expect(file.bytes.every((b) => b === 5)).toBe(true);
});

it('ends a list of extents early rather than let it grow without bound', () => {
  const file = new MemoryLeg(new ManualClock(), 1);
  const count = EXTENTS_MAX + 3000;
  file.layout = Array.from({ length: count }, (_, i) => ({ offset: i, length: 1, hole: i % 2 === 0, zero: false }));
  file.extentsPerCall = 1000;
  const op = new LegOp(() => undefined);
  op.askExtents(file, 0, count);
  expect(op.errno).toBe(0);
  expect(op.moved).toBeGreaterThanOrEqual(EXTENTS_MAX);
  expect(op.moved).toBeLessThan(count);
  expect(op.extents?.length).toBe(op.moved);
});

it('takes extents out of place for the bug that they are', () => {
  const file = new MemoryLeg(new ManualClock(), 1);
  file.layout = [{ offset: 5, length: 10, hole: false, zero: false }];
  expect(() => {
    new LegOp(() => undefined).askExtents(file, 0, 20);
  }).toThrow(/out of place/);
});

it('starts afresh when it is used again', () => {
  const file = new MemoryLeg(new ManualClock(), 10);
  file.syncErrno = 5;
  const op = new LegOp(() => undefined);
  op.write(file, 0, new Uint8Array(10), true);
  expect(op.errno).toBe(5);
  op.reset();
  op.write(file, 0, new Uint8Array(5), false);
  expect([op.errno, op.moved]).toEqual([0, 5]);
  expect(file.calls).toEqual(['write', 'sync', 'write']);
});
