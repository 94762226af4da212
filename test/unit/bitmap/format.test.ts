import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const PATH = '/var/bitmap_tag';
const META = { createId: '00112233445566ff', deviceBytes: 5000 * 4096, regionBytes: 4096, generation: 'a000000000000001' };
const golden = Buffer.from(readFileSync(new URL('./format-1.hex', import.meta.url), 'latin1').replaceAll(/\s/g, ''), 'hex');

/** Every kind of record once, in base and journal. */
async function write(): Promise<Buffer> {
  const files = new MemoryFiles();
  const f = await BitmapFile.create(files, PATH, META);
  f.map('intent').set(0);
  f.map('intent').setRange(520, 530);
  f.map('oos:server2').setAll();
  for (let i = 1024; i < 1536; i += 3) f.map('behind').set(i);
  await f.rewrite();
  f.map('oos:server2').clearRange(0, 1023);
  f.map('intent').clear(0);
  f.map('intent').set(4999);
  f.dropMap('behind');
  f.setGeneration('b000000000000002');
  await f.flush();
  return Buffer.from(files.peek(PATH));
}

describe('format 1', () => {
  it('is written as it always was', async () => {
    expect((await write()).toString('hex')).toBe(golden.toString('hex'));
  });

  it('is read as it always was, bit 0 being 0x80', async () => {
    const files = new MemoryFiles();
    files.put(PATH, golden);
    const { file, torn } = await BitmapFile.open(files, PATH, META);
    expect(torn).toBe(0);
    expect(file.meta.generation).toBe('b000000000000002');
    expect(Object.fromEntries(file.mapNames.map((n) => [n, [...file.map(n).runs()]]))).toEqual({
      intent: [
        { first: 520, length: 11 },
        { first: 4999, length: 1 },
      ],
      'oos:server2': [{ first: 1024, length: 3976 }],
    });
    // The base has the window of every third bit as bytes: 1001 0010 0100 1001 ...
    expect(golden.subarray(512, 1024).toString('hex')).toContain('924924924924');
  });
});
