import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { DeviceInfo } from '../../../src/nbd/device.ts';
import { type Agreed, validateRequest } from '../../../src/nbd/validate.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import { commandName } from '../../../src/nbd/wire/names.ts';

const SIZE = 1024 * 1024;
const INFO: DeviceInfo = {
  sizeBytes: SIZE,
  readOnly: false,
  blockSizeMinBytes: 512,
  blockSizePreferredBytes: 4096,
  payloadMaxBytes: 65536,
  canTrim: true,
  canWriteZeroes: true,
  canFastZero: true,
  canFua: true,
  multiConn: true,
  description: '',
};
const AGREED: Agreed = { structuredReplies: true, extendedHeaders: false, readOnly: false, blockStatus: true };

interface Request {
  cmd: number;
  flags?: number;
  offset?: number;
  length?: number;
  info?: Partial<DeviceInfo>;
  agreed?: Partial<Agreed>;
}

function judge(r: Request): number {
  return validateRequest({ ...INFO, ...r.info }, { ...AGREED, ...r.agreed }, r.cmd, r.flags ?? 0, r.offset ?? 0, r.length ?? 512);
}

const { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS } = wire;
const ranged = [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, NBD_CMD_BLOCK_STATUS];

describe('what is allowed passes', () => {
  const cases: [string, Request][] = [
    ...ranged.map((cmd): [string, Request] => [commandName(cmd), { cmd }]),
    ['a flush', { cmd: NBD_CMD_FLUSH, length: 0 }],
    ['FUA on a write', { cmd: NBD_CMD_WRITE, flags: wire.NBD_CMD_FLAG_FUA }],
    ['FUA on a read, which some clients send', { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_FUA }],
    ['DF with structured replies', { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_DF }],
    ['NO_HOLE and FAST_ZERO', { cmd: NBD_CMD_WRITE_ZEROES, flags: wire.NBD_CMD_FLAG_NO_HOLE | wire.NBD_CMD_FLAG_FAST_ZERO }],
    ['REQ_ONE', { cmd: NBD_CMD_BLOCK_STATUS, flags: wire.NBD_CMD_FLAG_REQ_ONE }],
    ['a trim longer than any payload', { cmd: NBD_CMD_TRIM, length: SIZE }],
    ['the last block', { cmd: NBD_CMD_READ, offset: SIZE - 512 }],
    ['nothing, at the end', { cmd: NBD_CMD_READ, offset: SIZE, length: 0 }],
    ['a read from a read-only export', { cmd: NBD_CMD_READ, info: { readOnly: true } }],
  ];
  test.each(cases)('%s', (_what, r) => {
    expect(judge(r)).toBe(wire.NBD_SUCCESS);
  });
});

