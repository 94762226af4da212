import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const PATH = '/var/bitmap_tag';
const IDENTITY = { createId: '00112233445566ff', deviceBytes: 60_000 * 4096, regionBytes: 4096 };
const META = { ...IDENTITY, generation: 'a000000000000001' };
const SECTOR = 512;
const BUSY = 65;
const AHEAD_BYTES = 512 * SECTOR;

/** A file with so many flushes of one sector each, which mark regions 0, 1, 2 ... */
async function busyFile(files: MemoryFiles, flushes: number): Promise<BitmapFile> {
  const f = await BitmapFile.create(files, PATH, META);
  for (let i = 0; i < flushes; i += 1) await flushed(f, i);
  return f;
}

async function flushed(f: BitmapFile, region: number): Promise<void> {
  f.map('intent').set(region);
  await f.flush();
}

const size = (files: MemoryFiles): number => files.peek(PATH).length;

async function marksOnDisk(files: MemoryFiles): Promise<number> {
  const { file, torn } = await BitmapFile.open(files.copy(), PATH, IDENTITY);
  expect(torn).toBe(0);
  return file.map('intent').count;
}

describe('the journal of a bitmap file', () => {
  it('grows by what it holds while it is short', async () => {
    const files = new MemoryFiles();
    await busyFile(files, BUSY - 1);
    expect(size(files)).toBe(BUSY * SECTOR);
  });

  it('is made longer ahead of need by the flush that finds it in use, and later flushes change no size', async () => {
    const files = new MemoryFiles();
    const f = await busyFile(files, BUSY - 1);
    const { writes, syncs } = files;
    await flushed(f, BUSY);
    const ahead = (1 + BUSY) * SECTOR + AHEAD_BYTES;
    expect([size(files), files.writes - writes, files.syncs - syncs]).toEqual([ahead, 1, 1]);
    for (let i = 1; i <= AHEAD_BYTES / SECTOR; i += 1) await flushed(f, BUSY + i);
    expect(size(files)).toBe(ahead);
    await flushed(f, 5000);
    expect(size(files)).toBe(ahead + SECTOR + AHEAD_BYTES);
    expect(await marksOnDisk(files)).toBe(BUSY + AHEAD_BYTES / SECTOR + 1);
  });

  it('holds what was flushed, whatever the power failure leaves of what was not', async () => {
    const files = new MemoryFiles();
    const f = await busyFile(files, BUSY + 3);
    f.map('intent').set(9000);
    files.fault = (o) => (o === 'sync' ? { errno: Errno.EIO } : undefined);
    await expect(f.flush()).rejects.toThrow(IoError);
    for (const keep of [true, false]) expect(await marksOnDisk(files.afterPowerLoss(() => keep))).toBe(BUSY + 3 + (keep ? 1 : 0));
  });

  it('goes on by what it has to hold where a full disk has no room ahead', async () => {
    const files = new MemoryFiles();
    const f = await busyFile(files, BUSY - 1);
    const room = { bytes: SECTOR + 700 };
    files.fault = (o) => {
      if (o !== 'write') return undefined;
      if (room.bytes === 0) return { errno: Errno.ENOSPC };
      const atMostBytes = room.bytes;
      room.bytes = 0;
      return { atMostBytes };
    };
    await flushed(f, BUSY);
    // What little room there was is given back.
    expect(size(files)).toBe((1 + BUSY) * SECTOR);
    files.fault = () => undefined;
    for (let i = 1; i < 5; i += 1) await flushed(f, BUSY + i);
    expect(size(files)).toBe((BUSY + 5) * SECTOR);
    expect(await marksOnDisk(files)).toBe(BUSY + 4);
  });

  it.each([
    ['no room for what it has to hold', [{ atMostBytes: SECTOR - 1 }, { errno: Errno.ENOSPC }]],
    ['an error of the disk, in the zeroes too', [{ atMostBytes: SECTOR + 700 }, { errno: Errno.EIO }]],
  ])('fails with %s', async (_what, faults) => {
    const files = new MemoryFiles();
    const f = await busyFile(files, BUSY - 1);
    files.fault = (o) => (o === 'write' ? faults.shift() : undefined);
    f.map('intent').set(BUSY);
    await expect(f.flush()).rejects.toThrow(IoError);
    expect(f.poisoned).toBe(true);
    await f.rewrite();
    expect(await marksOnDisk(files)).toBe(BUSY);
  });

  /** Flushes of many sectors each, until the file is made anew. */
  async function folded(files: MemoryFiles): Promise<BitmapFile> {
    const f = await BitmapFile.create(files, PATH, META);
    const maps = Array.from({ length: 12 }, (_x, i) => f.map(`oos:n${String(i)}`));
    for (const map of maps) for (let r = 0; r < 60_000; r += 10) map.set(r);
    const remade = (): bigint => Buffer.from(files.peek(PATH)).readBigUInt64BE(64);
    const before = remade();
    for (let i = 1; remade() === before; i += 1) {
      for (const map of maps) for (let r = 0; r < 59_000; r += 512) map.set(r + i);
      await f.flush();
      if (i > 100) throw new Error('the file was never made anew');
    }
    return f;
  }

  it('has room from the beginning when it was folded, and none at rest', async () => {
    const files = new MemoryFiles();
    const f = await folded(files);
    const whole = size(files);
    const { writes } = files;
    for (let i = 0; i < 50; i += 1) await flushed(f, i);
    expect([size(files), files.writes - writes]).toEqual([whole, 50]);
    expect(await marksOnDisk(files)).toBe(50);
    await f.close();
    expect(whole - size(files)).toBeGreaterThan(2047 * SECTOR);
    const closed = await BitmapFile.open(files, PATH, IDENTITY);
    expect([closed.clean, closed.file.map('intent').count]).toEqual([true, 50]);
  });

  it('is folded also where there is no room for zeroes', async () => {
    const files = new MemoryFiles();
    const room = { bytes: 1000 * SECTOR, asked: 0 };
    files.fault = (o, path) => {
      // The file is made with nothing but its header.
      if (o !== 'write' || !path.endsWith('.tmp') || files.writes < 5) return undefined;
      room.asked += 1;
      return room.asked === 1 ? { atMostBytes: room.bytes } : { errno: Errno.ENOSPC };
    };
    const f = await folded(files);
    expect([f.compactionError, size(files) < room.bytes, room.asked]).toEqual([undefined, true, 2]);
    const whole = size(files);
    files.fault = () => undefined;
    await flushed(f, 3000);
    expect([size(files), await marksOnDisk(files)]).toEqual([whole + SECTOR, 1]);
  });
});
