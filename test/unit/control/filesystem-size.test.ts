import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FILESYSTEM_HEAD_BYTES, filesystemOf } from '../../../src/control/filesystem-size.ts';

const KIB = 1024;
const GIB = 2 ** 30;

function head(): DataView {
  return new DataView(new ArrayBuffer(FILESYSTEM_HEAD_BYTES));
}

const found = (v: DataView) => filesystemOf(new Uint8Array(v.buffer));

interface Ext {
  blocks?: bigint;
  logBlock?: number;
  perGroup?: number;
  compat?: number;
  incompat?: number;
  roCompat?: number;
  inodesPerGroup?: number;
}

function ext(v: DataView, o: Ext = {}): DataView {
  const at = 1024;
  const blocks = o.blocks ?? 262_144n;
  v.setUint32(at + 4, Number(blocks & 0xffffffffn), true);
  v.setUint32(at + 0x150, Number(blocks >> 32n), true);
  v.setUint32(at + 24, o.logBlock ?? 2, true);
  v.setUint32(at + 32, o.perGroup ?? 32_768, true);
  v.setUint32(at + 40, o.inodesPerGroup ?? 8192, true);
  v.setUint16(at + 56, 0xef53, true);
  v.setUint32(at + 92, o.compat ?? 0x4, true);
  v.setUint32(at + 96, o.incompat ?? 0x2c2, true);
  v.setUint32(at + 100, o.roCompat ?? 0x46b, true);
  return v;
}

function xfs(v: DataView, o: { blockBytes?: number; blocks?: bigint; groupBlocks?: number; groups?: number; sectorBytes?: number } = {}): DataView {
  v.setUint32(0, 0x58465342);
  v.setUint32(4, o.blockBytes ?? 4096);
  v.setBigUint64(8, o.blocks ?? 262_144n);
  v.setUint32(84, o.groupBlocks ?? 65_536);
  v.setUint32(88, o.groups ?? 4);
  v.setUint16(102, o.sectorBytes ?? 512);
  return v;
}

function btrfs(v: DataView, o: { all?: bigint; here?: bigint; at?: bigint; sectorBytes?: number } = {}): DataView {
  const at = 64 * KIB;
  v.setBigUint64(at + 0x30, o.at ?? BigInt(at), true);
  new Uint8Array(v.buffer).set(new TextEncoder().encode('_BHRfS_M'), at + 0x40);
  v.setBigUint64(at + 0x70, o.all ?? BigInt(GIB), true);
  v.setUint32(at + 0x90, o.sectorBytes ?? 4096, true);
  v.setBigUint64(at + 0xd1, o.here ?? BigInt(GIB), true);
  return v;
}

describe('a filesystem is recognised, with its size', () => {
  it.each([
    ['ext4', ext(head()), { kind: 'ext4', sizeBytes: GIB }],
    ['ext4 beyond 2^32 blocks', ext(head(), { blocks: 2n ** 33n }), { kind: 'ext4', sizeBytes: 2 ** 45 }],
    [
      'ext4 without 64 bit: the high half means nothing',
      ext(head(), { blocks: 2n ** 33n + 5n, incompat: 0x242 }),
      { kind: 'ext4', sizeBytes: 20_480 },
    ],
    ['ext3', ext(head(), { incompat: 0x2, roCompat: 0x3 }), { kind: 'ext3', sizeBytes: GIB }],
    [
      'ext2 with blocks of 1 KiB',
      ext(head(), { compat: 0, incompat: 0x2, roCompat: 0x3, logBlock: 0, perGroup: 8192 }),
      { kind: 'ext2', sizeBytes: 2 ** 28 },
    ],
    ['xfs', xfs(head()), { kind: 'xfs', sizeBytes: GIB }],
    ['xfs with a smaller last group', xfs(head(), { blocks: 200_000n }), { kind: 'xfs', sizeBytes: 200_000 * 4096 }],
    ['btrfs', btrfs(head()), { kind: 'btrfs', sizeBytes: GIB }],
    ['btrfs on two devices: its part here', btrfs(head(), { all: BigInt(3 * GIB) }), { kind: 'btrfs', sizeBytes: GIB }],
    ['of two, the one that reaches further', ext(btrfs(head(), { here: 4096n })), { kind: 'ext4', sizeBytes: GIB }],
    ['of two, also the other way round', ext(xfs(head()), { blocks: 8n }), { kind: 'xfs', sizeBytes: GIB }],
  ])('%s', (_, v, is) => {
    expect(found(v)).toEqual(is);
  });
});

