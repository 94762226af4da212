import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as wire from '../../../../src/nbd/wire/constants.ts';
import { viewOf } from '../../../../src/nbd/wire/layout.ts';
import * as tx from '../../../../src/nbd/wire/transmission.ts';

const u16 = fc.nat(0xffff);
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const request = fc.record({ flags: u16, type: u16, cookieHi: u32, cookieLo: u32, offset: fc.maxSafeNat(), length: u32 });

test('a request is 28 bytes and comes back; the golden bytes are those of the specification', () => {
  const bytes = new Uint8Array(28);
  tx.encodeRequest(viewOf(bytes), 0, { flags: 1, type: 1, cookieHi: 0x01020304, cookieLo: 0x05060708, offset: 0x1000, length: 512 });
  expect(Buffer.from(bytes).toString('hex')).toBe('25609513' + '0001' + '0001' + '0102030405060708' + '0000000000001000' + '00000200');
  fc.assert(
    fc.property(request, fc.nat(7), (h, at) => {
      const v = viewOf(new Uint8Array(40));
      tx.encodeRequest(v, at, h);
      const got = tx.newRequestHeader();
      expect(tx.decodeRequest(v, at, got)).toBe(true);
      expect(got).toEqual(h);
      tx.encodeExtendedRequest(v, at, h);
      expect(tx.decodeExtendedRequest(v, at, got)).toBe(true);
      expect(got).toEqual(h);
      expect(tx.decodeRequest(v, at, got)).toBe(false);
    }),
  );
});

test('replies and chunks come back, and a wrong magic is told apart', () => {
  fc.assert(
    fc.property(u32, u32, u32, u16, u16, fc.maxSafeNat(), (cookieHi, cookieLo, n, flags, type, offset) => {
      const v = viewOf(new Uint8Array(32));
      const simple = tx.newSimpleReplyHeader();
      const chunk = tx.newChunkHeader();
      tx.encodeSimpleReply(v, 0, n, cookieHi, cookieLo);
      expect(tx.decodeSimpleReply(v, 0, simple)).toBe(true);
      expect(simple).toEqual({ error: n, cookieHi, cookieLo });
      expect(tx.decodeChunk(v, 0, chunk)).toBe(false);
      tx.encodeChunk(v, 0, flags, type, cookieHi, cookieLo, n);
      expect(tx.decodeChunk(v, 0, chunk)).toBe(true);
      expect(chunk).toEqual({ flags, type, cookieHi, cookieLo, length: n });
      expect(tx.decodeSimpleReply(v, 0, simple)).toBe(false);
      const extended = { flags, type, cookieHi, cookieLo, offset, length: n };
      const asked = { cookieHi, cookieLo, offsetHi: Math.floor(offset / 2 ** 32), offsetLo: offset % 2 ** 32 };
      tx.encodeExtendedChunk(v, 0, flags, type, asked, n);
      const got = tx.newExtendedChunkHeader();
      expect(tx.decodeExtendedChunk(v, 0, got)).toBe(true);
      expect(got).toEqual(extended);
    }),
  );
});

test('chunk payloads come back', () => {
  const v = viewOf(new Uint8Array(12));
  tx.encodeOffsetHole(v, 0, 2 ** 40, 4096);
  expect(tx.decodeOffsetHole(v, 0)).toEqual({ offset: 2 ** 40, length: 4096 });
  tx.encodeOffsetData(v, 0, 77);
  expect(tx.decodeOffsetData(v, 0)).toBe(77);
  expect(tx.decodeErrorChunk(tx.encodeErrorChunk(5, 'kaputt'))).toEqual({ error: 5, message: 'kaputt' });
  const descriptors = [
    { length: 512, flags: 3 },
    { length: 0xffffffff, flags: 0 },
  ];
  expect(tx.decodeBlockStatus(tx.encodeBlockStatus(9, descriptors))).toEqual({ contextId: 9, descriptors });
});

test('malformed chunk payloads are refused, and none makes a decoder throw', () => {
  expect(tx.decodeBlockStatus(tx.encodeBlockStatus(1, []))).toBeUndefined();
  expect(tx.decodeBlockStatus(tx.encodeBlockStatus(1, [{ length: 0, flags: 0 }]))).toBeUndefined();
  expect(tx.decodeErrorChunk(Uint8Array.of(0, 0, 0, 5, 0, 9, 65))).toBeUndefined();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      tx.decodeBlockStatus(bytes);
      tx.decodeErrorChunk(bytes);
    }),
  );
});

test('errors that NBD has a word for keep it, others become EIO', () => {
  for (const e of [1, 5, 12, 22, 28, 75, 95, 108]) expect(tx.wireError(e)).toBe(e);
  expect(tx.wireError(27)).toBe(wire.NBD_ENOSPC);
  expect(tx.wireError(122)).toBe(wire.NBD_ENOSPC);
  expect(tx.wireError(30)).toBe(wire.NBD_EPERM);
  expect(tx.wireError(110)).toBe(wire.NBD_EIO);
});
