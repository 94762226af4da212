import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitmapFile, BitmapPoisonedError, DamagedBitmapError } from '../../../src/bitmap/bitmap-file.ts';
import type { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { RegionRangeError } from '../../../src/bitmap/regions.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const PATH = '/var/bitmap_tag';
const IDENTITY = { createId: '00112233445566ff', deviceBytes: 100_000 * 4096 + 1, regionBytes: 4096 };
const META = { ...IDENTITY, generation: 'a000000000000001' };

function bits(m: DirtyBitmap): number[] {
  const out: number[] = [];
  for (const run of m.runs()) for (let i = 0; i < run.length; i += 1) out.push(run.first + i);
  return out;
}

function state(f: BitmapFile): Record<string, number[]> {
  return Object.fromEntries(f.mapNames.map((n) => [n, bits(f.map(n))]));
}

async function failure(p: Promise<unknown>): Promise<unknown> {
  try {
    await p;
  } catch (e: unknown) {
    return e;
  }
  throw new Error('it did not fail');
}

async function reopened(files: MemoryFiles): Promise<BitmapFile> {
  return (await BitmapFile.open(files.afterCrash(), PATH, IDENTITY)).file;
}

describe('bitmap file', () => {
  it('gives back each map and the generation after a close', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('intent').setRange(5, 2000);
    f.map('oos:server2').setAll();
    f.map('oos:server2').clear(777);
    for (let i = 0; i < 90_000; i += 2) f.map('behind').set(i);
    f.map('checkpoint:empty');
    f.setGeneration('b000000000000002');
    const before = state(f);
    await f.close();
    expect(files.openFiles).toBe(0);
    const { file, torn, clean } = await BitmapFile.open(files, PATH, IDENTITY);
    expect([torn, clean]).toEqual([0, true]);
    expect(state(file)).toEqual(before);
    expect(file.meta).toEqual({ ...IDENTITY, version: 1, generation: 'b000000000000002' });
    const spent = files.spent;
    await file.close();
    expect(files.spent).toBe(spent);
  });

  it('has whatever was flushed when the process dies without a close, dropped maps and cleared marks included', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('intent').setRange(0, 9);
    f.map('oos:gone').set(1);
    f.map('oos:again').set(1);
    await f.flush();
    f.map('intent').clearRange(3, 4);
    expect(f.dropMap('oos:gone')).toBe(true);
    expect(f.dropMap('oos:gone')).toBe(false);
    f.dropMap('oos:again');
    f.map('oos:again').set(99_999);
    f.setGeneration('c000000000000003');
    await f.flush();
    f.map('intent').set(50_000);
    const { file, torn, clean } = await BitmapFile.open(files.afterCrash(), PATH, IDENTITY);
    expect([torn, clean]).toEqual([0, false]);
    expect(state(file)).toEqual({ intent: [0, 1, 2, 5, 6, 7, 8, 9], 'oos:again': [99_999] });
    expect(file.meta.generation).toBe('c000000000000003');
  });

  it('writes what changed and no more: a whole-device mark takes one sector', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, { ...META, deviceBytes: 2 ** 46, regionBytes: 262_144 });
    const before = files.spent;
    f.map('oos:server2').setAll();
    await f.flush();
    expect(files.spent - before).toBe(512 + 1);
    f.map('oos:server2').clearAll();
    await f.flush();
    expect(files.spent - before).toBe(2 * 513);
    await f.flush();
    expect(files.spent - before).toBe(2 * 513);
  });

  it('opens a device of 64 TiB with 100,000 scattered dirty regions in under a second', async () => {
    const files = new MemoryFiles();
    const big = { ...META, deviceBytes: 2 ** 46, regionBytes: 262_144 };
    const f = await BitmapFile.create(files, PATH, big);
    for (let i = 0; i < 100_000; i += 1) f.map('intent').set(i * 2683 + (i % 7));
    f.map('oos:server2').setAll();
    await f.close();
    // The processor's time: what else this machine does meanwhile is not counted.
    const start = process.cpuUsage();
    const { file } = await BitmapFile.open(files, PATH, big);
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(1);
    expect([file.map('intent').count, file.map('oos:server2').count]).toEqual([100_000, 2 ** 28]);
  });

  it('folds a long journal into a new file while it goes on', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    for (let i = 0; i < 2100; i += 1) {
      f.map('intent').set(i);
      if (i > 0) f.map('intent').clear(i - 1);
      await f.flush();
    }
    // With room for the next one.
    expect(files.peek(PATH).length).toBe((2 + 2048) * 512);
    expect(state(await reopened(files))).toEqual({ intent: [2099] });
  });

  it('goes on with the old file when there is no room to fold it, and says why', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    files.fault = (o, path) => (o === 'write' && path.endsWith('.tmp') ? { errno: Errno.ENOSPC } : undefined);
    for (let i = 0; i < 2100; i += 1) {
      f.map('intent').set(i);
      await f.flush();
    }
    expect(f.compactionError).toBeInstanceOf(IoError);
    expect(f.poisoned).toBe(false);
    expect(await files.list('/var')).toEqual(['bitmap_tag']);
    expect((await reopened(files)).map('intent').count).toBe(2100);
  });
});

