import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OpenRequests } from '../../../src/nbd/open-requests.ts';

/** Ids that meet in few places, also beyond 32 bits, as the engines' are. */
const ids = fc.oneof(
  fc.integer({ min: 1, max: 300 }),
  fc.integer({ min: 1, max: 40 }).map((n) => n * 64),
  fc.integer({ min: 1, max: 2 ** 20 }).map((n) => n * 2 ** 20 + (n % 7)),
);

describe('OpenRequests', () => {
  it('is a set, whatever comes and goes', () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('add', 'delete', 'delete'), ids), { maxLength: 600 });
    fc.assert(
      fc.property(steps, (all) => {
        const open = new OpenRequests();
        const model = new Set<number>();
        for (const [what, id] of all) {
          if (what === 'delete') expect(open.delete(id)).toBe(model.delete(id));
          else if (!model.has(id)) {
            open.add(id);
            model.add(id);
          }
          expect(open.size).toBe(model.size);
          expect(open.has(id)).toBe(model.has(id));
          expect(open.has(id + 64)).toBe(model.has(id + 64));
        }
        expect(open.all().sort((a, b) => a - b)).toEqual([...model].sort((a, b) => a - b));
      }),
      { numRuns: 300 },
    );
  });

  it('grows while nothing is lost, and is empty when cleared', () => {
    const open = new OpenRequests();
    for (let id = 1; id <= 5000; id += 1) open.add(id * 2 ** 20);
    for (let id = 1; id <= 5000; id += 2) expect(open.delete(id * 2 ** 20)).toBe(true);
    expect(open.size).toBe(2500);
    for (let id = 1; id <= 5000; id += 1) expect(open.delete(id * 2 ** 20)).toBe(id % 2 === 0);
    open.add(7);
    open.clear();
    expect([open.size, open.delete(7), open.all()]).toEqual([0, false, []]);
  });

  it('takes no id that means none', () => {
    const open = new OpenRequests();
    expect(() => {
      open.add(0);
    }).toThrow(RangeError);
    expect(() => {
      open.add(Number.NaN);
    }).toThrow(RangeError);
  });
});
