import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FileContent } from '../../../src/io/simulated/file-content.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import { SimWorld, type SimWorldOptions } from '../../../src/io/simulated/world.ts';
import type { SimNode } from '../../../src/io/simulated/node.ts';
import { Errno, type Io, type IoFile } from '../../../src/io/types.ts';
import { filled, outcomes, patterned, SEEDS, writeNew } from './simulated-support.ts';

const OLD = 0x11;
const NEW = 0x22;
const LENGTH = 8192;

/** A node with a durable file of OLD bytes, open for writing. */
async function withOldFile(seed: number, options: SimWorldOptions = {}): Promise<{ world: SimWorld; node: SimNode; io: Io; file: IoFile }> {
  const world = new SimWorld(seed, options);
  const node = world.node('a');
  const io = node.boot();
  const file = await world.run(writeNew(io, '/f', filled(LENGTH, OLD), true));
  await world.run(io.files.syncDirectory('/'));
  return { world, node, io, file };
}

/** What became of a file that was all OLD and was overwritten with NEW. */
function fate(node: SimNode, path = '/f'): 'absent' | 'old' | 'new' | 'torn' | 'short' {
  const bytes = node.peek(path);
  if (bytes === undefined) return 'absent';
  if (bytes.length < LENGTH) return 'short';
  if (bytes.every((b) => b === OLD)) return 'old';
  if (bytes.every((b) => b === NEW)) return 'new';
  for (let sector = 0; sector < LENGTH; sector += 512) {
    expect(new Set(bytes.subarray(sector, sector + 512)).size, 'a sector is never torn').toBe(1);
  }
  return 'torn';
}

describe('what a crash leaves', () => {
  it('is everything that was written, synced or not', async () => {
    for (const seed of SEEDS.slice(0, 10)) {
      const { world, node, io, file } = await withOldFile(seed);
      await world.run(file.write(filled(LENGTH, NEW), 0));
      await world.run(io.files.rename('/f', '/g'));
      node.crash();
      expect(fate(node, '/g')).toBe('new');
      node.boot();
      expect(fate(node, '/g')).toBe('new');
    }
  });
});