describe('group commit', () => {
  it('shares one write and one fsync among callers, one running and one waiting', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    let letGo: () => void = () => undefined;
    files.beforeSync = () =>
      new Promise((resolve) => {
        letGo = resolve;
      });
    const { syncs, writes } = files;
    const done: string[] = [];
    const ask = (name: string, region: number): Promise<void> => {
      f.map('intent').set(region);
      return f.flush().then(() => {
        done.push(name);
      });
    };
    const first = [ask('a', 1), ask('b', 2)];
    const turns = async (): Promise<void> => {
      for (let i = 0; i < 50; i += 1) await Promise.resolve();
    };
    await turns();
    const nothingNew = f.flush().then(() => done.push('nothing new'));
    const second = [ask('c', 3), ask('d', 4), ask('e', 5)];
    await turns();
    expect(done).toEqual([]);
    expect(files.writes).toBe(writes + 1);
    letGo();
    await Promise.all([...first, nothingNew]);
    expect(bits((await reopened(files)).map('intent')).slice(0, 2)).toEqual([1, 2]);
    await turns();
    expect(done.sort()).toEqual(['a', 'b', 'nothing new']);
    letGo();
    await Promise.all(second);
    expect([files.writes, files.syncs]).toEqual([writes + 2, syncs + 2]);
  });

  it('tells observers of each write when its content is fixed, and how it ended', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    const seen: string[] = [];
    let token = 0;
    f.observe({
      flushStarting: () => {
        token += 1;
        seen.push(`starting ${String(token)} with ${String(f.map('intent').count)}`);
        return token;
      },
      flushDone: (t) => seen.push(`done ${String(t)}`),
      flushFailed: (t) => seen.push(`failed ${String(t)}`),
    });
    f.map('intent').set(1);
    await f.flush();
    await f.flush();
    f.map('intent').set(2);
    files.fault = (o) => (o === 'sync' ? { errno: Errno.EIO } : undefined);
    await failure(f.flush());
    await failure(f.flush());
    files.fault = () => undefined;
    await f.rewrite();
    expect(seen).toEqual(['starting 1 with 1', 'done 1', 'starting 2 with 2', 'failed 2', 'starting 3 with 2', 'done 3']);
  });
});