describe('each rung of the ladder refuses', () => {
  const cases: [string, Request, number][] = [
    ['an unknown command', { cmd: 99 }, wire.NBD_EINVAL],
    ['the withdrawn RESIZE', { cmd: wire.NBD_CMD_RESIZE }, wire.NBD_EINVAL],
    ['an unknown flag', { cmd: NBD_CMD_READ, flags: 0x4000 }, wire.NBD_EINVAL],
    ['PAYLOAD_LEN without extended headers', { cmd: NBD_CMD_WRITE, flags: wire.NBD_CMD_FLAG_PAYLOAD_LEN }, wire.NBD_EINVAL],
    ['NO_HOLE on a write', { cmd: NBD_CMD_WRITE, flags: wire.NBD_CMD_FLAG_NO_HOLE }, wire.NBD_EINVAL],
    ['REQ_ONE on a read', { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_REQ_ONE }, wire.NBD_EINVAL],
    ['DF on a write', { cmd: NBD_CMD_WRITE, flags: wire.NBD_CMD_FLAG_DF }, wire.NBD_EINVAL],
    ['FUA that was not announced', { cmd: NBD_CMD_WRITE, flags: wire.NBD_CMD_FLAG_FUA, info: { canFua: false } }, wire.NBD_EINVAL],
    ['DF without structured replies', { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_DF, agreed: { structuredReplies: false } }, wire.NBD_EINVAL],
    [
      'FAST_ZERO that was not announced',
      { cmd: NBD_CMD_WRITE_ZEROES, flags: wire.NBD_CMD_FLAG_FAST_ZERO, info: { canFastZero: false } },
      wire.NBD_EINVAL,
    ],
    ['a write to a read-only export', { cmd: NBD_CMD_WRITE, info: { readOnly: true } }, wire.NBD_EPERM],
    ['a trim of a read-only export', { cmd: NBD_CMD_TRIM, info: { readOnly: true } }, wire.NBD_EPERM],
    ['zeroes to a read-only export', { cmd: NBD_CMD_WRITE_ZEROES, info: { readOnly: true } }, wire.NBD_EPERM],
    ['a trim that was not announced', { cmd: NBD_CMD_TRIM, info: { canTrim: false } }, wire.NBD_EINVAL],
    ['zeroes that were not announced', { cmd: NBD_CMD_WRITE_ZEROES, info: { canWriteZeroes: false } }, wire.NBD_EINVAL],
    ['block status without a context', { cmd: NBD_CMD_BLOCK_STATUS, agreed: { blockStatus: false } }, wire.NBD_EINVAL],
    ['block status of nothing', { cmd: NBD_CMD_BLOCK_STATUS, length: 0 }, wire.NBD_EINVAL],
    ['a flush with a range', { cmd: NBD_CMD_FLUSH, length: 512 }, wire.NBD_EINVAL],
    ['a flush with an offset', { cmd: NBD_CMD_FLUSH, offset: 512, length: 0 }, wire.NBD_EINVAL],
    ['a write longer than the payload limit', { cmd: NBD_CMD_WRITE, length: 65536 + 512 }, wire.NBD_EINVAL],
    ['a read longer than the payload limit', { cmd: NBD_CMD_READ, length: 65536 + 512 }, wire.NBD_EINVAL],
    ['the same in one piece', { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_DF, length: 65536 + 512 }, wire.NBD_EOVERFLOW],
    ['a read beyond the end', { cmd: NBD_CMD_READ, offset: SIZE - 512, length: 1024 }, wire.NBD_EINVAL],
    ['a trim beyond the end', { cmd: NBD_CMD_TRIM, offset: SIZE }, wire.NBD_EINVAL],
    ['a write beyond the end', { cmd: NBD_CMD_WRITE, offset: SIZE }, wire.NBD_ENOSPC],
    ['zeroes beyond the end', { cmd: NBD_CMD_WRITE_ZEROES, offset: SIZE - 512, length: 1024 }, wire.NBD_ENOSPC],
    ['an offset whose end is beyond 2^64', { cmd: NBD_CMD_READ, offset: 2 ** 64 - 512, length: 1024 }, wire.NBD_EINVAL],
    ['an offset whose end is no safe integer', { cmd: NBD_CMD_WRITE, offset: 2 ** 53, length: 512 }, wire.NBD_ENOSPC],
    ['an unaligned offset', { cmd: NBD_CMD_READ, offset: 1 }, wire.NBD_EINVAL],
    ['an unaligned length', { cmd: NBD_CMD_WRITE, length: 100 }, wire.NBD_EINVAL],
    ['the part of a block at the end', { cmd: NBD_CMD_READ, offset: SIZE, length: 100, info: { sizeBytes: SIZE + 100 } }, wire.NBD_EINVAL],
  ];
  test.each(cases)('%s', (_what, r, errno) => {
    expect(judge(r)).toBe(errno);
  });
});

