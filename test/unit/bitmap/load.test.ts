import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitmapFile, DamagedBitmapError } from '../../../src/bitmap/bitmap-file.ts';
import { MemoryFiles, ProcessDied } from '../../support/memory-files.ts';

const PATH = '/var/bitmap_tag';
const IDENTITY = { createId: '00112233445566ff', deviceBytes: 60_000 * 4096, regionBytes: 4096 };
const META = { ...IDENTITY, generation: 'a000000000000001' };
const SECTOR = 512;

type State = Map<string, Set<number>>;

interface Change {
  map: string;
  kind: 'set' | 'clear' | 'scatter' | 'drop';
  first: number;
  length: number;
}

function change(f: BitmapFile, model: State, c: Change): void {
  if (c.kind === 'drop') {
    f.dropMap(c.map);
    model.delete(c.map);
    return;
  }
  const bits = model.get(c.map) ?? new Set<number>();
  model.set(c.map, bits);
  const map = f.map(c.map);
  // Scattered regions lie in windows of their own, so that a flush takes several sectors.
  const step = c.kind === 'scatter' ? 577 : 1;
  for (let i = 0; i < c.length; i += 1) {
    const region = (c.first + i * step) % 60_000;
    if (c.kind === 'clear') {
      map.clear(region);
      bits.delete(region);
    } else {
      map.set(region);
      bits.add(region);
    }
  }
}

function copyOf(s: State): State {
  return new Map([...s].map(([name, bits]) => [name, new Set(bits)]));
}

function bitsOf(f: BitmapFile, name: string): Set<number> {
  const out = new Set<number>();
  for (const run of f.map(name).runs()) for (let i = 0; i < run.length; i += 1) out.add(run.first + i);
  return out;
}

interface History {
  /** What a flush that resolved had covered. */
  acknowledged: State;
  /** What the flush under way when the process died would have made. */
  attempted: State;
  died: boolean;
  created: boolean;
}

function newHistory(): History {
  return { acknowledged: new Map(), attempted: new Map(), died: false, created: false };
}

/** Each step's changes are flushed; every third step the file is made anew, unless it is `busy`, and at the end it is closed. */
async function live(files: MemoryFiles, steps: Change[][], h: History, busy = false): Promise<History> {
  try {
    const f = await BitmapFile.create(files, PATH, META);
    h.created = true;
    for (const [i, step] of steps.entries()) {
      for (const c of step) change(f, h.attempted, c);
      if (i % 3 === 2 && !busy) await f.rewrite();
      else await f.flush();
      h.acknowledged = copyOf(h.attempted);
    }
    await f.close();
  } catch (e: unknown) {
    if (!(e instanceof ProcessDied)) throw e;
    h.died = true;
  }
  return h;
}

/** No acknowledged mark is missing, unless the flush that cleared it is there whole; no mark is there that was never set. */
async function checkSurvivor(files: MemoryFiles, h: History): Promise<number> {
  const { file, torn } = await BitmapFile.open(files, PATH, IDENTITY);
  const names = new Set([...file.mapNames, ...h.acknowledged.keys(), ...h.attempted.keys()]);
  let whole = true;
  let nothingLost = true;
  for (const name of names) {
    const got = bitsOf(file, name);
    const acknowledged = h.acknowledged.get(name) ?? new Set<number>();
    const attempted = h.attempted.get(name) ?? new Set<number>();
    for (const r of got) if (!acknowledged.has(r) && !attempted.has(r)) throw new Error(`region ${String(r)} of ${name} was never marked`);
    whole &&= got.size === attempted.size && [...attempted].every((r) => got.has(r));
    nothingLost &&= [...acknowledged].every((r) => got.has(r));
  }
  if (torn > 0 ? !nothingLost : !nothingLost && !whole) throw new Error(`an acknowledged mark is lost (torn: ${String(torn)})`);
  return torn;
}

const SCRIPT: Change[][] = [
  [{ map: 'oos:server2', kind: 'set', first: 0, length: 20 }],
  [
    { map: 'intent', kind: 'scatter', first: 3, length: 100 },
    { map: 'behind', kind: 'set', first: 5, length: 2 },
  ],
  [{ map: 'oos:server2', kind: 'set', first: 515, length: 3 }],
  [
    { map: 'oos:server2', kind: 'clear', first: 5, length: 5 },
    { map: 'oos:server2', kind: 'scatter', first: 100, length: 90 },
    { map: 'behind', kind: 'drop', first: 0, length: 0 },
  ],
];

