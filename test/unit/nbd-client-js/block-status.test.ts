import { describe, expect, it } from 'vitest';
import type { EngineValue } from '../../../src/io/types.ts';
import { append, extentsOf } from '../../../src/nbd-client-js/block-status.ts';

function status(...extents: [number, number][]): EngineValue {
  return { kind: 'block-status', contexts: [{ id: 7, extents: extents.map(([length, flags]) => ({ length, flags })) }] };
}

describe('an answer to block status', () => {
  it('becomes extents, contiguous from the offset asked for', () => {
    expect(extentsOf(status([10, 0], [20, 3], [5, 2], [5, 1]), 7, 100, 40)).toEqual([
      { offset: 100, length: 10, hole: false, zero: false },
      { offset: 110, length: 20, hole: true, zero: true },
      { offset: 130, length: 5, hole: false, zero: true },
      { offset: 135, length: 5, hole: true, zero: false },
    ]);
  });

  it('is cut at the end of the range, and joined where alike', () => {
    expect(extentsOf(status([10, 3], [10, 3], [99, 0], [1, 3]), 7, 0, 50)).toEqual([
      { offset: 0, length: 20, hole: true, zero: true },
      { offset: 20, length: 30, hole: false, zero: false },
    ]);
  });

  it('may end early', () => {
    expect(extentsOf(status([10, 0]), 7, 0, 50)).toHaveLength(1);
  });

  it('is refused when it says nothing: no context of ours, no extents, an empty one, another kind of value', () => {
    expect(extentsOf(status([10, 0]), 8, 0, 50)).toBeUndefined();
    expect(extentsOf(status(), 7, 0, 50)).toBeUndefined();
    expect(extentsOf(status([0, 0]), 7, 0, 50)).toBeUndefined();
    expect(extentsOf(undefined, 7, 0, 50)).toBeUndefined();
    expect(extentsOf({ kind: 'digest', hex: '' }, 7, 0, 50)).toBeUndefined();
  });

  it("ignores flags that are not base:allocation's", () => {
    expect(extentsOf(status([10, 0xfffffffc]), 7, 0, 10)).toEqual([{ offset: 0, length: 10, hole: false, zero: false }]);
  });
});

describe('a list of extents', () => {
  it('does not join across a gap', () => {
    const all = [{ offset: 0, length: 5, hole: false, zero: false }];
    append(all, { offset: 6, length: 5, hole: false, zero: false });
    append(all, { offset: 11, length: 5, hole: false, zero: false });
    expect(all.map((e) => e.length)).toEqual([5, 10]);
  });
});
