import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../src/bitmap/bitmap-file.ts';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionMap } from '../../../src/bitmap/regions.ts';
import { nullLog } from '../../../src/io/log.ts';
import { Errno } from '../../../src/io/types.ts';
import type { IntentSettings } from '../../../src/mirror/intent-limits.ts';
import { Marks, type TellingSharer } from '../../../src/mirror/marks.ts';
import { settle } from '../../support/manual-clock.ts';
import { MemoryFiles } from '../../support/memory-files.ts';
import { BITMAP, durableMap, IDENTITY, REGION } from './rig.ts';

const DEVICE_BYTES = 16 * REGION;

interface Made {
  files: MemoryFiles;
  marks: Marks;
  onDisk: (map: string) => Promise<number[]>;
}

async function make(regions = 16, limits: IntentSettings = { keepMax: 2, markedMax: 8 }): Promise<Made> {
  const deviceBytes = regions * REGION;
  const files = new MemoryFiles();
  const file = await BitmapFile.create(files, BITMAP, { ...IDENTITY, deviceBytes, generation: '00000000000000aa' });
  const marks = new Marks({ file, regions: new RegionMap({ deviceBytes, regionBytes: REGION }), limits, log: nullLog });
  return {
    files,
    marks,
    onDisk: (map) =>
      durableMap(
        files.afterPowerLoss(() => false),
        deviceBytes,
        map,
      ),
  };
}

/** Gates for the syncs of a file. */
function gates(files: MemoryFiles): (() => void)[] {
  const out: (() => void)[] = [];
  files.beforeSync = () => new Promise((resolve) => out.push(resolve));
  return out;
}

describe('marks', () => {
  it('of intent are on disk when the waiter is called', async () => {
    const { marks, onDisk } = await make();
    expect(marks.begin(3, 5)).toBe(true);
    expect(await marks.durable()).toBe(true);
    expect(await onDisk('intent')).toEqual([3, 4, 5]);
    expect(marks.begin(4, 4)).toBe(false);
  });

  it.each<[string, (m: Marks) => void]>([
    [
      'of another node',
      (m) => {
        const others = new DirtyBitmap(16);
        others.setRange(1, 1);
        m.addOutOfSync('b', others);
      },
    ],
    [
      'of all regions',
      (m) => {
        m.markAllOutOfSync('b');
      },
    ],
  ])('%s hold back a write to a region that they mark, until they are on disk (M2)', async (_, mark) => {
    const { files, marks, onDisk } = await make();
    marks.begin(1, 1);
    await marks.durable();
    mark(marks);
    marks.markOutOfSync('b', 1, 1);
    expect(marks.begin(1, 1)).toBe(true);
    files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    expect(await marks.durable()).toBe(false);
    marks.markOutOfSync('b', 1, 1);
    expect(marks.begin(1, 1)).toBe(true);
    files.fault = () => undefined;
    expect(await marks.durable()).toBe(true);
    expect(await onDisk('oos:b')).toContain(1);
    expect(marks.begin(1, 1)).toBe(false);
  });

  it('for an absent target hold back a write whose own region is durable already', async () => {
    const { files, marks, onDisk } = await make();
    marks.begin(1, 1);
    await marks.durable();
    marks.markOutOfSync('b', 1, 1);
    expect(marks.begin(1, 1)).toBe(true);
    const g = gates(files);
    const first = marks.durable();
    await settle();
    // In the flush under way: not durable yet, so nobody may pass.
    expect(marks.begin(1, 1)).toBe(true);
    g[0]?.();
    await first;
    expect(await onDisk('oos:b')).toEqual([1]);
    expect(marks.begin(1, 1)).toBe(false);
  });

  it('that a failed flush was to write are not taken as durable, and the next flush writes them', async () => {
    const { files, marks, onDisk } = await make();
    files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    marks.begin(0, 0);
    marks.markOutOfSync('b', 2, 2);
    expect(await marks.durable()).toBe(false);
    expect(marks.begin(0, 0)).toBe(true);
    files.fault = () => undefined;
    expect(await marks.durable()).toBe(true);
    expect([await onDisk('intent'), await onDisk('oos:b')]).toEqual([[0], [2]]);
  });

  it('of a target that leaves are everything under intent', async () => {
    const { marks, onDisk } = await make();
    marks.begin(1, 2);
    marks.begin(9, 9);
    marks.intent.end(1, 2);
    marks.keepForAbsent('b');
    await marks.durable();
    expect(await onDisk('oos:b')).toEqual([1, 2, 9]);
  });

  it('that are proven go, the hot set stays, and the file follows with the next flush (M5)', async () => {
    const { marks, onDisk } = await make();
    for (const r of [0, 1, 2, 3]) {
      marks.begin(r, r);
      marks.intent.end(r, r);
    }
    await marks.durable();
    expect(marks.collect(true)).toBe(0);
    marks.intent.proven(marks.intent.seal());
    expect(marks.collect(true)).toBe(2);
    expect(marks.collect(false)).toBe(2);
    await marks.durable();
    expect(await onDisk('intent')).toEqual([]);
  });

  it('that are many go some at a time, and requests have their turn in between', async () => {
    const { marks, onDisk } = await make(10_000, { keepMax: 1000, markedMax: 10_000 });
    for (let r = 0; r < 10_000; r += 1) {
      marks.begin(r, r);
      marks.intent.end(r, r);
    }
    await marks.durable();
    marks.intent.proven(marks.intent.seal());
    const left: number[] = [];
    // What is written meanwhile is not proven by what was.
    const turn = (): Promise<boolean> => {
      left.push(marks.intent.writtenRegions);
      marks.begin(9999, 9999);
      marks.intent.end(9999, 9999);
      return Promise.resolve(true);
    };
    await marks.makeRoom(turn);
    expect([left, marks.intent.writtenRegions]).toEqual([[5904, 1808], 1000]);
    expect(await marks.collectInTurns(true, turn)).toBe(0);
    expect(await marks.collectInTurns(false, turn)).toBe(999);
    await marks.durable();
    expect(await onDisk('intent')).toEqual([9999]);
  });

  it('counts bytes of a map, the last region being as long as the device', async () => {
    const { marks } = await make();
    marks.markAllOutOfSync('b');
    expect(marks.bytes(marks.outOfSync('b'))).toBe(DEVICE_BYTES);
    expect(marks.bytes(marks.outOfSync('c'))).toBe(0);
  });

  it('set while a flush runs are durable only with the next one, also when that flush was begun by a waiter of a failed one (M1)', async () => {
    const { files, marks } = await make();
    const g = gates(files);
    files.fault = (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined);
    const heard: string[] = [];
    marks.begin(0, 0);
    marks.whenDurable(
      {
        onDurable(_tag, ok) {
          heard.push(`first ${String(ok)}`);
          files.fault = () => undefined;
          // As when the failed write gives its lock to one that waited for it.
          marks.begin(1, 1);
          marks.whenDurable({ onDurable: (_t, fine) => heard.push(`nested ${String(fine)}`) }, 0);
        },
      },
      0,
    );
    await settle();
    g.shift()?.();
    await settle();
    expect(heard).toEqual(['first false']);
    // The nested flush is under way, its content is fixed.
    expect(g).toHaveLength(1);
    marks.begin(2, 2);
    marks.whenDurable({ onDurable: (_t, fine) => heard.push(`later ${String(fine)}`) }, 0);
    const nested = g.shift();
    nested?.();
    for (let i = 0; i < 5 && heard.length < 2; i += 1) {
      await settle();
      if (heard.length < 2) g.shift()?.();
    }
    expect(heard).toEqual(['first false', 'nested true']);
    for (let i = 0; i < 5 && heard.length < 3; i += 1) {
      await settle();
      g.shift()?.();
      await settle();
    }
    expect(heard).toEqual(['first false', 'nested true', 'later true']);
  });

  it('can not be written once closed, and says so', async () => {
    const { marks } = await make();
    marks.begin(0, 0);
    marks.close();
    expect(await marks.durable()).toBe(false);
  });
});

