import { expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { checkpointMap, checkpointsIn, markCheckpointsFrom, markCheckpointsWritten } from '../../../src/bitmap/map-names.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const META = { createId: '0123456789abcdef', regionBytes: 4096, deviceBytes: 8 * 4096, generation: '00000000000000aa' };

it('checkpoints are found by the names of their maps, and by nothing else', async () => {
  const file = await BitmapFile.create(new MemoryFiles(), '/b', META);
  markCheckpointsWritten(file);
  expect(file.mapNames).toEqual([]);
  for (const name of ['intent', 'oos:checkpoint', checkpointMap('b'), checkpointMap('a')]) file.map(name);
  expect(checkpointsIn(file)).toEqual(['a', 'b']);
  file.map('intent').setRange(1, 2);
  markCheckpointsWritten(file);
  markCheckpointsFrom(file, 7);
  for (const name of ['a', 'b'])
    expect([...file.map(checkpointMap(name)).runs()].map((r) => [r.first, r.length])).toEqual([
      [1, 2],
      [7, 1],
    ]);
  expect(file.map('oos:checkpoint').count).toBe(0);
});
