import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { digestOf, isAllZero, zeroGranules } from '../../../../src/io/portable/compute.ts';
import { pattern } from '../engine-rig.ts';

it('digests', () => {
  expect(digestOf(new TextEncoder().encode('123456789'), 'crc32')).toBe('cbf43926');
  expect(digestOf(new Uint8Array(0), 'crc32')).toBe('00000000');
  expect(digestOf(pattern(1000, 1), 'sha256')).toBe(createHash('sha256').update(pattern(1000, 1)).digest('hex'));
});

it('finds a single byte that is not zero, wherever it is', () => {
  const whole = new Uint8Array(200_000);
  const bytes = whole.subarray(3);
  for (const at of [0, 65_535, 65_536, 199_996]) {
    bytes[at] = 1;
    expect(isAllZero(bytes, 0, bytes.length)).toBe(false);
    expect(isAllZero(bytes, at + 1, bytes.length)).toBe(true);
    expect(isAllZero(bytes, 0, at)).toBe(true);
    bytes[at] = 0;
  }
  whole[2] = 1;
  expect(isAllZero(bytes, 0, bytes.length)).toBe(true);
});

it('answers for each granule, and refuses a granule of nothing', () => {
  expect(zeroGranules(new Uint8Array([0, 0, 0, 1, 0]), 2)).toEqual([true, false, true]);
  expect(zeroGranules(new Uint8Array(0), 2)).toEqual([]);
  for (const g of [0, -1, NaN]) expect(() => zeroGranules(new Uint8Array(4), g)).toThrow(RangeError);
});