describe('what does not agree with itself is no filesystem', () => {
  it.each([
    ['zeroes', head()],
    ['ext without blocks', ext(head(), { blocks: 0n })],
    ['ext with blocks of 128 KiB', ext(head(), { logBlock: 7 })],
    ['ext with blocks of 2^31 KiB', ext(head(), { logBlock: 31 })],
    ['ext without groups', ext(head(), { perGroup: 0 })],
    ['ext with groups larger than their bitmap', ext(head(), { perGroup: 32_769 })],
    ['ext without inodes', ext(head(), { inodesPerGroup: 0 })],
    ['ext larger than any number here', ext(head(), { blocks: 2n ** 63n })],
    ['xfs with odd blocks', xfs(head(), { blockBytes: 4097 })],
    ['xfs with odd sectors', xfs(head(), { sectorBytes: 0 })],
    ['xfs larger than its groups', xfs(head(), { blocks: 262_145n })],
    ['xfs with groups that it does not need', xfs(head(), { groups: 6 })],
    ['xfs without groups', xfs(head(), { groups: 0 })],
    ['btrfs that is a copy from elsewhere', btrfs(head(), { at: 1n << 26n })],
    ['btrfs with odd sectors', btrfs(head(), { sectorBytes: 3 })],
    ['btrfs with more here than in all', btrfs(head(), { here: BigInt(2 * GIB) })],
  ])('%s', (_, v) => {
    expect(found(v)).toBeNull();
  });

  it('a leg that ends in the middle of a superblock', () => {
    for (const make of [ext, xfs, btrfs]) {
      const whole = new Uint8Array(make(head()).buffer);
      expect(filesystemOf(whole)).not.toBeNull();
      const length = make === ext ? 2047 : make === xfs ? 511 : 64 * KIB + 4095;
      expect(filesystemOf(whole.subarray(0, length))).toBeNull();
    }
  });
});

describe('hostile bytes', () => {
  const sane = (bytes: Uint8Array): void => {
    const f = filesystemOf(bytes);
    if (f !== null) expect(Number.isSafeInteger(f.sizeBytes) && f.sizeBytes > 0).toBe(true);
  };

  it('of any length and content never throw, nor give a size that is none', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 4096 }), sane));
  });

  it('in a superblock that was whole: whatever is damaged, the answer is null or a sane size', () => {
    const damage = fc.array(fc.tuple(fc.nat(FILESYSTEM_HEAD_BYTES - 1), fc.nat(255)), { maxLength: 8 });
    const inside = fc.array(fc.tuple(fc.nat(0x160), fc.nat(255)), { minLength: 1, maxLength: 16 });
    fc.assert(
      fc.property(fc.constantFrom([ext, 1024] as const, [xfs, 0] as const, [btrfs, 64 * KIB] as const), damage, inside, ([make, at], far, near) => {
        const bytes = new Uint8Array(make(head()).buffer);
        for (const [i, b] of far) bytes[i] = b;
        for (const [i, b] of near) bytes[at + i] = b;
        sane(bytes);
      }),
    );
  });

  it('are read where they lie, also in the middle of a larger buffer', () => {
    const big = new Uint8Array(FILESYSTEM_HEAD_BYTES + 100);
    big.set(new Uint8Array(ext(head()).buffer), 100);
    expect(filesystemOf(big.subarray(100))).toEqual({ kind: 'ext4', sizeBytes: GIB });
  });
});