function randomBits(seed: number): () => boolean {
  let x = seed + 1;
  return () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return (x & 0x10000) !== 0;
  };
}

describe('a bitmap file after a crash', () => {
  it('misses no acknowledged mark, whichever byte was the last one written', { timeout: 120_000 }, async () => {
    const files = new MemoryFiles();
    const h = newHistory();
    const writes: { before: MemoryFiles; path: string; bytes: Uint8Array; position: number; then: History }[] = [];
    files.beforeWrite = (path, from, position) => {
      const then = { ...h, acknowledged: h.acknowledged, attempted: copyOf(h.attempted) };
      // Before create has resolved nothing was promised, not even the file.
      if (h.created) writes.push({ before: files.copy(), path, bytes: Uint8Array.from(from), position, then });
    };
    await live(files, SCRIPT, h);
    expect(h.died).toBe(false);
    let torn = 0;
    for (const { before, path, bytes, position, then } of writes) {
      for (let length = 0; length < bytes.length; length += 1) {
        const crashed = before.copy();
        const file = await crashed.open(path, { write: true });
        if (length > 0) await file.write(bytes.subarray(0, length), position);
        torn += await checkSurvivor(crashed.afterCrash(), then);
        if (length % 5 === 0) torn += await checkSurvivor(crashed.afterPowerLoss(randomBits(length)), then);
      }
    }
    expect(torn).toBeGreaterThan(100);
  });

  it('misses no acknowledged mark, whichever step was the last one taken', async () => {
    const whole = new MemoryFiles();
    // A write costs what it has bytes; the steps between are those that cost one.
    const ends = new Set<number>();
    whole.beforeWrite = (_path, from) => {
      for (const end of [whole.spent, whole.spent + from.length]) for (let i = 0; i < 6; i += 1) ends.add(end + i);
    };
    await live(whole, SCRIPT, newHistory());
    for (const budget of ends) {
      if (budget >= whole.spent) continue;
      const files = new MemoryFiles();
      files.budget = budget;
      const h = await live(files, SCRIPT, newHistory());
      expect(h.died).toBe(true);
      if (!h.created) continue;
      await checkSurvivor(files.afterCrash(), h);
      for (let seed = 0; seed < 4; seed += 1) await checkSurvivor(files.afterPowerLoss(randomBits(budget * 4 + seed)), h);
    }
  });

  it('misses no acknowledged mark, wherever the journal was while it was made longer ahead of need', { timeout: 120_000 }, async () => {
    const kinds = ['scatter', 'set', 'clear'] as const;
    const steps = Array.from({ length: 75 }, (_x, i): Change[] => [
      { map: 'intent', kind: kinds[i % 3] ?? 'set', first: i * 31, length: 100 },
      { map: 'oos:server2', kind: 'scatter', first: i * 77, length: i % 2 === 0 ? 40 : 1 },
    ]);
    const whole = new MemoryFiles();
    const budgets: number[] = [];
    whole.beforeWrite = (_path, from) => {
      if (from.length < 100_000) return;
      const end = whole.spent + from.length;
      for (let at = whole.spent; at < end; at += at < whole.spent + 3000 ? 73 : 16_384) budgets.push(at);
      for (let i = 0; i < 2000; i += i < 6 ? 1 : 217) budgets.push(end + i);
    };
    await live(whole, steps, newHistory(), true);
    expect(budgets.length).toBeGreaterThan(50);
    let torn = 0;
    for (const budget of budgets) {
      const files = new MemoryFiles();
      files.budget = budget;
      const h = await live(files, steps, newHistory(), true);
      expect(h.died).toBe(true);
      torn += await checkSurvivor(files.afterCrash(), h);
      for (let seed = 0; seed < 4; seed += 1) torn += await checkSurvivor(files.afterPowerLoss(randomBits(budget * 4 + seed)), h);
    }
    expect(torn).toBeGreaterThan(10);
  });

  it('misses no acknowledged mark, whichever sectors of the last flush power failure leaves', async () => {
    const changes = fc.array(
      fc.record({
        map: fc.constantFrom('intent', 'oos:server2', 'oos:server3'),
        kind: fc.constantFrom('set', 'clear', 'scatter', 'scatter', 'drop'),
        first: fc.nat(59_999),
        length: fc.integer({ min: 1, max: 150 }),
      }),
      { minLength: 1, maxLength: 4 },
    );
    let torn = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(changes, { minLength: 1, maxLength: 7 }), fc.integer({ min: 1, max: 9999 }), fc.nat(), async (steps, at, seed) => {
        const files = new MemoryFiles();
        await live(files, steps, newHistory());
        const crashing = new MemoryFiles();
        crashing.budget = Math.floor((at / 10_000) * files.spent);
        const h = await live(crashing, steps, newHistory());
        if (h.created) torn += await checkSurvivor(crashing.afterPowerLoss(randomBits(seed)), h);
      }),
      { numRuns: 150 },
    );
    expect(torn).toBeGreaterThan(0);
  });

  it('takes from a torn flush what it added, and not what it cleared', async () => {
    const files = new MemoryFiles();
    const f = await BitmapFile.create(files, PATH, META);
    f.map('intent').setRange(0, 9);
    await f.flush();
    const before = files.peek(PATH).length;
    f.map('intent').clearRange(0, 4);
    f.setGeneration('b000000000000002');
    for (let i = 0; i < 200; i += 1) f.map('oos:server2').set(i * 290);
    await f.flush();
    const bytes = files.peek(PATH);
    expect(bytes.length - before).toBeGreaterThan(2 * SECTOR);
    bytes.fill(0, before + SECTOR, before + 2 * SECTOR);
    const { file, torn } = await BitmapFile.open(files, PATH, IDENTITY);
    expect(torn).toBe(1);
    expect(bitsOf(file, 'intent').size).toBe(10);
    expect(file.meta.generation).toBe(META.generation);
    expect(file.map('oos:server2').count).toBeGreaterThan(10);
    expect(file.map('oos:server2').count).toBeLessThan(200);
  });
});

