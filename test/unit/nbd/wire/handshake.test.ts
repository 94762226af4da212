import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as hs from '../../../../src/nbd/wire/handshake.ts';

const name = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((s) => !s.includes('\0'));
const u16 = fc.nat(0xffff);
const u32 = fc.integer({ min: 0, max: 0xffffffff });

/** For any value of `arb`, `there and back` gives the value again. */
function comesBack<T>(arb: fc.Arbitrary<T>, thereAndBack: (value: T) => unknown): void {
  fc.assert(
    fc.property(arb, (value) => {
      expect(thereAndBack(value)).toEqual(value);
    }),
  );
}

test('what is encoded decodes to the same', () => {
  const named = fc.record({ name, description: name });
  comesBack(fc.record({ flags: u16 }), (v) => hs.decodeGreeting(hs.encodeGreeting(v.flags)));
  comesBack(u32, (v) => hs.decodeClientFlags(hs.encodeClientFlags(v)));
  comesBack(named, (v) => hs.decodeRepServer(hs.encodeRepServer(v.name, v.description)));
  comesBack(fc.record({ option: u32, reply: u32, length: fc.constant(0) }), (v) =>
    hs.decodeOptionReplyHeader(hs.encodeOptionReply(v.option, v.reply)),
  );
  comesBack(fc.record({ sizeBytes: fc.maxSafeNat(), flags: u16 }), (v) =>
    hs.decodeExportNameReply(hs.encodeExportNameReply(v.sizeBytes, v.flags, true)),
  );
  comesBack(fc.record({ name, infos: fc.array(u16) }), (v) => hs.decodeInfoRequest(hs.encodeInfoRequest(v.name, v.infos)));
  comesBack(fc.record({ name, queries: fc.array(name) }), (v) => hs.decodeMetaContextRequest(hs.encodeMetaContextRequest(v.name, v.queries)));
  comesBack(fc.record({ id: u32, context: name }), (v) => hs.decodeRepMetaContext(hs.encodeRepMetaContext(v.id, v.context)));
  comesBack(fc.record({ kind: fc.constant('export'), sizeBytes: fc.maxSafeNat(), flags: u16 }), (v) =>
    hs.decodeInfo(hs.encodeInfoExport(v.sizeBytes, v.flags)),
  );
  comesBack(fc.record({ kind: fc.constant('block-size'), minimumBytes: u32, preferredBytes: u32, maximumBytes: u32 }), (v) =>
    hs.decodeInfo(hs.encodeInfoBlockSize(v.minimumBytes, v.preferredBytes, v.maximumBytes)),
  );
  expect(hs.decodeInfo(hs.encodeInfoText(2, 'ab'))).toEqual({ kind: 'text', type: 2, bytes: Uint8Array.of(97, 98) });
});

test('an option is its header and its data', () => {
  fc.assert(
    fc.property(u32, fc.uint8Array({ maxLength: 50 }), (option, data) => {
      const bytes = hs.encodeOption(option, data);
      expect(hs.decodeOptionHeader(bytes.subarray(0, 16))).toEqual({ option, length: data.length });
      expect([...bytes.subarray(16)]).toEqual([...data]);
    }),
  );
});

test('the answer to EXPORT_NAME is padded unless both sides said NO_ZEROES', () => {
  expect(hs.encodeExportNameReply(1, 0, true).length).toBe(134);
  expect(hs.encodeExportNameReply(1, 0, false).length).toBe(10);
});

test('no bytes make a decoder throw', () => {
  const decoders = [
    hs.decodeGreeting,
    hs.decodeClientFlags,
    hs.decodeOptionHeader,
    hs.decodeOptionReplyHeader,
    hs.decodeExportNameReply,
    hs.decodeRepServer,
    hs.decodeInfoRequest,
    hs.decodeInfo,
    hs.decodeMetaContextRequest,
    hs.decodeRepMetaContext,
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      for (const d of decoders) d(bytes);
    }),
  );
});

test('a request that is cut short or too long is malformed', () => {
  const info = hs.encodeInfoRequest('vol', [3]);
  const meta = hs.encodeMetaContextRequest('vol', ['base:allocation']);
  for (let n = 0; n < info.length; n += 1) expect(hs.decodeInfoRequest(info.subarray(0, n))).toBeUndefined();
  for (let n = 0; n < meta.length; n += 1) expect(hs.decodeMetaContextRequest(meta.subarray(0, n))).toBeUndefined();
  expect(hs.decodeInfoRequest(Uint8Array.of(...info, 0))).toBeUndefined();
  expect(hs.decodeMetaContextRequest(Uint8Array.of(...meta, 0))).toBeUndefined();
});