describe('what a power failure leaves', () => {
  it('is all that was synced', async () => {
    for (const seed of SEEDS) {
      const { world, node, file } = await withOldFile(seed);
      await world.run(file.write(filled(LENGTH, NEW), 0));
      await world.run(file.sync());
      node.powerFail();
      expect(fate(node)).toBe('new');
    }
  });

  it('of unsynced writes is nothing, all, or a mixture of whole sectors, by the seed', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      await world.run(file.write(filled(LENGTH, NEW), 0));
      node.powerFail();
      return fate(node);
    });
    expect(seen).toEqual(new Set(['old', 'new', 'torn']));
  });

  it('keeps later writes and loses earlier ones in some history: unsynced writes have no order', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      await world.run(file.write(filled(4096, NEW), 0));
      await world.run(file.write(filled(4096, NEW), 4096));
      node.powerFail();
      const bytes = node.peek('/f') ?? new Uint8Array(0);
      const first = bytes.subarray(0, 4096).includes(NEW);
      const second = bytes.subarray(4096).includes(NEW);
      return `${String(first)},${String(second)}`;
    });
    expect(seen).toContain('false,true');
    expect(seen).toContain('true,false');
  });

  it('may be any of the versions that a sector had, not only the first and the last', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      for (const byte of [1, 2, 3]) await world.run(file.write(filled(512, byte), 0));
      node.powerFail();
      return node.peek('/f', 0, 1)?.[0];
    });
    expect(seen).toEqual(new Set([OLD, 1, 2, 3]));
  });

  it('covers a write that was in flight when a sync began in some histories only', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed, { disk: { sync: { fromMs: 5, toMs: 6 } } });
      const write = file.write(filled(LENGTH, NEW), 0);
      const sync = file.sync();
      await world.run(Promise.all([write, sync]));
      node.powerFail();
      return fate(node);
    });
    expect(seen).toContain('old');
    expect(seen).toContain('new');
  });

  it('includes every write that ended before the sync began, however many followed it', async () => {
    for (const seed of SEEDS) {
      const { world, node, file } = await withOldFile(seed, { disk: { sync: { fromMs: 20, toMs: 30 } } });
      await world.run(file.write(filled(512, 0xaa), 0));
      const sync = file.sync();
      for (let i = 0; i < 20; i += 1) await world.run(file.write(filled(512, i), 512));
      await world.run(sync);
      node.powerFail();
      expect(node.peek('/f', 0, 1)?.[0]).toBe(0xaa);
    }
  });

  it('may lose a sync that was still in flight', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      await world.run(file.write(filled(LENGTH, NEW), 0));
      void file.sync();
      node.powerFail();
      return fate(node);
    });
    expect(seen).toContain('old');
    expect(seen).toContain('new');
  });

  it('may have the old size after a truncate that was not synced', async () => {
    const sizes = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      await world.run(file.truncate(1024));
      expect(node.peek('/f')?.length).toBe(1024);
      node.powerFail();
      return node.peek('/f')?.length;
    });
    expect(sizes).toEqual(new Set([1024, LENGTH]));
  });

  it('may give back what was punched', async () => {
    const seen = await outcomes(SEEDS, (seed) => {
      const content = new FileContent();
      content.write(filled(LENGTH, OLD), 0);
      content.commit(content.number);
      content.zero(0, LENGTH, true);
      content.powerFail(new Stream(seed, 'test'));
      const page = new Uint8Array(4096);
      content.read(page, 0);
      return Promise.resolve(page.every((b) => b === 0) ? 'hole' : page.every((b) => b === OLD) ? 'old' : 'torn');
    });
    expect(seen).toEqual(new Set(['hole', 'old', 'torn']));
  });

  it('loses a new file whose folder was not synced, although the file was', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, io } = await withOldFile(seed);
      await world.run(writeNew(io, '/new', filled(LENGTH, NEW), true));
      node.powerFail();
      return fate(node, '/new');
    });
    expect(seen).toEqual(new Set(['absent', 'new']));
  });

  it('finds a replacement without fsync of the file: the new name with torn or missing content', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, io } = await withOldFile(seed);
      await world.run(writeNew(io, '/f.tmp', filled(LENGTH, NEW), false));
      await world.run(io.files.rename('/f.tmp', '/f'));
      await world.run(io.files.syncDirectory('/'));
      node.powerFail();
      const end = fate(node);
      expect(end).not.toBe('old');
      return end;
    });
    expect(seen).toContain('short');
    expect(seen).toContain('new');
  });

  it('finds a replacement without fsync of the folder: the old content is back, never a mixture', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, io } = await withOldFile(seed);
      await world.run(writeNew(io, '/f.tmp', filled(LENGTH, NEW), true));
      await world.run(io.files.rename('/f.tmp', '/f'));
      node.powerFail();
      return fate(node);
    });
    expect(seen).toEqual(new Set(['old', 'new']));
  });

  it('keeps a replacement that was done by the book: write, fsync, rename, fsync of the folder', async () => {
    for (const seed of SEEDS) {
      const { world, node, io } = await withOldFile(seed);
      await world.run(writeNew(io, '/f.tmp', filled(LENGTH, NEW), true));
      await world.run(io.files.rename('/f.tmp', '/f'));
      await world.run(io.files.syncDirectory('/'));
      node.powerFail();
      expect(fate(node)).toBe('new');
      expect(node.peekFolder('/')).toEqual(['f']);
    }
  });

  it('may bring back a file whose removal was not synced, with its content', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, io } = await withOldFile(seed);
      await world.run(io.files.unlink('/f'));
      expect(fate(node)).toBe('absent');
      node.powerFail();
      return fate(node);
    });
    expect(seen).toEqual(new Set(['old', 'absent']));
  });

  it('never keeps a rename without the file, nor loses both names', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, io } = await withOldFile(seed);
      await world.run(io.files.rename('/f', '/g'));
      await world.run(writeNew(io, '/f', filled(LENGTH, NEW), true));
      node.powerFail();
      return (node.peekFolder('/') ?? []).join();
    });
    expect(seen).toEqual(new Set(['f', 'g', 'f,g']));
  });

  it('keeps a folder and its parents once the folder was synced', async () => {
    for (const seed of SEEDS) {
      const { world, node, io } = await withOldFile(seed);
      await world.run(io.files.mkdir('/x/y/z'));
      await world.run(writeNew(io, '/x/y/z/file', filled(LENGTH, NEW), true));
      await world.run(io.files.syncDirectory('/x/y/z'));
      node.powerFail();
      expect(fate(node, '/x/y/z/file')).toBe('new');
    }
  });

  it('is counted', async () => {
    const { world, node, io, file } = await withOldFile(2);
    for (let i = 0; i < 40; i += 1) {
      await world.run(file.write(filled(LENGTH, NEW), i * LENGTH));
      await world.run(writeNew(io, `/n${String(i)}`, filled(1, 1), false));
    }
    node.powerFail();
    const c = world.counters;
    expect(c.get('sectorsKept') + c.get('sectorsLost')).toBeGreaterThanOrEqual(40 * 16);
    expect(c.get('createsLost') + c.get('folderOperationsKept')).toBe(40);
    expect(c.toString()).toContain('powerFailures=1');
  });
});

