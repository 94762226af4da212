import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesOf } from '../../../src/scenario/bytes.ts';
import { Acknowledged, type PendingWrite } from '../../../src/scenario/model.ts';
import type { Seed } from '../../../src/scenario/types.ts';

const BLOCK = 4096;
const holds = (m: Acknowledged, seed: Seed, settles = true, offset = 0, length = BLOCK) =>
  m.check(offset, bytesOf(seed, offset, length), settles) === undefined;

function written(m: Acknowledged, seed: Seed, offset = 0, length = BLOCK): PendingWrite {
  const w = m.begin(offset, length, seed);
  m.acked(w);
  return w;
}

describe('what was acknowledged', () => {
  it('must be there, and nothing older', () => {
    const m = new Acknowledged();
    written(m, 1);
    expect(holds(m, 1)).toBe(true);
    expect(holds(m, 'zero')).toBe(false);
    written(m, 2);
    expect(holds(m, 2)).toBe(true);
    expect(holds(m, 1)).toBe(false);
  });

  it('is told with place and seeds when it is not there', () => {
    const m = new Acknowledged();
    written(m, 1, BLOCK);
    const bytes = bytesOf(1, BLOCK, BLOCK);
    bytes[600] = (bytes[600] ?? 0) ^ 1;
    expect(m.check(BLOCK, bytes, true)).toEqual({ offset: BLOCK + 512, admissible: ['seed 1'] });
  });

  it('says nothing of places that nobody wrote', () => {
    expect(holds(new Acknowledged(), 5)).toBe(true);
  });

  it('covers writes that begin and end within a sector', () => {
    const m = new Acknowledged();
    written(m, 1);
    written(m, 2, 100, 50);
    const bytes = bytesOf(1, 0, BLOCK);
    expect(m.check(0, bytes, true)?.offset).toBe(0);
    bytes.set(bytesOf(2, 100, 50), 100);
    expect(m.check(0, bytes, true)).toBeUndefined();
  });
});

describe('a write that was never answered', () => {
  it('may be there or not, and then stays so', () => {
    for (const found of [1, 2]) {
      const m = new Acknowledged();
      written(m, 1);
      m.abandoned(m.begin(0, BLOCK, 2));
      expect(holds(m, 3)).toBe(false);
      expect(holds(m, found)).toBe(true);
      expect(holds(m, found)).toBe(true);
      expect(holds(m, 3 - found)).toBe(false);
    }
  });

  it('may be there in part, by whole sectors', () => {
    const m = new Acknowledged();
    written(m, 1);
    m.abandoned(m.begin(0, BLOCK, 2));
    const bytes = bytesOf(1, 0, BLOCK);
    bytes.set(bytesOf(2, 512, 512), 512);
    expect(m.check(0, bytes, true)).toBeUndefined();
    bytes.set(bytesOf(2, 1024, 100), 1024);
    expect(m.check(0, bytes, true)?.offset).toBe(1024);
  });

  it('is not settled by a look at one leg, nor while it is in flight', () => {
    const m = new Acknowledged();
    written(m, 1);
    const w = m.begin(0, BLOCK, 2);
    expect(holds(m, 1)).toBe(true);
    expect(holds(m, 2)).toBe(true);
    m.abandoned(w);
    expect(holds(m, 1, false)).toBe(true);
    expect(holds(m, 2, false)).toBe(true);
  });

  it('is over when a later one is acknowledged', () => {
    const m = new Acknowledged();
    m.abandoned(m.begin(0, BLOCK, 1));
    written(m, 2);
    expect(holds(m, 1)).toBe(false);
    expect(holds(m, 2)).toBe(true);
  });

  it('shows through where a later one covered a part only', () => {
    const m = new Acknowledged();
    m.abandoned(m.begin(0, 512, 1));
    written(m, 2, 0, 10);
    const bytes = bytesOf(1, 0, 512);
    bytes.set(bytesOf(2, 0, 10), 0);
    expect(m.check(0, bytes, false)).toBeUndefined();
    expect(holds(m, 1, false, 0, 512)).toBe(false);
  });
});

describe('writes in flight together at one place', () => {
  it('leave either of them, whichever was answered first', () => {
    const m = new Acknowledged();
    const a = m.begin(0, BLOCK, 1);
    const b = m.begin(0, BLOCK, 2);
    m.acked(a);
    m.acked(b);
    expect(holds(m, 1, false)).toBe(true);
    expect(holds(m, 2, false)).toBe(true);
    expect(holds(m, 'zero')).toBe(false);
  });
});

describe('power lost on every full copy', () => {
  it('takes what was not flushed, and nothing that was', () => {
    const m = new Acknowledged();
    written(m, 1);
    m.flushed(m.now());
    written(m, 2);
    m.powerLost();
    expect(holds(m, 'zero')).toBe(false);
    expect(holds(m, 1)).toBe(true);
    expect(holds(m, 2)).toBe(false);
  });

  it('spares only what a flush covered that began after the acknowledgement', () => {
    const m = new Acknowledged();
    const began = m.now();
    written(m, 1);
    m.flushed(began);
    m.powerLost();
    expect(holds(m, 'zero')).toBe(true);
  });
});

it('names the ranges that were written, in pieces, within the device', () => {
  const m = new Acknowledged();
  written(m, 1, 0, 2 * BLOCK);
  written(m, 1, 5 * BLOCK + 100, 1);
  expect(m.ranges(BLOCK, 5 * BLOCK + 300)).toEqual([
    { offset: 0, length: BLOCK },
    { offset: BLOCK, length: BLOCK },
    { offset: 5 * BLOCK, length: 300 },
  ]);
});

it('never refuses what a device that does as it is told would hold', () => {
  const step = fc.record({
    block: fc.nat(3),
    blocks: fc.integer({ min: 1, max: 3 }),
    answered: fc.boolean(),
    applied: fc.boolean(),
    flush: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const m = new Acknowledged();
      const device = new Uint8Array(6 * BLOCK);
      for (const [i, s] of steps.entries()) {
        const [offset, length, seed] = [s.block * BLOCK, s.blocks * BLOCK, i + 1];
        const w = m.begin(offset, length, seed);
        if (s.answered || s.applied) device.set(bytesOf(seed, offset, length), offset);
        if (s.answered) m.acked(w);
        else m.abandoned(w);
        if (s.flush) m.flushed(m.now());
        expect(m.check(0, device, i % 2 === 0)).toBeUndefined();
      }
    }),
  );
});
