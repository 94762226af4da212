import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { markDirty, openBitmap, spreadRegions } from '../../../scripts/benchmark/dirty-regions.ts';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';

it('spreads regions evenly, each once, and refuses more than there are', () => {
  expect(spreadRegions(4, 10)).toEqual([0, 2, 5, 7]);
  expect(spreadRegions(3, 3)).toEqual([0, 1, 2]);
  const many = spreadRegions(10_000, 2 ** 28);
  expect(new Set(many).size).toBe(10_000);
  expect(many.at(-1)).toBeLessThan(2 ** 28);
  expect(() => spreadRegions(4, 3)).toThrow('4 dirty regions do not fit in 3');
});

it('marks exactly so many regions in a bitmap file, whatever was marked before, and leaves other maps alone', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'netraid-'));
  try {
    const file = path.join(folder, 'bitmap_x');
    const id = '0123456789abcdef';
    const made = await BitmapFile.create(nodeFiles, file, { createId: id, generation: id, deviceBytes: 2 ** 46, regionBytes: 2 ** 18 });
    made.map('oos:n1').setRange(5, 500);
    made.map('intent').set(7);
    await made.close();
    await markDirty(file, 'n1', 1000);
    const again = await openBitmap(file);
    expect([again.map('oos:n1').count, again.map('intent').count]).toEqual([1000, 1]);
    expect(again.meta.deviceBytes).toBe(2 ** 46);
    await again.close();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