/** A file whose journal has three flushes of several sectors each; where each began. */
async function journalFile(): Promise<{ files: MemoryFiles; starts: number[]; bytes: Uint8Array }> {
  const files = new MemoryFiles();
  const f = await BitmapFile.create(files, PATH, META);
  f.map('intent').setRange(0, 99);
  await f.rewrite();
  const starts: number[] = [];
  for (let k = 0; k < 3; k += 1) {
    starts.push(files.peek(PATH).length);
    for (let i = 0; i < 100; i += 1) f.map('intent').set(i * 577 + k);
    await f.flush();
  }
  return { files, starts, bytes: files.peek(PATH).slice() };
}

async function closedFile(): Promise<Uint8Array> {
  const files = new MemoryFiles();
  const f = await BitmapFile.create(files, PATH, META);
  f.map('intent').setRange(1000, 1100);
  for (let i = 0; i < 590; i += 1) f.map('oos:server2').set(i * 101);
  f.map('oos:server3').setAll();
  for (let i = 0; i < 500; i += 2) f.map('behind').set(i);
  await f.close();
  return files.peek(PATH).slice();
}

/** What opening makes of these bytes: the reason of damage, or how many sectors are torn. */
async function verdict(bytes: Uint8Array): Promise<string | number> {
  const files = new MemoryFiles();
  files.put(PATH, bytes);
  try {
    return (await BitmapFile.open(files, PATH, IDENTITY)).torn;
  } catch (e: unknown) {
    if (e instanceof DamagedBitmapError) return e.reason;
    throw e;
  }
}

function isDamage(v: string | number): boolean {
  return typeof v === 'string';
}

