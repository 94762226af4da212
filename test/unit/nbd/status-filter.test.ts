import { expect, test } from 'vitest';
import { statusFilter } from '../../../src/nbd/status-filter.ts';
import { encodeStatusPayload, statusPayloadBytes } from '../../../src/nbd/wire/extended.ts';

function payload(length: number, ...contextIds: number[]): Uint8Array {
  const bytes = new Uint8Array(statusPayloadBytes(contextIds.length));
  encodeStatusPayload(bytes, { length, contextIds });
  return bytes;
}

test('some of the selected contexts, or all, in any order', () => {
  expect(statusFilter(payload(512, 2), [1, 2, 3])).toEqual({ length: 512, contextIds: [2] });
  expect(statusFilter(payload(2 ** 46, 3, 1, 2), [1, 2, 3])).toEqual({ length: 2 ** 46, contextIds: [3, 1, 2] });
});

test.each([
  ['none at all', payload(512)],
  ['one that was not selected', payload(512, 4)],
  ['one twice', payload(512, 1, 1)],
  ['more than were selected', payload(512, 1, 2, 3, 1)],
  ['half an id', payload(512, 1, 2).subarray(0, 14)],
  ['half a length', new Uint8Array(7)],
  ['nothing', new Uint8Array(0)],
])('%s is refused', (_what, bytes) => {
  expect(statusFilter(bytes, [1, 2, 3])).toBeUndefined();
});