describe('a failed sync', () => {
  it('is an error, and what it should have saved may be lost although a later sync succeeds', async () => {
    const seen = await outcomes(SEEDS, async (seed) => {
      const { world, node, file } = await withOldFile(seed);
      node.fail('/f', { op: 'sync', errno: Errno.EIO, times: 1 });
      await world.run(file.write(filled(LENGTH, NEW), 0));
      await expect(world.run(file.sync())).rejects.toMatchObject({ code: 'EIO' });
      await world.run(file.sync());
      expect(fate(node), 'a reader sees the page cache').toBe('new');
      node.powerFail();
      return fate(node);
    });
    expect(seen).toContain('old');
    expect(seen).toContain('torn');
  });

  it('is made good by writing the same bytes again and a good sync', async () => {
    for (const seed of SEEDS) {
      const { world, node, file } = await withOldFile(seed);
      node.fail('/f', { op: 'sync', errno: Errno.EIO, times: 1 });
      await world.run(file.write(filled(LENGTH, NEW), 0));
      await expect(world.run(file.sync())).rejects.toMatchObject({ code: 'EIO' });
      await world.run(file.write(filled(LENGTH, NEW), 0));
      await world.run(file.sync());
      node.powerFail();
      expect(fate(node)).toBe('new');
    }
  });
});

