import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeExport, differs, type ExportFacts, type ExportInfo } from '../../../src/nbd-client-js/export-info.ts';
import * as nbd from '../../../src/nbd/wire/constants.ts';

const facts: ExportFacts = {
  sizeBytes: 1 << 20,
  flags: nbd.NBD_FLAG_HAS_FLAGS,
  blockSizes: { minimumBytes: 512, preferredBytes: 65536, maximumBytes: 1 << 20 },
  description: '',
  structured: true,
  extended: false,
  hasOtherContexts: false,
  baseAllocationContextId: undefined,
};

function info(f: Partial<ExportFacts>): ExportInfo {
  const i = decodeExport({ ...facts, ...f });
  if (typeof i === 'string') throw new Error(i);
  return i;
}

describe('what a server said about an export', () => {
  it.each([
    ['readOnly', nbd.NBD_FLAG_READ_ONLY],
    ['canFlush', nbd.NBD_FLAG_SEND_FLUSH],
    ['canFua', nbd.NBD_FLAG_SEND_FUA],
    ['rotational', nbd.NBD_FLAG_ROTATIONAL],
    ['canTrim', nbd.NBD_FLAG_SEND_TRIM],
    ['canWriteZeroes', nbd.NBD_FLAG_SEND_WRITE_ZEROES],
    ['canDf', nbd.NBD_FLAG_SEND_DF],
    ['canMultiConn', nbd.NBD_FLAG_CAN_MULTI_CONN],
    ['canCache', nbd.NBD_FLAG_SEND_CACHE],
    ['canFastZero', nbd.NBD_FLAG_SEND_FAST_ZERO],
  ] as const)('%s is one flag and no other', (key, flag) => {
    const on = Object.entries(info({ flags: nbd.NBD_FLAG_HAS_FLAGS | flag })).filter(([k, v]) => k !== 'structured' && v === true);
    expect(on).toEqual([[key, true]]);
  });

  it('promises nothing when the flags are not marked as flags, but stays read-only', () => {
    expect(info({ flags: 0xffff & ~nbd.NBD_FLAG_HAS_FLAGS })).toMatchObject({ canFlush: false, canMultiConn: false, readOnly: true });
  });

  it('has the block sizes announced, with payloads of at most 32 MiB', () => {
    expect(info({})).toMatchObject({ blockSizeMinBytes: 512, blockSizePreferredBytes: 65536, payloadMaxBytes: 1 << 20 });
    expect(info({ blockSizes: { minimumBytes: 1, preferredBytes: 4096, maximumBytes: 0xffffffff } }).payloadMaxBytes).toBe(32 << 20);
  });

  it('has the block sizes of the specification when none are announced', () => {
    expect(info({ blockSizes: undefined })).toMatchObject({
      blockSizeMinBytes: 512,
      blockSizePreferredBytes: 4096,
      payloadMaxBytes: 32 << 20,
    });
  });

  it('replaces a preferred size that cannot be', () => {
    expect(info({ blockSizes: { minimumBytes: 8192, preferredBytes: 4096, maximumBytes: 1 << 20 } }).blockSizePreferredBytes).toBe(8192);
    expect(info({ blockSizes: { minimumBytes: 1, preferredBytes: 3000, maximumBytes: 1 << 20 } }).blockSizePreferredBytes).toBe(4096);
  });

  it.each([
    [{ sizeBytes: 2 ** 53 }, /size of 2\^53/],
    [{ blockSizes: { minimumBytes: 0, preferredBytes: 0, maximumBytes: 0 } }, /minimum block size of 0/],
    [{ blockSizes: { minimumBytes: 513, preferredBytes: 4096, maximumBytes: 513 * 64 } }, /minimum block size of 513/],
    [{ blockSizes: { minimumBytes: 131072, preferredBytes: 131072, maximumBytes: 131072 } }, /minimum block size of 131072/],
    [{ blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 512 } }, /maximum block size of 512/],
    [{ blockSizes: { minimumBytes: 4096, preferredBytes: 4096, maximumBytes: 5000 } }, /maximum block size of 5000/],
  ] as [Partial<ExportFacts>, RegExp][])('%j is refused', (f, why) => {
    expect(decodeExport({ ...facts, ...f })).toMatch(why);
  });

  it('is either refused or usable, whatever the numbers', () => {
    const u32 = fc.oneof(
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.integer({ min: 0, max: 31 }).map((n) => 2 ** n),
    );
    fc.assert(
      fc.property(fc.double({ min: 0, noNaN: true }), u32, u32, u32, u32, (sizeBytes, flags, minimumBytes, preferredBytes, maximumBytes) => {
        const i = decodeExport({ ...facts, sizeBytes, flags, blockSizes: { minimumBytes, preferredBytes, maximumBytes } });
        if (typeof i === 'string') return;
        expect(i.payloadMaxBytes).toBeGreaterThanOrEqual(i.blockSizeMinBytes);
        expect(i.payloadMaxBytes % i.blockSizeMinBytes).toBe(0);
        expect(i.payloadMaxBytes).toBeLessThanOrEqual(32 << 20);
        expect(i.blockSizePreferredBytes % i.blockSizeMinBytes).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('two connections to one export', () => {
  it('are told apart by size, flags and block sizes, not by description', () => {
    expect(differs(info({}), info({ description: 'other' }))).toBeUndefined();
    expect(differs(info({}), info({ sizeBytes: 512 }))).toBe('sizeBytes is 1048576 on one and 512 on another');
    expect(differs(info({}), info({ flags: nbd.NBD_FLAG_HAS_FLAGS | nbd.NBD_FLAG_SEND_FLUSH }))).toMatch(/canFlush/);
  });
});