describe('a failing disk', () => {
  it.each([
    ['write', Errno.ENOSPC],
    ['write', Errno.EIO],
    ['sync', Errno.EIO],
  ] as const)('fails every caller of a flush whose %s fails (errno %i), and every later one until a rewrite', async (operation, errno) => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('intent').set(1);
    await f.flush();
    files.fault = (o) => (o === operation ? { errno } : undefined);
    f.map('intent').set(2);
    const all = await Promise.all([failure(f.flush()), failure(f.flush())]);
    for (const e of all) expect(e instanceof IoError ? e.errno : e).toBe(errno);
    expect(f.poisoned).toBe(true);
    expect(await failure(f.rewrite())).toBeInstanceOf(IoError);
    files.fault = () => undefined;
    f.map('intent').set(3);
    const later = await failure(f.flush());
    expect(later).toBeInstanceOf(BitmapPoisonedError);
    expect(bits((await reopened(files)).map('intent'))).toContain(1);
    await f.rewrite();
    expect(f.poisoned).toBe(false);
    f.map('intent').set(4);
    await f.flush();
    expect(bits((await reopened(files)).map('intent'))).toEqual([1, 2, 3, 4]);
  });

  it('fails callers that wait behind the flush that fails', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    files.fault = (o) => (o === 'sync' ? { errno: Errno.EIO } : undefined);
    f.map('intent').set(1);
    const first = failure(f.flush());
    await Promise.resolve();
    await Promise.resolve();
    f.map('intent').set(2);
    expect(await failure(f.flush())).toBeInstanceOf(BitmapPoisonedError);
    expect(await first).toBeInstanceOf(IoError);
  });

  it('writes on after short writes, and fails when nothing more is taken', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    files.fault = (o) => (o === 'write' ? { atMostBytes: 100 } : undefined);
    f.map('intent').set(1);
    await f.flush();
    expect(bits((await reopened(files)).map('intent'))).toEqual([1]);
    let left = 2;
    files.fault = (o) => {
      if (o !== 'write') return undefined;
      left -= 1;
      return { atMostBytes: left > 0 ? 100 : 0 };
    };
    f.map('intent').set(2);
    expect(await failure(f.flush())).toBeInstanceOf(IoError);
    expect(bits((await reopened(files)).map('intent'))).toEqual([1]);
  });

  it.each(['open', 'truncate', 'write', 'sync', 'rename', 'syncDirectory'] as const)(
    'says when a rewrite fails at %s, and keeps what was acknowledged',
    async (operation) => {
      const files = new MemoryFiles();
      const f = await BitmapFile.create(files, PATH, META);
      f.map('intent').set(1);
      await f.flush();
      f.map('intent').set(2);
      files.fault = (o) => (o === operation ? { errno: Errno.EIO } : undefined);
      expect(await failure(f.rewrite())).toBeInstanceOf(IoError);
      expect(f.poisoned).toBe(true);
      const { file } = await BitmapFile.open(
        files.afterPowerLoss(() => false),
        PATH,
        IDENTITY,
      );
      expect(bits(file.map('intent'))).toContain(1);
      expect(await failure(f.close())).toBeInstanceOf(IoError);
      expect(files.openFiles).toBe(0);
      expect(await failure(f.flush())).toBeInstanceOf(IoError);
    },
  );

  it('does not open a file that it can not make anew, and leaves it as it was', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('intent').set(1);
    await f.flush();
    const crashed = files.afterCrash();
    crashed.fault = (o) => (o === 'write' ? { errno: Errno.ENOSPC } : undefined);
    const e = await failure(BitmapFile.open(crashed, PATH, IDENTITY));
    expect(e instanceof IoError ? e.errno : e).toBe(Errno.ENOSPC);
    expect(crashed.openFiles).toBe(0);
    crashed.fault = () => undefined;
    expect(bits((await BitmapFile.open(crashed, PATH, IDENTITY)).file.map('intent'))).toEqual([1]);
  });
});

