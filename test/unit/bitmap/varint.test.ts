import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader, CodecError, putVarint, VARINT_MAX_BYTES, varintBytes } from '../../../src/bitmap/varint.ts';

describe('varint', () => {
  it('comes back as it went, in as many bytes as announced', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (n) => {
        const bytes = new Uint8Array(VARINT_MAX_BYTES);
        const used = putVarint(bytes, 0, n);
        expect(used).toBe(varintBytes(n));
        const r = new ByteReader(bytes.subarray(0, used));
        expect(r.varint()).toBe(n);
        expect(r.left).toBe(0);
      }),
    );
  });

  it.each([
    ['ends too early', [0x80]],
    ['is longer than it need be', [0x80, 0x00]],
    ['is above 2^53', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ['never ends', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
  ])('refuses a number that %s', (_what, bytes) => {
    expect(() => new ByteReader(Uint8Array.from(bytes)).varint()).toThrow(CodecError);
  });
});
