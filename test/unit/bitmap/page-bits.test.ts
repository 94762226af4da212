import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { clearBits, nextClearBit, nextSetBit, PAGE_BITS, PAGE_BYTES, popCount, setBits } from '../../../src/bitmap/page-bits.ts';

const bit = fc.integer({ min: 0, max: PAGE_BITS - 1 });

describe('page bits', () => {
  it('counts the bits of any word', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffffffff }), (w) => popCount(w) === w.toString(2).replaceAll('0', '').length));
  });

  it('has bit 0 at 0x80 of byte 0', () => {
    const page = Buffer.alloc(PAGE_BYTES);
    setBits(page, 0, 0);
    setBits(page, 15, 16);
    expect(page.subarray(0, 3).toString('hex')).toBe('800180');
  });

  it('sets and clears exactly what is asked, and finds its ends', () => {
    fc.assert(
      fc.property(bit, bit, (a, b) => {
        const [first, last] = a < b ? [a, b] : [b, a];
        const page = Buffer.alloc(PAGE_BYTES);
        expect(setBits(page, first, last)).toBe(last - first + 1);
        expect(setBits(page, first, last)).toBe(0);
        expect(nextSetBit(page, 0)).toBe(first);
        expect(nextClearBit(page, first)).toBe(last + 1);
        expect(clearBits(page, first, first)).toBe(1);
        expect(nextSetBit(page, first)).toBe(first === last ? PAGE_BITS : first + 1);
        expect(clearBits(page, 0, PAGE_BITS - 1)).toBe(last - first);
        expect(nextSetBit(page, 0)).toBe(PAGE_BITS);
      }),
    );
  });
});
