import { describe, expect, it } from 'vitest';
import {
  haveCommonGeneration,
  heldGeneration,
  holdsUnknown,
  keepsMarksFor,
  knowsGeneration,
  sameGeneration,
} from '../../../src/failover/generation.ts';
import { g, record } from './build.ts';

const TWO = ['server1', 'server2'];
const a = (over = {}): ReturnType<typeof record> => record('server1', TWO, over);
const b = (over = {}): ReturnType<typeof record> => record('server2', TWO, over);
const offered = (n: number, served: boolean): { generation: string; served: boolean } => ({ generation: g(n), served });

describe('generations', () => {
  it('holds the committed one, or the newest offer that a write was answered under', () => {
    expect(heldGeneration(a())).toBe(g(1));
    expect(heldGeneration(a({ offered: [offered(5, false)] }))).toBe(g(1));
    expect(heldGeneration(a({ offered: [offered(5, true), offered(6, true), offered(7, false)] }))).toBe(g(6));
  });

  it('takes an offer for another name of the same data until a write was answered under it', () => {
    const adopted = b({ generation: g(5), history: [g(1)] });
    expect(sameGeneration(a({ offered: [offered(5, false)] }), adopted)).toBe(true);
    expect(sameGeneration(adopted, a({ offered: [offered(5, false)] }))).toBe(true);
    expect(sameGeneration(a({ offered: [offered(5, true)] }), b())).toBe(false);
    expect(sameGeneration(a(), adopted)).toBe(false);
  });

  it('knows its own, its past, and what it offered', () => {
    const r = a({ generation: g(2), history: [g(1)], offered: [offered(3, false)] });
    expect([0, 1, 2, 3, 4].map((n) => knowsGeneration(r, g(n)))).toEqual([false, true, true, true, false]);
  });

  it('keeps marks for a peer only while the peer has the generation it had then', () => {
    const keeper = a({ generation: g(2), history: [g(1)], absentPeers: { server2: g(1) } });
    expect(keepsMarksFor(keeper, b())).toBe(true);
    expect(keepsMarksFor(keeper, b({ generation: g(4), history: [g(1)] }))).toBe(false);
    expect(keepsMarksFor(keeper, b({ generation: g(4), offered: [offered(1, false)] }))).toBe(false);
    expect(keepsMarksFor(b(), keeper)).toBe(false);
  });

  it('tells which of two holds what the other has never heard of', () => {
    const newer = a({ generation: g(2), history: [g(1)] });
    expect(holdsUnknown(newer, b())).toBe(true);
    expect(holdsUnknown(b(), newer)).toBe(false);
    expect(holdsUnknown(a({ offered: [offered(5, true)] }), b())).toBe(true);
  });

  it('finds histories that have nothing in common, and counts what an unfinished resync was copying', () => {
    const stranger = b({ generation: g(7), history: [g(8)] });
    expect(haveCommonGeneration(a(), stranger)).toBe(false);
    expect(haveCommonGeneration(a(), { ...stranger, resyncingFrom: { node: 'server1', kind: 'full', generation: g(1) } })).toBe(true);
    expect(haveCommonGeneration(a({ absentPeers: { server2: g(7) } }), stranger)).toBe(true);
  });
});
