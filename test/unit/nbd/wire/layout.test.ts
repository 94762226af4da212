import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as layout from '../../../../src/nbd/wire/layout.ts';

describe('wire layouts are those of the specification', () => {
  const cases: [string, Record<string, number>, Record<string, number>][] = [
    ['GREETING', layout.GREETING, { magic: 0, optsMagic: 8, flags: 16, SIZE: 18 }],
    ['CLIENT_FLAGS', layout.CLIENT_FLAGS, { flags: 0, SIZE: 4 }],
    ['OPTION', layout.OPTION, { magic: 0, option: 8, length: 12, SIZE: 16 }],
    ['OPTION_REPLY', layout.OPTION_REPLY, { magic: 0, option: 8, reply: 12, length: 16, SIZE: 20 }],
    ['EXPORT_NAME_REPLY', layout.EXPORT_NAME_REPLY, { size: 0, flags: 8, SIZE: 10 }],
    ['INFO_EXPORT', layout.INFO_EXPORT, { type: 0, size: 2, flags: 10, SIZE: 12 }],
    ['INFO_BLOCK_SIZE', layout.INFO_BLOCK_SIZE, { type: 0, minimum: 2, preferred: 6, maximum: 10, SIZE: 14 }],
    ['REQUEST', layout.REQUEST, { magic: 0, flags: 4, type: 6, cookie: 8, offset: 16, length: 24, SIZE: 28 }],
    ['EXTENDED_REQUEST', layout.EXTENDED_REQUEST, { magic: 0, flags: 4, type: 6, cookie: 8, offset: 16, length: 24, SIZE: 32 }],
    ['SIMPLE_REPLY', layout.SIMPLE_REPLY, { magic: 0, error: 4, cookie: 8, SIZE: 16 }],
    ['STRUCTURED_REPLY', layout.STRUCTURED_REPLY, { magic: 0, flags: 4, type: 6, cookie: 8, length: 16, SIZE: 20 }],
    ['EXTENDED_REPLY', layout.EXTENDED_REPLY, { magic: 0, flags: 4, type: 6, cookie: 8, offset: 16, length: 24, SIZE: 32 }],
    ['CHUNK_OFFSET_DATA', layout.CHUNK_OFFSET_DATA, { offset: 0, SIZE: 8 }],
    ['CHUNK_OFFSET_HOLE', layout.CHUNK_OFFSET_HOLE, { offset: 0, length: 8, SIZE: 12 }],
    ['CHUNK_ERROR', layout.CHUNK_ERROR, { error: 0, messageLength: 4, SIZE: 6 }],
    ['CHUNK_BLOCK_STATUS', layout.CHUNK_BLOCK_STATUS, { contextId: 0, SIZE: 4 }],
    ['BLOCK_DESCRIPTOR', layout.BLOCK_DESCRIPTOR, { length: 0, flags: 4, SIZE: 8 }],
    ['CHUNK_BLOCK_STATUS_EXT', layout.CHUNK_BLOCK_STATUS_EXT, { contextId: 0, count: 4, SIZE: 8 }],
    ['BLOCK_DESCRIPTOR_EXT', layout.BLOCK_DESCRIPTOR_EXT, { length: 0, flags: 8, SIZE: 16 }],
    ['STATUS_PAYLOAD', layout.STATUS_PAYLOAD, { length: 0, SIZE: 8 }],
  ];
  test.each(cases)('%s', (_name, actual, expected) => {
    expect(actual).toEqual(expected);
  });
});

test('integers are big-endian and come back', () => {
  const bytes = new Uint8Array(8);
  const v = layout.viewOf(bytes);
  layout.setU64(v, 0, 0x1_0203_0405_06);
  expect([...bytes]).toEqual([0, 0, 0, 1, 2, 3, 4, 5].map((_, i) => Number((0x1_0203_0405_06n >> BigInt(8 * (7 - i))) & 0xffn)));
  fc.assert(
    fc.property(fc.maxSafeNat(), (n) => {
      layout.setU64(v, 0, n);
      expect(layout.getU64(v, 0)).toBe(n);
      expect(v.getBigUint64(0, false)).toBe(BigInt(n));
    }),
  );
});

test('a 64-bit number above the safe integers stays above them', () => {
  const v = layout.viewOf(new Uint8Array(8).fill(0xff));
  expect(layout.getU64(v, 0)).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
});

test('text that is not UTF-8, or holds a NUL, is refused', () => {
  expect(layout.decodeText(Uint8Array.of(0xc3, 0x28))).toBeUndefined();
  expect(layout.decodeText(Uint8Array.of(0x61, 0, 0x62))).toBeUndefined();
  expect(layout.decodeText(layout.encodeText('täg'))).toBe('täg');
});