describe('marks of a checkpoint', () => {
  it('hold no write back, and are durable no later than its intent mark is gone', async () => {
    const { marks, onDisk } = await make();
    marks.addCheckpoint('monday');
    await marks.durable();
    expect(marks.begin(3, 3)).toBe(true);
    await marks.durable();
    marks.intent.end(3, 3);
    marks.addCheckpoint('tuesday');
    // The region is under intent on disk: the mark for the newer one follows when it can.
    expect(marks.begin(3, 3)).toBe(false);
    marks.intent.end(3, 3);
    expect(await onDisk('checkpoint:monday')).toEqual([3]);
    marks.intent.proven(marks.intent.seal());
    marks.collect(false);
    expect(await onDisk('intent')).toEqual([3]);
    await marks.durable();
    expect(await onDisk('intent')).toEqual([]);
    expect(await onDisk('checkpoint:monday')).toEqual([3]);
    expect(await onDisk('checkpoint:tuesday')).toEqual([3]);
  });

  it('are set in one that is made later, too, for a region that all before it had', async () => {
    const { marks } = await make();
    for (const name of ['monday', 'tuesday']) {
      marks.addCheckpoint(name);
      marks.begin(9, 9);
      marks.intent.end(9, 9);
      marks.intent.proven(marks.intent.seal());
      expect(marks.checkpoint(name)?.get(9)).toBe(true);
    }
  });

  it('are kept from now on for each map that the file has, and for none that was dropped', async () => {
    const { files, marks } = await make();
    marks.addCheckpoint('monday');
    marks.addCheckpoint('tuesday');
    marks.dropCheckpoint('tuesday');
    await marks.durable();
    const { file } = await BitmapFile.open(files, BITMAP, { ...IDENTITY, deviceBytes: DEVICE_BYTES });
    const next = new Marks({
      file,
      regions: new RegionMap({ deviceBytes: DEVICE_BYTES, regionBytes: REGION }),
      limits: { keepMax: 2, markedMax: 8 },
      log: nullLog,
    });
    next.begin(5, 6);
    expect([...(next.checkpoint('monday')?.runs() ?? [])]).toEqual([{ first: 5, length: 2 }]);
    expect(next.checkpoint('tuesday')).toBeUndefined();
    expect(file.mapNames).toEqual(['checkpoint:monday', 'intent']);
  });
});