describe('disk faults', () => {
  it('fail only what they name, as often as they say, until repaired', async () => {
    const { world, node, io, file } = await withOldFile(1);
    node.fail('/f', { op: 'write', errno: Errno.EIO, times: 2 });
    node.fail(/^\/other/u, { op: 'read', errno: Errno.EIO });
    const other = await world.run(writeNew(io, '/other-file', patterned(10), false));
    for (let i = 0; i < 2; i += 1) await expect(world.run(file.write(patterned(10), 0))).rejects.toMatchObject({ code: 'EIO' });
    expect(await world.run(file.write(patterned(10), 0))).toBe(10);
    await expect(world.run(other.read(new Uint8Array(4), 0))).rejects.toMatchObject({ code: 'EIO' });
    await expect(world.run(io.files.readFile('/other-file', 100))).rejects.toMatchObject({ code: 'EIO' });
    node.repairDisk();
    expect(await world.run(other.read(new Uint8Array(4), 0))).toBe(4);
  });

  it('fail the sync of a folder, and names with a star', async () => {
    const { world, node, io } = await withOldFile(1);
    node.fail('/etc*', { op: 'sync', errno: Errno.EIO });
    await world.run(io.files.mkdir('/etc/default'));
    await expect(world.run(io.files.syncDirectory('/etc/default'))).rejects.toMatchObject({ code: 'EIO' });
    await world.run(io.files.syncDirectory('/'));
  });

  it('of a full disk refuse new room, not what a file has', async () => {
    const { world, node, io, file } = await withOldFile(1);
    node.full('*');
    expect(await world.run(file.write(filled(LENGTH, NEW), 0))).toBe(LENGTH);
    expect(await world.run(file.write(filled(8192, NEW), LENGTH - 4096))).toBe(4096);
    await expect(world.run(file.write(filled(10, NEW), LENGTH))).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(world.run(io.files.open('/new', { create: true, write: true }))).rejects.toMatchObject({ code: 'ENOSPC' });
    node.repairDisk();
    expect(await world.run(file.write(filled(10, NEW), LENGTH))).toBe(10);
  });

  it('stall operations until the repair', async () => {
    const { world, node, file } = await withOldFile(1);
    node.stall('/f');
    let done = false;
    const write = file.write(filled(10, NEW), 0).then(() => {
      done = true;
    });
    await world.runFor(60_000);
    expect(done).toBe(false);
    node.repairDisk();
    await world.run(write);
    expect(node.peek('/f', 0, 1)?.[0]).toBe(NEW);
  });

  it('move fewer bytes than asked when short transfers are on, and never when off', async () => {
    const { world, file } = await withOldFile(4, { shortTransfers: 0 });
    for (let i = 0; i < 50; i += 1) expect(await world.run(file.read(new Uint8Array(LENGTH), 0))).toBe(LENGTH);
    world.node('a').setDisk({ shortTransfers: 0.5 });
    const counts = new Set<number>();
    for (let i = 0; i < 50; i += 1) {
      const n = await world.run(file.write(filled(LENGTH, NEW), 0));
      expect(n).toBeGreaterThan(0);
      counts.add(n);
    }
    expect(counts.size).toBeGreaterThan(5);
    expect(world.counters.get('shortWrites')).toBeGreaterThan(5);
  });
});

