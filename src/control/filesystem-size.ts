/**
 * Which filesystem a leg holds, and how far it reaches: read from its superblock, so that a mirror is not cut below it.
 *
 *   0        XFS: "XFSB"
 *   1024     ext2, ext3, ext4: magic at byte 56 of the superblock
 *   64 KiB   btrfs: magic at byte 64 of the superblock
 *
 * The bytes are whatever somebody wrote to the device: nothing is believed that does not agree with itself, and whoever is not
 * recognised counts as unknown, which is the careful side: then an operator has to say that the end may be cut.
 */

export interface FoundFilesystem {
  kind: 'ext2' | 'ext3' | 'ext4' | 'xfs' | 'btrfs';
  /** What it uses of the device, from its beginning. */
  sizeBytes: number;
}

/** As much of a leg as must be read. */
export const FILESYSTEM_HEAD_BYTES = 128 * 1024;

/** For people: what is recognised. */
export const RECOGNISED = 'ext2, ext3, ext4, xfs, btrfs';

const EXT_AT = 1024;
const EXT_BYTES = 1024;
const EXT_MAGIC = 0xef53;
const EXT_HAS_JOURNAL = 0x4;
const EXT_INCOMPAT_64BIT = 0x80;
/** Extents, 64 bit, flexible groups and younger ones: none of them was there before ext4. */
const EXT4_INCOMPAT = 0x40 | EXT_INCOMPAT_64BIT | 0x100 | 0x200 | 0x400;
/** Huge files, checksums of groups and of metadata, many links, large inodes. */
const EXT4_RO_COMPAT = 0x8 | 0x10 | 0x20 | 0x40 | 0x400;
const XFS_MAGIC = 0x58465342;
const XFS_BYTES = 512;
const BTRFS_AT = 64 * 1024;
const BTRFS_BYTES = 4096;
/** "_BHRfS_M", little-endian. */
const BTRFS_MAGIC = 0x4d5f53665248425fn;

/** `head`: the first FILESYSTEM_HEAD_BYTES of a leg, fewer where it is smaller. Of several, the one that reaches furthest. */
export function filesystemOf(head: Uint8Array): FoundFilesystem | null {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const found = [extOf(view), xfsOf(view), btrfsOf(view)].filter((f) => f !== null);
  return found.reduce<FoundFilesystem | null>((far, f) => (far === null || f.sizeBytes > far.sizeBytes ? f : far), null);
}

function part(view: DataView, at: number, length: number): DataView | null {
  return view.byteLength < at + length ? null : new DataView(view.buffer, view.byteOffset + at, length);
}

/** Null for a size that no device has. */
function sized(kind: FoundFilesystem['kind'], sizeBytes: bigint): FoundFilesystem | null {
  return sizeBytes > 0n && sizeBytes <= BigInt(Number.MAX_SAFE_INTEGER) ? { kind, sizeBytes: Number(sizeBytes) } : null;
}

function extOf(view: DataView): FoundFilesystem | null {
  const s = part(view, EXT_AT, EXT_BYTES);
  if (s?.getUint16(56, true) !== EXT_MAGIC) return null;
  const logBlock = s.getUint32(24, true);
  // Blocks of 1 KiB to 64 KiB.
  if (logBlock > 6) return null;
  const blockBytes = 1024 << logBlock;
  const firstBlock = s.getUint32(20, true);
  const perGroup = s.getUint32(32, true);
  // A group's bitmap is one block; only blocks of 1 KiB begin to count at 1.
  if (perGroup === 0 || perGroup > blockBytes * 8 || firstBlock > 1 || s.getUint32(40, true) === 0) return null;
  const [compat, incompat, roCompat] = [s.getUint32(92, true), s.getUint32(96, true), s.getUint32(100, true)];
  const high = (incompat & EXT_INCOMPAT_64BIT) === 0 ? 0n : BigInt(s.getUint32(0x150, true));
  const blocks = (high << 32n) | BigInt(s.getUint32(4, true));
  const isExt4 = (incompat & EXT4_INCOMPAT) !== 0 || (roCompat & EXT4_RO_COMPAT) !== 0;
  return sized(isExt4 ? 'ext4' : (compat & EXT_HAS_JOURNAL) === 0 ? 'ext2' : 'ext3', blocks * BigInt(blockBytes));
}

function xfsOf(view: DataView): FoundFilesystem | null {
  const s = part(view, 0, XFS_BYTES);
  if (s?.getUint32(0) !== XFS_MAGIC) return null;
  const blockBytes = s.getUint32(4);
  if (!isPowerOfTwo(blockBytes, 512, 65_536) || !isPowerOfTwo(s.getUint16(102), 512, 32_768)) return null;
  const blocks = s.getBigUint64(8);
  const [groupBlocks, groups] = [BigInt(s.getUint32(84)), BigInt(s.getUint32(88))];
  // All allocation groups are of one size, but the last, which may be smaller.
  if (groups === 0n || blocks > groupBlocks * groups || blocks <= groupBlocks * (groups - 1n)) return null;
  return sized('xfs', blocks * BigInt(blockBytes));
}

function btrfsOf(view: DataView): FoundFilesystem | null {
  const s = part(view, BTRFS_AT, BTRFS_BYTES);
  if (s?.getBigUint64(0x40, true) !== BTRFS_MAGIC) return null;
  // A superblock knows where it stands.
  if (s.getBigUint64(0x30, true) !== BigInt(BTRFS_AT) || !isPowerOfTwo(s.getUint32(0x90, true), 512, 65_536)) return null;
  const [all, here] = [s.getBigUint64(0x70, true), s.getBigUint64(0xd1, true)];
  // Of a filesystem on several devices only the part on this one counts.
  if (here > all) return null;
  return sized('btrfs', here);
}

function isPowerOfTwo(n: number, min: number, max: number): boolean {
  return n >= min && n <= max && Number.isInteger(Math.log2(n));
}