describe('with extended headers', () => {
  const agreed = { extendedHeaders: true };
  const PAYLOAD = wire.NBD_CMD_FLAG_PAYLOAD_LEN;
  const huge = { sizeBytes: 2 ** 50 };

  test.each([
    ['a WRITE with its payload', { cmd: NBD_CMD_WRITE, flags: PAYLOAD, agreed }, wire.NBD_SUCCESS],
    ['BLOCK_STATUS with contexts to choose from', { cmd: NBD_CMD_BLOCK_STATUS, flags: PAYLOAD, agreed }, wire.NBD_SUCCESS],
    [
      'BLOCK_STATUS with a payload and no context',
      { cmd: NBD_CMD_BLOCK_STATUS, flags: PAYLOAD, agreed: { ...agreed, blockStatus: false } },
      wire.NBD_EINVAL,
    ],
    ...[NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_WRITE_ZEROES, 8, 99].map(
      (cmd) => [`command ${String(cmd)} with a payload`, { cmd, flags: PAYLOAD, agreed }, wire.NBD_EINVAL] as const,
    ),
    ...[NBD_CMD_WRITE, NBD_CMD_BLOCK_STATUS].map(
      (cmd) =>
        [`command ${String(cmd)} with the flag, but compact`, { cmd, flags: PAYLOAD, agreed: { extendedHeaders: false } }, wire.NBD_EINVAL] as const,
    ),
    ['RESIZE, which was never merged', { cmd: wire.NBD_CMD_RESIZE, agreed }, wire.NBD_EINVAL],
    ['zeroes of 2^49 bytes', { cmd: NBD_CMD_WRITE_ZEROES, length: 2 ** 49, agreed, info: huge }, wire.NBD_SUCCESS],
    ['a trim of 2^49 bytes', { cmd: NBD_CMD_TRIM, length: 2 ** 49, agreed, info: huge }, wire.NBD_SUCCESS],
    ['a prefetch of 2^49 bytes', { cmd: NBD_CMD_CACHE, length: 2 ** 49, agreed, info: huge }, wire.NBD_SUCCESS],
    ['the status of 2^49 bytes', { cmd: NBD_CMD_BLOCK_STATUS, length: 2 ** 49, agreed, info: huge }, wire.NBD_SUCCESS],
    ['a READ of 2^49 bytes', { cmd: NBD_CMD_READ, length: 2 ** 49, agreed, info: huge }, wire.NBD_EINVAL],
    [
      'a READ of 2^49 bytes in one piece',
      { cmd: NBD_CMD_READ, flags: wire.NBD_CMD_FLAG_DF, length: 2 ** 49, agreed, info: huge },
      wire.NBD_EOVERFLOW,
    ],
    ['zeroes of 2^64 - 1 bytes', { cmd: NBD_CMD_WRITE_ZEROES, length: Number(2n ** 64n - 1n), agreed, info: huge }, wire.NBD_ENOSPC],
    ['a trim of 2^53 + 1 bytes', { cmd: NBD_CMD_TRIM, length: Number(2n ** 53n + 1n), agreed, info: { sizeBytes: 2 ** 53 - 4096 } }, wire.NBD_EINVAL],
    ['the status at 2^64 - 512', { cmd: NBD_CMD_BLOCK_STATUS, offset: Number(2n ** 64n - 512n), agreed, info: huge }, wire.NBD_EINVAL],
  ] as const)('%s', (_what, r, expected) => {
    expect(judge(r)).toBe(expected);
  });
});

test('whatever passes lies inside the export, is aligned, and uses only what was announced', () => {
  const offset = fc.oneof(fc.nat(SIZE * 2), fc.maxSafeNat(), fc.constant(2 ** 64));
  const length = fc.oneof(fc.nat(SIZE * 2), fc.integer({ min: 0, max: 0xffffffff }), fc.maxSafeNat(), fc.constant(2 ** 64));
  const min = fc.constantFrom(1, 512, 4096);
  fc.assert(
    fc.property(
      fc.nat(10),
      fc.nat(0x3f),
      offset,
      length,
      min,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (cmd, flags, at, n, blockSizeMinBytes, readOnly, structuredReplies, extendedHeaders) => {
        const structured = structuredReplies || extendedHeaders;
        const r = {
          cmd,
          flags,
          offset: at,
          length: n,
          info: { blockSizeMinBytes, readOnly },
          agreed: { structuredReplies: structured, extendedHeaders },
        };
        if (judge(r) !== wire.NBD_SUCCESS) return;
        expect(at + n).toBeLessThanOrEqual(SIZE);
        expect(at % blockSizeMinBytes).toBe(0);
        expect(n % blockSizeMinBytes).toBe(0);
        if (readOnly) expect([NBD_CMD_READ, NBD_CMD_FLUSH, NBD_CMD_CACHE, NBD_CMD_BLOCK_STATUS]).toContain(cmd);
        if (cmd === NBD_CMD_BLOCK_STATUS) expect(structured).toBe(true);
        if ((flags & wire.NBD_CMD_FLAG_PAYLOAD_LEN) !== 0) {
          expect(extendedHeaders).toBe(true);
          expect([NBD_CMD_WRITE, NBD_CMD_BLOCK_STATUS]).toContain(cmd);
        }
        if ((flags & wire.NBD_CMD_FLAG_DF) !== 0) expect([cmd, structured]).toEqual([NBD_CMD_READ, true]);
      },
    ),
  );
});
