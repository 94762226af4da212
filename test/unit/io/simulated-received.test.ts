import { describe, expect, it } from 'vitest';
import { Received } from '../../../src/io/simulated/received.ts';
import { patterned } from './simulated-support.ts';

/** Three segments of 10, 20 and 30 bytes, of which these are damaged. */
function received(...damaged: number[]): Received {
  const r = new Received();
  const all = patterned(60);
  [0, 10, 30].forEach((at, i) => {
    r.push({ bytes: all.slice(at, [10, 30, 60][i]), damaged: damaged.includes(i) });
  });
  return r;
}

describe('Received', () => {
  it.each([[60], [10, 20, 30], [1, 59], [15, 30, 15], [5, 5, 25, 1, 24], [10, 35, 15]])(
    'gives pieces of %j bytes in the order of the segments',
    (...sizes) => {
      const r = received();
      const out: number[] = [];
      for (const n of sizes) {
        const before = r.length;
        const { bytes } = r.take(n);
        expect([bytes.length, r.length]).toEqual([n, before - n]);
        out.push(...bytes);
      }
      expect(out).toEqual([...patterned(60)]);
    },
  );

  it('calls a part of a damaged segment damaged, whichever part it is', () => {
    const r = received(0);
    expect([r.take(3).damaged, r.take(7).damaged, r.take(4).damaged]).toEqual([true, true, false]);
  });

  it('calls a piece damaged only when nothing in it came as it was sent', () => {
    expect(received(0, 1).take(30).damaged).toBe(true);
    expect(received(0, 1).take(31).damaged).toBe(false);
    expect(received(1).take(12).damaged).toBe(false);
    const r = received(1, 2);
    r.take(10);
    expect(r.take(50).damaged).toBe(true);
  });

  it('is empty after it was cleared, and refuses to give more than there is', () => {
    const r = received();
    r.clear();
    expect(r.length).toBe(0);
    expect(() => r.take(1)).toThrow('more is taken than was received');
  });
});
