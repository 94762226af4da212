import { describe, expect, it } from 'vitest';
import { BitmapFile, DamagedBitmapError } from '../../../src/bitmap/bitmap-file.ts';
import { inspect } from '../../../src/bitmap/inspect.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const PATH = '/var/bitmap_tag';
const META = { createId: '00112233445566ff', deviceBytes: 100_000 * 4096 + 1, regionBytes: 4096, generation: 'a000000000000001' };

describe('inspect', () => {
  it('counts each map of a file that a daemon is using, without writing', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('oos:server2').setRange(0, 3);
    f.map('intent').set(100_000);
    await f.flush();
    const spent = files.spent;
    expect(await inspect(files, PATH)).toEqual({
      meta: { ...META, version: 1 },
      regionCount: 100_001,
      maps: [
        { name: 'intent', dirtyRegions: 1, dirtyBytes: 1 },
        { name: 'oos:server2', dirtyRegions: 4, dirtyBytes: 16_384 },
      ],
      torn: 0,
      clean: false,
      baseSectors: 0,
      journalSectors: 1,
    });
    expect(files.spent).toBe(spent);
    expect(files.openFiles).toBe(1);
  });

  it('says what is wrong with a damaged one', async () => {
    const files = new MemoryFiles();
    await (await BitmapFile.create(files, PATH, META)).close();
    files.peek(PATH).fill(7, 100, 110);
    await expect(inspect(files, PATH)).rejects.toThrow(DamagedBitmapError);
    expect(files.openFiles).toBe(0);
  });
});
