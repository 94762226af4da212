import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compare } from '../../../src/failover/compare.ts';
import type { CompareAnswer, NodeView } from '../../../src/failover/types.ts';
import { viewOf } from './arbitrary.ts';

const marks = (a: CompareAnswer): string[] => (a.marks ?? []).map((m) => (m.map === 'intent' ? `${m.of} intent` : `${m.of} for ${m.for}`));

describe('for any two views', () => {
  const pair = fc.tuple(viewOf('server1'), viewOf('server2'));
  const runs = { numRuns: 1000 };
  const each = (check: (a: NodeView, b: NodeView, answer: CompareAnswer) => void): void => {
    fc.assert(
      fc.property(pair, fc.boolean(), ([a, b], ended) => {
        check(a, b, compare(a, b, { ended }));
      }),
      runs,
    );
  };

  it('the answer does not depend on who asks', () => {
    fc.assert(
      fc.property(pair, fc.boolean(), ([a, b], ended) => {
        expect(compare(b, a, { ended })).toEqual(compare(a, b, { ended }));
      }),
      runs,
    );
  });

  it('there is a rule, a reason, and a direction exactly where something is to be copied', () => {
    each((_a, _b, x) => {
      expect(x.why).not.toBe('');
      if (x.kind === 'partial' || x.kind === 'full') expect(x.direction).not.toBeNull();
      if (x.kind === 'none' || x.kind === 'refuse') expect(x.direction).toBeNull();
      expect(x.marks !== undefined).toBe(x.kind === 'partial');
    });
  });

  it('a node in service is never the target', () => {
    each((a, b, x) => {
      const to = x.direction?.to;
      expect(a.inService && to === a.node).toBe(false);
      expect(b.inService && to === b.node).toBe(false);
    });
  });

  it('a node whose data is inconsistent, or whose leg is behind, is never the origin', () => {
    each((a, b, x) => {
      const origin = [a, b].find((v) => v.node === x.direction?.from);
      expect(origin?.record.resyncingFrom ?? null).toBeNull();
      expect(origin?.record.legBehind ?? null).toBeNull();
    });
  });

  it('partial never rests on a damaged bitmap, nor on an account that is incomplete or given away', () => {
    each((a, b, x) => {
      if (x.kind !== 'partial') return;
      const [origin, target] = x.direction?.from === a.node ? [a, b] : [b, a];
      expect([a.bitmapDamaged, b.bitmapDamaged]).toEqual([false, false]);
      expect(origin.record.accountComplete).toContain(target.node);
      expect([null, origin.node]).toContain(origin.record.accountGivenTo);
    });
  });

  it('marks that exist between the two are in the union of every partial resync', () => {
    each((a, b, x) => {
      if (x.kind !== 'partial') return;
      for (const [v, other] of [
        [a, b],
        [b, a],
      ] as const) {
        if ((v.outOfSyncBytes[other.node] ?? 0) > 0) expect(marks(x)).toContain(`${v.node} for ${other.node}`);
        if (v.intentBytes > 0 && !v.inService) expect(marks(x)).toContain(`${v.node} intent`);
      }
    });
  });

  it('nothing is copied over a generation that the origin has never heard of', () => {
    each((a, b, x) => {
      if (x.direction === null || x.rule === 'inconsistent' || x.rule === 'blank') return;
      const [origin, target] = x.direction.from === a.node ? [a, b] : [b, a];
      const r = origin.record;
      const known = [r.generation, ...r.history, ...r.offered.map((o) => o.generation), ...Object.values(r.absentPeers)];
      const held = target.record.offered.findLast((o) => o.served)?.generation ?? target.record.generation;
      const offeredOnly = target.record.offered.slice(target.record.offered.findLastIndex((o) => o.served) + 1).map((o) => o.generation);
      const originHolds = r.offered.findLast((o) => o.served)?.generation ?? r.generation;
      expect(known.includes(held) || offeredOnly.includes(originHolds)).toBe(true);
    });
  });
});
