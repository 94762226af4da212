import { expect, test } from 'vitest';
import { infoReplies } from '../../../src/nbd/info-replies.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import { INFO } from './plain-device.ts';

const HAGGLED = { structuredReplies: false, extendedHeaders: false, metaContext: false };
const hex = (b: Uint8Array): string => Buffer.from(b).toString('hex');

test('the bytes are those of the specification', () => {
  const info = { ...INFO, description: 'd' };
  const replies = infoReplies(info, 'vol', [wire.NBD_INFO_DESCRIPTION, wire.NBD_INFO_NAME], HAGGLED).map((r) => hex(r));
  expect(replies.slice(1)).toEqual(['0003' + '00000200' + '00001000' + '00100000', '0001' + '766f6c', '0002' + '64']);
  expect(replies[0]?.slice(0, 4)).toBe('0000');
});

test('a description that there is none of is left out', () => {
  expect(infoReplies({ ...INFO, description: '' }, 'vol', [wire.NBD_INFO_DESCRIPTION], HAGGLED).length).toBe(2);
});

test('contexts can be chosen from in BLOCK_STATUS only where there are extended headers and a context', () => {
  for (const extendedHeaders of [true, false]) {
    for (const metaContext of [true, false]) {
      const [first] = infoReplies(INFO, 'vol', [], { structuredReplies: true, extendedHeaders, metaContext });
      const flags = Buffer.from(first ?? []).readUInt16BE(10);
      expect((flags & wire.NBD_FLAG_BLOCK_STATUS_PAYLOAD) !== 0).toBe(extendedHeaders && metaContext);
    }
  }
});
