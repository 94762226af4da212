import { expect, test } from 'vitest';
import * as wire from '../../../../src/nbd/wire/constants.ts';
import * as names from '../../../../src/nbd/wire/names.ts';

test('every number is printed under its own name', () => {
  expect(names.commandName(wire.NBD_CMD_WRITE_ZEROES)).toBe('NBD_CMD_WRITE_ZEROES');
  expect(names.optionName(wire.NBD_OPT_GO)).toBe('NBD_OPT_GO');
  expect(names.optionReplyName(wire.NBD_REP_ERR_TOO_BIG)).toBe('NBD_REP_ERR_TOO_BIG');
  expect(names.infoName(wire.NBD_INFO_BLOCK_SIZE)).toBe('NBD_INFO_BLOCK_SIZE');
  expect(names.replyTypeName(wire.NBD_REPLY_TYPE_ERROR)).toBe('NBD_REPLY_TYPE_ERROR');
  expect(names.errorName(wire.NBD_ESHUTDOWN)).toBe('NBD_ESHUTDOWN');
  expect(names.errorName(0)).toBe('NBD_SUCCESS');
});

test('an unknown number is printed as a number', () => {
  expect(names.commandName(77)).toBe('NBD_CMD_77');
  expect(names.optionReplyName(9)).toBe('NBD_REP_9');
});

test('flags are printed one by one', () => {
  expect(names.commandFlagNames(wire.NBD_CMD_FLAG_FUA | wire.NBD_CMD_FLAG_DF)).toBe('NBD_CMD_FLAG_FUA|NBD_CMD_FLAG_DF');
  expect(names.transmissionFlagNames(wire.NBD_FLAG_HAS_FLAGS | 0x8000)).toBe('NBD_FLAG_HAS_FLAGS|0x8000');
  expect(names.commandFlagNames(0)).toBe('0');
});

test('no two constants of one kind share a number', () => {
  const kinds: RegExp[] = [
    /^NBD_CMD_(?!FLAG_)/,
    /^NBD_CMD_FLAG_/,
    /^NBD_OPT_/,
    /^NBD_REP_(?!FLAG_)/,
    /^NBD_INFO_/,
    /^NBD_REPLY_TYPE_/,
    /^NBD_STATE_/,
  ];
  for (const kind of kinds) {
    const numbers = Object.entries(wire)
      .filter(([name, value]) => kind.test(name) && typeof value === 'number')
      .map(([, value]) => value);
    expect(numbers.length).toBeGreaterThan(0);
    expect(new Set(numbers).size).toBe(numbers.length);
  }
});
