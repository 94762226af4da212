import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { BitmapKeeper } from '../../../src/failover/bitmap-keeper.ts';
import { makeFolders } from '../../../src/failover/flags.ts';
import { bitmapPath } from '../../../src/failover/paths.ts';
import { Errno } from '../../../src/io/types.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { record } from './build.ts';

const ROOT = '/var';
const NODES = ['server1', 'server2', 'server3'];
const RECORD = record('server1', NODES);
const { tag, createId, sizeBytes, regionSizeBytes } = RECORD.definition;
const PATH = bitmapPath(ROOT, tag);
const REGIONS = sizeBytes / regionSizeBytes;

interface Bench {
  world: SimWorld;
  keeper: BitmapKeeper;
  /** What the next boot finds after power has failed now: marked regions by map. */
  found: () => Promise<Record<string, number>>;
}

async function bench(damaged: boolean): Promise<Bench> {
  const world = new SimWorld(1);
  const node = world.node('server1');
  const { files } = node.boot();
  const identity = { createId, deviceBytes: sizeBytes, regionBytes: regionSizeBytes };
  await world.run(makeFolders(files, ROOT));
  if (!damaged) await world.run(BitmapFile.create(files, PATH, { ...identity, generation: RECORD.generation }).then((f) => f.close()));
  const keeper = new BitmapKeeper(files, ROOT, () => RECORD);
  expect((await world.run(keeper.open())) !== '').toBe(damaged);
  return {
    world,
    keeper,
    found: async () => {
      node.powerFail();
      const { file } = await world.run(BitmapFile.open(node.boot().files, PATH, identity));
      return Object.fromEntries(file.mapNames.map((n) => [n, file.map(n).count]));
    },
  };
}

describe('a damaged bitmap file that is made anew (M13)', () => {
  it('is never on disk without its marks, and leaves all of the own leg in doubt', async () => {
    const { world, keeper, found } = await bench(true);
    await world.run(keeper.forService());
    expect(await found()).toEqual({ intent: REGIONS, 'oos:server2': REGIONS, 'oos:server3': REGIONS });
  });

  it('by a mirror that grows while nothing is served is marked as a whole', async () => {
    const { world, keeper, found } = await bench(true);
    await world.run(keeper.regrown(sizeBytes));
    expect(await found()).toEqual({ intent: REGIONS, 'oos:server2': REGIONS, 'oos:server3': REGIONS });
  });
});

describe('a bitmap file that is replaced', () => {
  it('has the marks of before and those of the new end the moment it is there', async () => {
    const { keeper, world, found } = await bench(false);
    keeper.file?.map('oos:server2').setRange(3, 4);
    await world.run(
      keeper.regrown(sizeBytes, (file, regions) => {
        file.map('oos:server3').setRange(regions.regionCount - 2, regions.regionCount - 1);
      }),
    );
    expect(await found()).toEqual({ 'oos:server2': 2, 'oos:server3': 2 });
  });

  it('although the old one can not be written to any more', async () => {
    const { world, keeper, found } = await bench(false);
    keeper.file?.map('oos:server2').set(1);
    world.node('server1').fail(`${PATH}*`, { op: 'sync', errno: Errno.EIO, times: 1 });
    await world.run(keeper.reset(true));
    expect(keeper.damaged).toBe(false);
    expect(keeper.file?.mapNames).toEqual([]);
    expect(await found()).toEqual({});
  });

  it('or can not be: then nobody takes it for whole', async () => {
    const { world, keeper } = await bench(false);
    world.node('server1').fail(`${PATH}*`, { op: 'write', errno: Errno.EIO });
    await expect(world.run(keeper.reset(true))).rejects.toMatchObject({ errno: Errno.EIO });
    expect(keeper.damaged).toBe(true);
    expect(keeper.file).toBeUndefined();
    world.node('server1').repairDisk();
    await world.run(keeper.reset(false));
    expect(keeper.damaged).toBe(false);
  });
});

it('a bitmap file that could not be closed for want of room is closed all the same, and no second time', async () => {
  const { world, keeper } = await bench(false);
  keeper.file?.map('intent').set(0);
  world.node('server1').full(`${PATH}*`);
  await expect(world.run(keeper.close())).rejects.toMatchObject({ errno: Errno.ENOSPC });
  await world.run(keeper.close());
});
