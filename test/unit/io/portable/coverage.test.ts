import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Coverage } from '../../../../src/io/portable/coverage.ts';

it('agrees with a list of bytes, whatever the order of the pieces', () => {
  const piece = fc.record({ from: fc.nat({ max: 29 }), length: fc.integer({ min: 1, max: 12 }) });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      const coverage = new Coverage();
      const bytes = new Array<boolean>(30).fill(false);
      for (const p of pieces) {
        const to = Math.min(30, p.from + p.length);
        const fresh = bytes.slice(p.from, to).every((b) => !b);
        expect(coverage.add(p.from, to)).toBe(fresh);
        if (fresh) bytes.fill(true, p.from, to);
        expect(coverage.isAll(30)).toBe(bytes.every((b) => b));
      }
      coverage.clear();
      expect(coverage.isAll(0)).toBe(true);
      expect(coverage.isAll(1)).toBe(false);
      expect(coverage.add(0, 1)).toBe(true);
      expect(coverage.isAll(1)).toBe(true);
    }),
  );
});
