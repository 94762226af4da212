import { describe, expect, it } from 'vitest';
import { FlagFiles, makeFolders } from '../../../src/failover/flags.ts';
import { mirrorPaths, StateError } from '../../../src/failover/paths.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { Errno, type Files } from '../../../src/io/types.ts';

const ROOT = '/var/lib/netraid';
const PATHS = mirrorPaths(ROOT, 'datarep-ext3');

async function ready(seed = 1): Promise<{ world: SimWorld; files: Files; flags: FlagFiles }> {
  const world = new SimWorld(seed);
  const { files } = world.node('a').boot();
  await world.run(makeFolders(files, ROOT));
  return { world, files, flags: new FlagFiles(files, ROOT, 'datarep-ext3') };
}

async function put(files: Files, path: string, content: string): Promise<void> {
  const f = await files.open(path, { write: true, create: true });
  await f.write(new TextEncoder().encode(content), 0);
  await f.close();
}

describe('flag files', () => {
  it('are all absent at first', async () => {
    const { world, flags } = await ready();
    expect(await world.run(flags.refresh())).toEqual({ lastOwner: false, source: null, dataCorrupt: false });
  });

  it('survive a power failure once set, and stay away once cleared', async () => {
    const { world, flags } = await ready();
    await world.run(Promise.all([flags.setLastOwner(true), flags.setSource('server2'), flags.setDataCorrupt(true)]));
    const afterPowerFailure = async (): Promise<FlagFiles> => {
      world.node('a').powerFail();
      const again = new FlagFiles(world.node('a').boot().files, ROOT, 'datarep-ext3');
      await world.run(again.refresh());
      return again;
    };
    const back = await afterPowerFailure();
    expect(back.flags).toEqual({ lastOwner: true, source: 'server2', dataCorrupt: true });
    await world.run(back.removeAll());
    expect(back.flags).toEqual({ lastOwner: false, source: null, dataCorrupt: false });
    expect((await afterPowerFailure()).flags).toEqual({ lastOwner: false, source: null, dataCorrupt: false });
  });

  it('hold the name of the source on a line of its own', async () => {
    const { world, files, flags } = await ready();
    await world.run(flags.setSource('server2'));
    expect(new TextDecoder().decode(await world.run(files.readFile(PATHS.source, 100)))).toBe('server2\n');
    await world.run(flags.setSource('server1'));
    expect(flags.flags.source).toBe('server1');
  });

  it('are read again, because an operator may touch and delete them', async () => {
    const { world, files, flags } = await ready();
    await world.run(flags.setDataCorrupt(true));
    await world.run(files.unlink(PATHS.dataCorrupt));
    await world.run(put(files, PATHS.lastOwner, 'by hand'));
    await world.run(put(files, PATHS.source, 'server3'));
    expect(await world.run(flags.refresh())).toEqual({ lastOwner: true, source: 'server3', dataCorrupt: false });
  });

  it('may be cleared twice', async () => {
    const { world, flags } = await ready();
    await world.run(flags.setLastOwner(false));
    await world.run(flags.setLastOwner(false));
    expect(flags.flags.lastOwner).toBe(false);
  });

  it.each([
    ['', /"" is not a node name: .*datarep-ext3_source; allowed are/],
    ['a b\n', /"a b" is not a node name/],
    ['server1\nserver2\n', /is not a node name/],
    ['../../etc/passwd\n', /is not a node name/],
    ['x'.repeat(1000), /more than a node name: .*datarep-ext3_source; at most 256 bytes/],
  ])('refuse garbage in TAG_source: %j', async (content, error) => {
    const { world, files, flags } = await ready();
    await world.run(put(files, PATHS.source, content));
    await expect(world.run(flags.refresh())).rejects.toThrow(error);
    await expect(world.run(flags.refresh())).rejects.toThrow(StateError);
  });

  it('refuse to name a source that is no node, and a flag that is a folder', async () => {
    const { world, files, flags } = await ready();
    await expect(world.run(flags.setSource('a/b'))).rejects.toThrow(StateError);
    await world.run(files.mkdir(PATHS.lastOwner));
    await expect(world.run(flags.refresh())).rejects.toThrow(/a flag is a directory/);
  });

  it('report a disk that does not answer, and go on when it does', async () => {
    const { world, flags } = await ready();
    world.node('a').fail(`${PATHS.lastOwner}*`, { op: 'sync', errno: Errno.EIO, times: 1 });
    const results = await world.run(Promise.allSettled([flags.setLastOwner(true), flags.setDataCorrupt(true)]));
    expect(results.map((r) => r.status)).toEqual(['rejected', 'fulfilled']);
    expect(flags.flags).toEqual({ lastOwner: false, source: null, dataCorrupt: true });
  });
});
