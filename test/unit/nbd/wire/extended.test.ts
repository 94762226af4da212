import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeBlockStatusExt,
  decodeStatusPayload,
  encodeBlockStatusExt,
  encodeStatusPayload,
  statusPayloadBytes,
} from '../../../../src/nbd/wire/extended.ts';
import { viewOf } from '../../../../src/nbd/wire/layout.ts';
import { encodeExtendedChunk, encodeExtendedRequest, newExtendedChunkHeader, decodeExtendedChunk } from '../../../../src/nbd/wire/transmission.ts';

const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');
const u32 = fc.integer({ min: 0, max: 0xffffffff });

// Written out by hand from the NBD specification, branch extension-ext-header.
test('the golden bytes of headers, block status and a status payload are those of the specification', () => {
  const request = new Uint8Array(32);
  encodeExtendedRequest(viewOf(request), 0, {
    flags: 0x21,
    type: 1,
    cookieHi: 0x01020304,
    cookieLo: 0x05060708,
    offset: 2 ** 40 + 1,
    length: 2 ** 33,
  });
  expect(hex(request)).toBe('21e41c71' + '0021' + '0001' + '0102030405060708' + '0000010000000001' + '0000000200000000');
  const reply = new Uint8Array(32);
  encodeExtendedChunk(viewOf(reply), 0, 1, 6, { cookieHi: 0x01020304, cookieLo: 0x05060708, offsetHi: 0xffffffff, offsetLo: 0xfffffffe }, 24);
  expect(hex(reply)).toBe('6e8a278c' + '0001' + '0006' + '0102030405060708' + 'fffffffffffffffe' + '0000000000000018');
  expect(hex(encodeBlockStatusExt(9, [{ length: 2 ** 46, flags: 3 }]))).toBe('00000009' + '00000001' + '0000400000000000' + '0000000000000003');
  const payload = new Uint8Array(statusPayloadBytes(2));
  encodeStatusPayload(payload, { length: 2 ** 46, contextIds: [1, 0xffffffff] });
  expect(hex(payload)).toBe('0000400000000000' + '00000001' + 'ffffffff');
});

test('block status comes back, whether its count is told or not', () => {
  const descriptors = fc.array(fc.record({ length: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), flags: u32 }), {
    minLength: 1,
    maxLength: 9,
  });
  fc.assert(
    fc.property(u32, descriptors, (contextId, all) => {
      const bytes = encodeBlockStatusExt(contextId, all);
      expect(decodeBlockStatusExt(bytes)).toEqual({ contextId, descriptors: all });
      bytes.fill(0, 4, 8);
      expect(decodeBlockStatusExt(bytes)).toEqual({ contextId, descriptors: all });
      viewOf(bytes).setUint32(4, all.length + 1);
      expect(decodeBlockStatusExt(bytes)).toBeUndefined();
    }),
  );
});

test('a length that no number holds becomes the longest that one does, and a status keeps its lower half', () => {
  const bytes = encodeBlockStatusExt(1, [{ length: 1, flags: 0 }]);
  bytes.fill(0xff, 8, 16);
  bytes.fill(0x77, 16, 20);
  viewOf(bytes).setUint32(20, 3);
  expect(decodeBlockStatusExt(bytes)?.descriptors).toEqual([{ length: Number.MAX_SAFE_INTEGER, flags: 3 }]);
});

test('a status payload comes back; one of more contexts than there are is refused', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.array(u32, { maxLength: 6 }), (length, contextIds) => {
      const bytes = new Uint8Array(statusPayloadBytes(contextIds.length));
      encodeStatusPayload(bytes, { length, contextIds });
      expect(decodeStatusPayload(bytes, contextIds.length)).toEqual({ length, contextIds });
      if (contextIds.length > 0) expect(decodeStatusPayload(bytes, contextIds.length - 1)).toBeUndefined();
      expect(decodeStatusPayload(bytes.subarray(0, bytes.length - 1), 99)).toBeUndefined();
    }),
  );
});

test('no bytes make a decoder throw, and none make it see an extent of no length', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 90 }), fc.nat(5), (bytes, contextsMax) => {
      const status = decodeBlockStatusExt(bytes);
      if (status !== undefined) for (const d of status.descriptors) expect(d.length).toBeGreaterThan(0);
      const payload = decodeStatusPayload(bytes, contextsMax);
      if (payload !== undefined) expect(payload.contextIds.length).toBeLessThanOrEqual(contextsMax);
      if (bytes.length >= 32) decodeExtendedChunk(viewOf(bytes), 0, newExtendedChunkHeader());
    }),
  );
});