describe('damage', () => {
  it('shows wherever 16 bytes of a closed file were flipped or zeroed', { timeout: 120_000 }, async () => {
    const bytes = await closedFile();
    expect(await verdict(bytes)).toBe(0);
    expect(bytes.length).toBeGreaterThan(4 * SECTOR);
    for (let at = 0; at <= bytes.length - 16; at += 1) {
      const flipped = bytes.map((b, i) => (i >= at && i < at + 16 ? b ^ 0xff : b));
      expect([at, isDamage(await verdict(flipped))]).toEqual([at, true]);
      if (!bytes.subarray(at, at + 16).some((b) => b !== 0)) continue;
      const zeroed = bytes.slice();
      zeroed.fill(0, at, at + 16);
      expect([at, isDamage(await verdict(zeroed))]).toEqual([at, true]);
    }
  });

  it('shows whatever the bytes are that took the place of others in a closed file', async () => {
    const bytes = await closedFile();
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.uint8Array({ minLength: 1, maxLength: 64 }), async (at, patch) => {
        const patched = bytes.slice();
        patched.set(patch.subarray(0, bytes.length - at), at);
        fc.pre(patched.some((b, i) => b !== bytes[i]));
        expect(isDamage(await verdict(patched))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('shows when a closed file was cut short anywhere', { timeout: 120_000 }, async () => {
    const bytes = await closedFile();
    for (let length = 0; length < bytes.length; length += 1)
      expect([length, isDamage(await verdict(bytes.subarray(0, length)))]).toEqual([length, true]);
  });

  it('shows when sectors changed places, come from another file, or something follows a closed file', async () => {
    const bytes = await closedFile();
    const swapped = bytes.slice();
    swapped.copyWithin(SECTOR, 2 * SECTOR, 3 * SECTOR);
    expect(await verdict(swapped)).toBe('sector');
    const other = (await journalFile()).bytes;
    const mixed = bytes.slice();
    mixed.set(other.subarray(SECTOR, 2 * SECTOR), SECTOR);
    expect(await verdict(mixed)).toBe('sector');
    expect(await verdict(Buffer.concat([bytes, Buffer.from('tail')]))).toBe('sector');
    expect(await verdict(Buffer.concat([bytes, other.subarray(SECTOR, 2 * SECTOR)]))).toBe('sector');
  });

  it('shows wherever 16 bytes of an unclosed file were flipped after a crash', { timeout: 120_000 }, async () => {
    const { bytes } = await journalFile();
    for (let at = 0; at <= bytes.length - 16; at += 3) {
      const flipped = bytes.map((b, i) => (i >= at && i < at + 16 ? b ^ 0xff : b));
      expect([at, isDamage(await verdict(flipped))]).toEqual([at, true]);
    }
  });

  it('is what a hole before the last flush is, and inside the last flush it is torn', async () => {
    const { bytes, starts } = await journalFile();
    const last = starts[2] ?? 0;
    for (let at = 0; at < bytes.length; at += SECTOR) {
      const holed = bytes.slice();
      holed.fill(0, at, at + SECTOR);
      expect([at, await verdict(holed)]).toEqual([at, at === 0 ? 'not-a-bitmap-file' : at < SECTOR * 2 ? 'sector' : at < last ? 'order' : 1]);
    }
    const partly = bytes.slice();
    partly.fill(0, last + 100, last + SECTOR);
    expect(await verdict(partly)).toBe(1);
    // The beginning of a torn sector still has to be that of a sector of this place.
    partly[last + 15] = 0xee;
    expect(await verdict(partly)).toBe('sector');
  });

  it('is not what zeroes behind the last flush are, however many: room for the next one, or all that came of it', async () => {
    const { bytes, starts } = await journalFile();
    for (const zeroes of [10, 3 * SECTOR, 3 * 1024 * 1024 + 5]) expect(await verdict(Buffer.concat([bytes, Buffer.alloc(zeroes)]))).toBe(0);
    const holed = bytes.slice();
    holed.fill(0, starts[2], (starts[2] ?? 0) + SECTOR);
    expect(await verdict(Buffer.concat([holed, Buffer.alloc(5000 * SECTOR)]))).toBe(1);
  });

  it('is anything but zeroes behind a flush that is not whole, or behind zeroes', async () => {
    const { bytes, starts } = await journalFile();
    const holed = bytes.slice();
    holed.fill(0, starts[2], (starts[2] ?? 0) + SECTOR);
    const place = bytes.slice(starts[1], (starts[1] ?? 0) + 12);
    for (const zeroes of [0, 1, 9]) {
      expect(await verdict(Buffer.concat([holed, Buffer.alloc(zeroes * SECTOR), place]))).toBe('order');
      expect(await verdict(Buffer.concat([bytes, Buffer.alloc(zeroes * SECTOR + 100), Buffer.from('x')]))).toBe('sector');
    }
    // What the second flush says of itself is no longer true behind the third.
    const earlier = bytes.slice(starts[1], starts[2]);
    expect(await verdict(Buffer.concat([bytes, Buffer.alloc(SECTOR), earlier]))).toBe('sector');
  });

  it('is a file that ends inside its base', async () => {
    const { bytes } = await journalFile();
    expect(await verdict(bytes.subarray(0, SECTOR))).toBe('truncated');
    expect(await verdict(bytes.subarray(0, 2 * SECTOR - 1))).toBe('sector');
    expect(await verdict(bytes.subarray(0, 2 * SECTOR))).toBe(0);
  });
});