/** Writes without being told: regions that it has written, and one that it is writing. */
class Other implements TellingSharer {
  written: number[] = [];
  writing: number | undefined;
  readonly allowed = new Set<number>();

  allow(region: number): void {
    this.allowed.add(region);
  }

  letGo(region: number): boolean {
    if (this.written.includes(region) || this.writing === region) return false;
    this.allowed.delete(region);
    return true;
  }

  take(told: (first: number, last: number) => void): void {
    const { written, writing } = this;
    this.written = [];
    for (const r of written) told(r, r);
    if (writing !== undefined) told(writing, writing);
  }
}

describe('marks of regions that others write, and tell of afterwards', () => {
  /** Regions 1 to 4 are durable, proven, and may be written by others. */
  async function shared(): Promise<Awaited<ReturnType<typeof make>> & { other: Other; told: number[] }> {
    const m = await make();
    const other = new Other();
    const told: number[] = [];
    m.marks.share(other, (first, last) => {
      told.push(first, last);
      m.marks.begin(first, last);
      m.marks.intent.end(first, last);
    });
    m.marks.begin(1, 4);
    await m.marks.durable();
    m.marks.intent.end(1, 4);
    m.marks.intent.proven(m.marks.seal());
    expect([...other.allowed]).toEqual([1, 2, 3, 4]);
    return { ...m, other, told };
  }

  it('are heard of before a number is closed, so that its proof covers what was written, and not what still is', async () => {
    const { marks, other, told } = await shared();
    other.written = [2];
    other.writing = 3;
    const seal = marks.seal();
    expect(told).toEqual([2, 2, 3, 3]);
    other.writing = undefined;
    other.written = [3];
    marks.intent.proven(seal);
    expect(marks.hasUnproven).toBe(true);
    expect([...marks.intent.unproven().runs()]).toEqual([{ first: 3, length: 1 }]);
    marks.intent.proven(marks.seal());
    expect(marks.hasUnproven).toBe(false);
  });

  it('are heard of before anybody is told whether something is unproven', async () => {
    const { marks, other, told } = await shared();
    expect(marks.hasUnproven).toBe(false);
    other.written = [4];
    expect(marks.intent.hasUnproven).toBe(false);
    expect(marks.hasUnproven).toBe(true);
    expect(told).toEqual([4, 4]);
    marks.intent.proven(marks.seal());
    other.writing = 1;
    expect(marks.hasUnproven).toBe(true);
  });

  it('are heard of before marks go: those that were written, or are, stay, and on disk (M1, M5)', async () => {
    const { marks, other, told, onDisk } = await shared();
    other.written = [2];
    other.writing = 3;
    expect(marks.collect(false)).toBe(2);
    // Not only kept since the other asks for it: whatever is told is told first.
    expect(told).toEqual([2, 2, 3, 3]);
    await marks.durable();
    expect(await onDisk('intent')).toEqual([2, 3]);
    expect([...other.allowed]).toEqual([2, 3]);
    other.writing = undefined;
    marks.intent.proven(marks.seal());
    expect(marks.collect(false)).toBe(2);
    await marks.durable();
    expect(await onDisk('intent')).toEqual([]);
    expect([...other.allowed]).toEqual([]);
  });

  it('that were heard of last are the hot set', async () => {
    const { marks, other } = await shared();
    other.written = [1];
    marks.hear();
    other.written = [2];
    marks.intent.proven(marks.seal());
    expect(marks.collect(true)).toBe(2);
    expect([...other.allowed]).toEqual([1, 2]);
  });

  it('count as written since a checkpoint that begins, when they were written or are', async () => {
    const { marks, other, onDisk } = await shared();
    other.written = [2];
    other.writing = 4;
    marks.addCheckpoint('monday');
    expect([...(marks.checkpoint('monday')?.runs() ?? [])]).toEqual([
      { first: 2, length: 1 },
      { first: 4, length: 1 },
    ]);
    await marks.durable();
    expect(await onDisk('checkpoint:monday')).toEqual([2, 4]);
  });

  it('are marked in the checkpoints that there are when they are heard of', async () => {
    const { marks, other } = await shared();
    expect(marks.hasCheckpoints).toBe(false);
    marks.addCheckpoint('monday');
    expect(marks.hasCheckpoints).toBe(true);
    other.written = [3];
    expect(marks.checkpoint('monday')?.get(3)).toBe(false);
    marks.hear();
    expect(marks.checkpoint('monday')?.get(3)).toBe(true);
    marks.dropCheckpoint('monday');
    expect(marks.hasCheckpoints).toBe(false);
  });

  it('are told once, and there is nothing to hear while nobody shares', async () => {
    const { marks, other, told } = await shared();
    other.written = [2];
    marks.hear();
    marks.hear();
    expect(told).toEqual([2, 2]);
    const alone = await make();
    alone.marks.hear();
    expect([alone.marks.hasUnproven, alone.marks.collect(false), alone.marks.seal()]).toEqual([false, 0, 1]);
  });
});