describe('files', () => {
  it('answer the errors of a real file system', async () => {
    const { world, io, file } = await withOldFile(1);
    const { files } = io;
    const refused = async (p: Promise<unknown>, code: string): Promise<void> => {
      await expect(world.run(p)).rejects.toMatchObject({ code });
    };
    await world.run(files.mkdir('/d'));
    await refused(files.open('/missing', {}), 'ENOENT');
    await refused(files.open('/missing/file', { create: true }), 'ENOENT');
    await refused(files.open('/f', { create: true, exclusive: true }), 'EEXIST');
    await refused(files.open('/d', {}), 'EISDIR');
    await refused(files.list('/f'), 'ENOTDIR');
    await refused(files.mkdir('/f/x'), 'ENOTDIR');
    await refused(files.stat('/missing'), 'ENOENT');
    await refused(files.rename('/missing', '/x'), 'ENOENT');
    await refused(files.unlink('/missing'), 'ENOENT');
    await refused(files.readFile('/f', 100), 'EFBIG');
    await refused(files.syncDirectory('/missing'), 'ENOENT');
    const reader = await world.run(files.open('/f', {}));
    await refused(reader.write(patterned(1), 0), 'EPERM');
    await world.run(file.close());
    await refused(file.sync(), 'EINVAL');
    expect(await world.run(files.list('/'))).toEqual(['d', 'f']);
    expect(await world.run(files.stat('/f'))).toEqual({ kind: 'file', sizeBytes: LENGTH });
  });

  it('hold one lock for each open description, freed by close and by the death of the process', async () => {
    const { world, node, io, file } = await withOldFile(1);
    const second = await world.run(io.files.open('/f', { write: true }));
    expect(await world.run(file.tryLock())).toBe(true);
    expect(await world.run(file.tryLock())).toBe(true);
    expect(await world.run(second.tryLock())).toBe(false);
    await world.run(file.close());
    expect(await world.run(second.tryLock())).toBe(true);
    const local = await world.run(node.localIo().files.open('/f', {}));
    expect(await world.run(local.tryLock())).toBe(false);
    node.crash();
    expect(await world.run(local.tryLock())).toBe(true);
  });

  it('cost nothing where they are empty, and report holes', () => {
    const content = new FileContent(2 ** 40);
    content.write(patterned(100), 2 ** 39 + 4000);
    expect(content.extents(0, 2 ** 40, 16)).toEqual([
      { offset: 0, length: 2 ** 39, hole: true, zero: true },
      { offset: 2 ** 39, length: 8192, hole: false, zero: false },
      { offset: 2 ** 39 + 8192, length: 2 ** 40 - 2 ** 39 - 8192, hole: true, zero: true },
    ]);
    content.zero(0, 2 ** 40, true);
    expect(content.extents(0, 2 ** 40, 16)).toEqual([{ offset: 0, length: 2 ** 40, hole: true, zero: true }]);
  });

  it('are compared by content: where a hole meets zeroes nothing differs', () => {
    const world = new SimWorld(1);
    const [a, b] = [world.node('a'), world.node('b')];
    a.createFile('/leg', 1 << 30);
    b.createFile('/leg', 1 << 30);
    expect(a.firstDifference('/leg', b, '/leg')).toBe(-1);
    const content = new FileContent(1 << 20);
    const other = new FileContent(1 << 20);
    content.write(new Uint8Array(5000), 4096);
    expect(content.firstDifference(other)).toBe(-1);
    content.write(filled(1, 1), 9000);
    expect(content.firstDifference(other)).toBe(8192);
    expect(new FileContent(10).firstDifference(new FileContent(20))).toBe(10);
  });

  it('read back what a plain array would hold, and a power failure after a sync changes nothing', () => {
    const SIZE = 20_000;
    const at = fc.nat(SIZE - 1);
    const step = fc.oneof(
      fc.record({ kind: fc.constant('write' as const), at, length: fc.integer({ min: 1, max: 9000 }), byte: fc.integer({ min: 1, max: 255 }) }),
      fc.record({ kind: fc.constant('zero' as const), at, length: fc.integer({ min: 1, max: 9000 }), punch: fc.boolean() }),
      fc.record({ kind: fc.constant('truncate' as const), at }),
      fc.record({ kind: fc.constant('sync' as const) }),
      fc.record({ kind: fc.constant('failed sync' as const) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat(), (steps, seed) => {
        const stream = new Stream(seed, 'test');
        const content = new FileContent();
        let model = new Uint8Array(0);
        for (const s of steps) {
          if (s.kind === 'write') {
            const longer = new Uint8Array(Math.max(model.length, s.at + s.length));
            longer.set(model);
            model = longer.fill(s.byte, s.at, s.at + s.length);
            content.write(filled(s.length, s.byte), s.at);
          } else if (s.kind === 'zero') {
            model.fill(0, s.at, s.at + s.length);
            content.zero(s.at, s.length, s.punch);
          } else if (s.kind === 'truncate') {
            const other = new Uint8Array(s.at);
            other.set(model.subarray(0, s.at));
            model = other;
            content.truncate(s.at);
          } else if (s.kind === 'sync') {
            content.commit(content.number);
          } else {
            content.doom(content.number, stream);
          }
          const now = new Uint8Array(content.sizeBytes);
          content.read(now, 0);
          expect(Buffer.compare(now, model)).toBe(0);
        }
        if (steps.some((s) => s.kind === 'failed sync')) return;
        content.commit(content.number);
        content.powerFail(stream);
        const after = new Uint8Array(content.sizeBytes);
        content.read(after, 0);
        expect(Buffer.compare(after, model)).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