describe('refusals', () => {
  it('does not make a file over another one unless told to', async () => {
    const files = new MemoryFiles();
    await BitmapFile.create(files, PATH, META);
    const e = await failure(BitmapFile.create(files, PATH, META));
    expect(e instanceof IoError ? e.errno : e).toBe(Errno.EEXIST);
    files.fault = (o) => (o === 'rename' ? { errno: Errno.EIO } : undefined);
    const failed = await failure(BitmapFile.create(files, PATH, META, { replace: true }));
    expect(failed instanceof IoError ? failed.errno : failed).toBe(Errno.EIO);
    files.fault = () => undefined;
    const f = await BitmapFile.create(files, PATH, META, { replace: true });
    expect(f.mapNames).toEqual([]);
  });

  it('does not take an absent, unreadable, or foreign file for a bitmap', async () => {
    const files = new MemoryFiles();
    const reason = async (identity = IDENTITY): Promise<unknown> => {
      const e = await failure(BitmapFile.open(files, PATH, identity));
      return e instanceof DamagedBitmapError ? e.reason : e;
    };
    expect(await reason()).toBe('missing');
    files.put(PATH, new Uint8Array(0));
    expect(await reason()).toBe('truncated');
    files.put(PATH, new Uint8Array(100));
    expect(await reason()).toBe('truncated');
    files.put(PATH, Buffer.alloc(4096, 'some other file '));
    expect(await reason()).toBe('not-a-bitmap-file');
    await BitmapFile.create(files, PATH, META, { replace: true });
    expect(await reason({ ...IDENTITY, createId: '0000000000000001' })).toBe('mismatch');
    expect(await reason({ ...IDENTITY, deviceBytes: 4096 })).toBe('mismatch');
    expect(await reason({ ...IDENTITY, regionBytes: 8192 })).toBe('mismatch');
    files.fault = (o) => (o === 'read' ? { errno: Errno.EIO } : undefined);
    expect(await reason()).toBe('unreadable');
    files.fault = (o) => (o === 'open' ? { errno: Errno.EACCES } : undefined);
    expect(await reason()).toBeInstanceOf(IoError);
    expect(files.openFiles).toBe(1);
  });

  it('refuses impossible ids, sizes and names', async () => {
    const files = new MemoryFiles();
    expect(await failure(BitmapFile.create(files, PATH, { ...META, createId: 'x' }))).toBeInstanceOf(RegionRangeError);
    expect(await failure(BitmapFile.create(files, PATH, { ...META, deviceBytes: 0 }))).toBeInstanceOf(RegionRangeError);
    expect(await failure(BitmapFile.create(files, PATH, { ...META, generation: '' }))).toBeInstanceOf(RangeError);
    const f = await BitmapFile.create(files, PATH, META);
    expect(() => {
      f.setGeneration('B000000000000002');
    }).toThrow(RangeError);
    expect(() => f.map('')).toThrow(RangeError);
    expect(() => f.map('x'.repeat(129))).toThrow(RangeError);
    for (let i = 0; i < 64; i += 1) f.map(`oos:${String(i)}`);
    expect(() => f.map('one too many')).toThrow(RangeError);
    await f.close();
    expect(await failure(f.close())).toBeInstanceOf(IoError);
    expect(await failure(f.rewrite())).toBeInstanceOf(IoError);
  });
});

describe('bitmap file against a model', () => {
  it('answers any number of operations as a plain model does', async () => {
    const op = fc.record({
      kind: fc.constantFrom('set', 'clear', 'drop', 'flush', 'reopen', 'close'),
      map: fc.constantFrom('a', 'b', 'c'),
      first: fc.nat(99_999),
      more: fc.nat(3000),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(op, { maxLength: 25 }), async (ops) => {
        const files = new MemoryFiles();
        let f = await BitmapFile.create(files, PATH, META);
        const model = new Map<string, Uint8Array>();
        const modelState = (): Record<string, number[]> =>
          Object.fromEntries([...model.keys()].sort().map((n) => [n, [...(model.get(n) ?? [])].flatMap((b, i) => (b === 1 ? [i] : []))]));
        for (const { kind, map, first, more } of ops) {
          const last = Math.min(first + more, 100_000);
          if (kind === 'flush') await f.flush();
          else if (kind === 'drop') expect(f.dropMap(map)).toBe(model.delete(map));
          else if (kind === 'set' || kind === 'clear') {
            const bitsOfMap = model.get(map) ?? new Uint8Array(100_001);
            model.set(map, bitsOfMap.fill(kind === 'set' ? 1 : 0, first, last + 1));
            if (kind === 'set') f.map(map).setRange(first, last);
            else f.map(map).clearRange(first, last);
          } else {
            if (kind === 'close') await f.close();
            else await f.flush();
            const opened = await BitmapFile.open(files, PATH, IDENTITY);
            expect(opened.torn).toBe(0);
            f = opened.file;
            expect(state(f)).toEqual(modelState());
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});
