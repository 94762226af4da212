import { expect, it } from 'vitest';
import { nodeChance } from '../../../../src/io/node/chance.ts';

it('draws numbers in their ranges, and not always the same', () => {
  const words = Array.from({ length: 200 }, () => nodeChance.u32());
  expect(words.every((w) => Number.isInteger(w) && w >= 0 && w < 2 ** 32)).toBe(true);
  expect(new Set(words).size).toBeGreaterThan(190);
  const parts = Array.from({ length: 200 }, () => nodeChance.float());
  expect(parts.every((p) => p >= 0 && p < 1)).toBe(true);
  expect(Math.max(...parts) - Math.min(...parts)).toBeGreaterThan(0.5);
});

it('names things by 16 hex digits', () => {
  const names = new Set(Array.from({ length: 100 }, () => nodeChance.hex64()));
  expect(names.size).toBe(100);
  for (const n of names) expect(n).toMatch(/^[0-9a-f]{16}$/);
});
