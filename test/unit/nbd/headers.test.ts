import { expect, test } from 'vitest';
import { headersRefused } from '../../../src/nbd/headers.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';

const { NBD_OPT_EXTENDED_HEADERS: EXTENDED, NBD_OPT_STRUCTURED_REPLY: STRUCTURED } = wire;

test('every combination has its answer', () => {
  const answer = (option: number, bytes: number, offered: boolean, extended: boolean): number | undefined =>
    headersRefused(option, bytes, { offered, extended })?.reply;
  for (const offered of [true, false]) {
    expect(answer(STRUCTURED, 0, offered, false)).toBeUndefined();
    expect(answer(STRUCTURED, 1, offered, false)).toBe(wire.NBD_REP_ERR_INVALID);
  }
  expect(answer(EXTENDED, 0, true, false)).toBeUndefined();
  expect(answer(EXTENDED, 0, true, true)).toBeUndefined();
  expect(answer(EXTENDED, 4, true, false)).toBe(wire.NBD_REP_ERR_INVALID);
  expect(answer(EXTENDED, 0, false, false)).toBe(wire.NBD_REP_ERR_UNSUP);
  expect(answer(EXTENDED, 4, false, false)).toBe(wire.NBD_REP_ERR_UNSUP);
  expect(answer(STRUCTURED, 0, true, true)).toBe(wire.NBD_REP_ERR_EXT_HEADER_REQD);
  expect(answer(STRUCTURED, 4, true, true)).toBe(wire.NBD_REP_ERR_INVALID);
});
