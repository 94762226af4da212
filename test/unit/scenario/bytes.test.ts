import fc from 'fast-check';
import { expect, it } from 'vitest';
import { bytesOf, firstDifference, mixed } from '../../../src/scenario/bytes.ts';

const seed = fc.nat({ max: Number.MAX_SAFE_INTEGER });

it('makes the same bytes for any part as for the whole', () => {
  fc.assert(
    fc.property(seed, fc.nat(1e6), fc.nat(3000), fc.nat(3000), fc.nat(3000), (s, offset, before, length, after) => {
      const whole = bytesOf(s, offset, before + length + after + 1);
      const part = bytesOf(s, offset + before, length + 1);
      expect(Buffer.compare(whole.subarray(before, before + length + 1), part)).toBe(0);
    }),
  );
});

it('makes other bytes for another seed, another place, and places beyond 32 bits', () => {
  const a = bytesOf(1, 0, 4096);
  const same = (b: Uint8Array) => b.filter((x, i) => x === a[i]).length;
  for (const other of [bytesOf(2, 0, 4096), bytesOf(1, 4096, 4096), bytesOf(1, 2 ** 41, 4096), bytesOf(1 + 2 ** 32, 0, 4096)]) {
    expect(same(other)).toBeLessThan(64);
  }
});

it('makes the bytes that it always made, so that a scenario means the same next year', () => {
  expect(Buffer.from(bytesOf(7, 4096, 16)).toString('hex')).toBe(Buffer.from(bytesOf(7, 4096, 16)).toString('hex'));
  expect(Buffer.from(bytesOf(7, 4096, 16)).toString('hex')).toMatchInlineSnapshot(`"443f5aa43d1deb957b05d43f06621c50"`);
  expect(mixed(1, 2)).toMatchInlineSnapshot(`3481531934`);
});

it('makes zeroes without a seed', () => {
  expect(bytesOf('zero', 100, 1000).every((b) => b === 0)).toBe(true);
});

it('finds where bytes first differ, an early end included', () => {
  const of = (...b: number[]) => new Uint8Array(b);
  expect(firstDifference(of(1, 2, 3), of(1, 2, 3))).toBe(-1);
  expect(firstDifference(of(1, 2, 3), of(1, 9, 3))).toBe(1);
  expect(firstDifference(of(1, 2), of(1, 2, 3))).toBe(2);
});
