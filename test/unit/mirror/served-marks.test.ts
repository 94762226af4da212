/**
 * The memory that the engine's writes and the intent log share: what each of its words says, and the two sides against each other in any
 * order of their steps, on a disk of which only that is certain which no crash can take back.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { IntentLog } from '../../../src/bitmap/intent-log.ts';
import { UNDER_WAY_READ } from '../../../src/io/serve.ts';
import { ServedMarks } from '../../../src/mirror/served-marks.ts';

const REGION = 4096;
/** The last bit of the first word, and the first of the next one. */
const LAST = 31;
const NEXT = 32;

function make(regions = 64, conns = 2): { marks: ServedMarks; underWay: Uint32Array[]; allowed: (region: number) => boolean } {
  const underWay = Array.from({ length: conns }, () => new Uint32Array(2));
  const marks = new ServedMarks(regions * REGION, REGION, () => underWay);
  return { marks, underWay, allowed: (region) => ((marks.allowed[Math.floor(region / 32)] ?? 0) & (1 << (region % 32))) !== 0 };
}

function taken(marks: ServedMarks): [number, number][] {
  const runs: [number, number][] = [];
  marks.take((first, last) => runs.push([first, last]));
  return runs;
}

describe('what may be written without being told', () => {
  it('is nothing at first, then each region that was allowed, and no other', () => {
    const { marks, allowed } = make();
    expect([...marks.allowed]).toEqual([0, 0]);
    for (const region of [0, LAST, NEXT]) {
      marks.allow(region);
      marks.allow(region);
    }
    expect(Array.from({ length: 64 }, (_x, i) => i).filter(allowed)).toEqual([0, LAST, NEXT]);
  });

  it('has a bit for each region, the last of which may be shorter', () => {
    const sizes = [1, REGION, 32 * REGION, 32 * REGION + 1, 64 * REGION, 64 * REGION + 512];
    expect(sizes.map((bytes) => new ServedMarks(bytes, REGION, () => []).allowed.length)).toEqual([1, 1, 1, 2, 2, 3]);
    const { marks, allowed } = make(65);
    marks.allow(64);
    expect(allowed(64)).toBe(true);
    expect(marks.letGo(64)).toBe(true);
    expect(allowed(64)).toBe(false);
  });

  it.each([0, LAST, NEXT, 63])('ends for region %i alone, when that was neither written nor is', (region) => {
    const { marks, allowed } = make();
    for (let r = 0; r < 64; r += 1) marks.allow(r);
    marks.touched.touch(((region + 1) % 64) * REGION, 1);
    expect(marks.letGo(region)).toBe(true);
    expect(Array.from({ length: 64 }, (_x, i) => i).filter((r) => !allowed(r))).toEqual([region]);
  });

  it.each([0, LAST, NEXT, 63])('stays for region %i while nobody was told that it was written', (region) => {
    const { marks, allowed } = make();
    marks.allow(region);
    marks.touched.touch(region * REGION + 512, 512);
    expect(marks.letGo(region)).toBe(false);
    expect(allowed(region)).toBe(true);
    taken(marks);
    expect(marks.letGo(region)).toBe(true);
    expect(allowed(region)).toBe(false);
  });

  it.each([0, LAST, NEXT, 63])('stays for region %i while it is being written on any connection, also when that was told', (region) => {
    for (const [conn, word] of [
      [0, 0],
      [0, 1],
      [1, 1],
    ] as const) {
      const { marks, underWay, allowed } = make();
      marks.allow(region);
      const words = underWay[conn] ?? new Uint32Array(2);
      words[word] = region + 1;
      taken(marks);
      expect(marks.letGo(region)).toBe(false);
      expect(allowed(region)).toBe(true);
      words[word] = region + 2;
      expect(marks.letGo(region)).toBe(true);
    }
  });

  it.each([0, LAST, NEXT, 63])('ends for region %i while something is read: a read has no region', (region) => {
    const { marks, underWay, allowed } = make();
    marks.allow(region);
    for (const words of underWay) words.fill(UNDER_WAY_READ);
    expect(marks.letGo(region)).toBe(true);
    expect(allowed(region)).toBe(false);
    marks.allow(region);
    underWay[1]?.fill(region + 1, 1);
    expect(marks.letGo(region)).toBe(false);
  });

  it('stays for a write that ends while it is looked for: what is under way is looked at first, and touched then', () => {
    const words = Uint32Array.of(8);
    const marks: ServedMarks = new ServedMarks(64 * REGION, REGION, () => {
      // By its contract the engine touches it again before its word is cleared; what it had touched before was told.
      marks.touched.touch(7 * REGION, 512);
      words[0] = 0;
      return [words];
    });
    marks.allow(7);
    marks.touched.touch(7 * REGION, 512);
    marks.touched.take(() => undefined);
    expect(marks.letGo(7)).toBe(false);
    expect(marks.allowed[0]).toBe(1 << 7);
    expect(taken(marks)).toEqual([[7, 7]]);
    expect(new ServedMarks(64 * REGION, REGION, () => [words]).letGo(7)).toBe(true);
  });

  it('is not, not even for a moment, for whoever looks while it is being found out whether it may end', () => {
    const seen: boolean[] = [];
    const marks: ServedMarks = new ServedMarks(64 * REGION, REGION, () => {
      seen.push(((marks.allowed[0] ?? 0) & 2) !== 0);
      return [Uint32Array.of(2)];
    });
    marks.allow(1);
    expect(marks.letGo(1)).toBe(false);
    expect(seen).toEqual([false]);
    expect(marks.allowed[0]).toBe(2);
  });
});

describe('what was written without being told', () => {
  it('is told once, in runs, and what is under way each time until it has ended', () => {
    const { marks, underWay } = make();
    marks.touched.touch(3 * REGION, 2 * REGION);
    marks.touched.touch(NEXT * REGION, 1);
    const words = underWay[1] ?? new Uint32Array(2);
    words[0] = 1;
    words[1] = NEXT + 1;
    expect(taken(marks)).toEqual([
      [3, 4],
      [NEXT, NEXT],
      [0, 0],
      [NEXT, NEXT],
    ]);
    expect(taken(marks)).toEqual([
      [0, 0],
      [NEXT, NEXT],
    ]);
    words.fill(0);
    expect(taken(marks)).toEqual([]);
  });

  it('is no read that is under way', () => {
    const { marks, underWay } = make();
    for (const words of underWay) words.fill(UNDER_WAY_READ);
    expect(taken(marks)).toEqual([]);
    underWay[0]?.fill(6, 0, 1);
    expect(taken(marks)).toEqual([[5, 5]]);
  });

  it('is told also of a connection that came later, and no more of one that has gone', () => {
    const conns: Uint32Array[] = [];
    const marks = new ServedMarks(64 * REGION, REGION, () => conns);
    expect(taken(marks)).toEqual([]);
    conns.push(Uint32Array.of(0, 8));
    expect(taken(marks)).toEqual([[7, 7]]);
    conns.pop();
    expect(taken(marks)).toEqual([]);
  });
});

// ------------------------------------------------------------------------------------------------ against a model

const REGIONS = NEXT + 1;
/** Few, so that they meet; on both sides of a word's end. */
const AT = [0, LAST, NEXT];
const CONNS = 3;

/** One connection of the engine, step by step. */
interface Writer {
  region: number;
  at: 'off' | 'reads' | 'said' | 'touched' | 'writing' | 'written' | 'touched again';
}

interface Steps {
  conn: number;
  /** Where a write begins, if nothing is under way; below 0: a read does. */
  region: number;
  steps: number;
}

/** A write that TypeScript executes: an ordinary request. */
interface Ordinary {
  region: number;
  /** The flush that it waits for; 0: it has been let through. */
  flush: number;
}

/** What the property has really tried: one that tries nothing can not fail. */
interface Seen {
  served: number;
  told: number;
  refused: number;
  read: number;
  gone: number;
  kept: number;
}

class World {
  readonly marks = new DirtyBitmap(REGIONS);
  readonly log = new IntentLog(this.marks, { markedMax: 2 });
  readonly words = Array.from({ length: CONNS }, () => new Uint32Array(1));
  readonly shared: ServedMarks;
  readonly writers: Writer[] = Array.from({ length: CONNS }, () => ({ region: 0, at: 'off' }));
  readonly seen: Seen;
  ordinary: Ordinary[] = [];
  ending = false;
  /** Each content that the file may have after a crash now. */
  disk: DirtyBitmap[] = [new DirtyBitmap(REGIONS)];
  flight = 0;
  flushes = 0;
  /** By region: the time at which the last write ended, of those that no proof covers. */
  readonly ended = new Map<number, number>();
  readonly seals: { seq: number; at: number }[] = [];
  now = 0;
  /** Steps of the engine while the call that is running looks at what is shared. */
  meanwhile: Steps[] = [];

  constructor(seen: Seen) {
    this.seen = seen;
    const step = (): void => {
      this.engineSteps(this.meanwhile.shift());
    };
    const { words } = this;
    this.shared = new ServedMarks(REGIONS * REGION, REGION, function* () {
      for (const w of words) {
        step();
        yield w;
      }
      step();
    });
    this.log.share({
      allow: (region) => {
        this.shared.allow(region);
      },
      letGo: (region) => {
        step();
        const gone = this.shared.letGo(region);
        this.seen[gone ? 'gone' : 'kept'] += 1;
        step();
        return gone;
      },
    });
  }

  isDurable(region: number): boolean {
    return this.disk.every((d) => d.get(region));
  }

  engineSteps(s: Steps | undefined): void {
    if (s === undefined) return;
    for (let i = 0; i < s.steps; i += 1) this.engineStep(s.conn, i === 0 ? s.region : undefined);
  }

  /** As src/io/types.ts has it of `ServeMarks`. */
  engineStep(conn: number, region?: number): void {
    const w = this.writers[conn];
    const words = this.words[conn];
    if (w === undefined || words === undefined) return;
    this.now += 1;
    switch (w.at) {
      case 'off':
        if (region === undefined || this.ending) return;
        if (region < 0) {
          Atomics.store(words, 0, UNDER_WAY_READ);
          w.at = 'reads';
          this.seen.read += 1;
          return;
        }
        w.region = region;
        Atomics.store(words, 0, region + 1);
        w.at = 'said';
        return;
      case 'reads':
        Atomics.store(words, 0, 0);
        w.at = 'off';
        return;
      case 'said':
        this.shared.touched.touch(w.region * REGION, 512);
        w.at = 'touched';
        return;
      case 'touched':
        if (!this.ending && ((this.shared.allowed[Math.floor(w.region / 32)] ?? 0) & (1 << (w.region % 32))) !== 0) {
          w.at = 'writing';
          this.seen.served += 1;
          return;
        }
        this.seen.refused += 1;
        Atomics.store(words, 0, 0);
        w.at = 'off';
        this.write(w.region);
        return;
      case 'writing':
        w.at = 'written';
        this.ended.set(w.region, this.now);
        return;
      case 'written':
        this.shared.touched.touch(w.region * REGION, 512);
        w.at = 'touched again';
        return;
      case 'touched again':
        Atomics.store(words, 0, 0);
        w.at = 'off';
    }
  }

  /** A request that is told, in a turn of its own. */
  readonly requests: number[] = [];

  write(region: number): void {
    this.requests.push(region);
  }

  begin(region: number): void {
    // What is marked now, the flush that begins next has.
    this.ordinary.push({ region, flush: this.log.begin(region, region) ? this.flushes + 1 : 0 });
  }

  endOrdinary(which: number): void {
    const through = this.ordinary.filter((o) => o.flush === 0);
    const o = through[which % Math.max(1, through.length)];
    if (o === undefined) return;
    this.ordinary = this.ordinary.filter((x) => x !== o);
    this.now += 1;
    this.ended.set(o.region, this.now);
    this.log.end(o.region, o.region);
  }

  hear(): void {
    this.shared.take((first, last) => {
      this.seen.told += 1;
      this.log.begin(first, last);
      this.log.end(first, last);
      this.engineSteps(this.meanwhile.shift());
    });
  }

  /** As Marks has them. */
  seal(): void {
    this.hear();
    this.now += 1;
    this.seals.push({ seq: this.log.seal(), at: this.now });
  }

  proven(which: number): void {
    const s = this.seals[this.seals.length - 1 - which];
    if (s === undefined) return;
    this.log.proven(s.seq);
    for (const [region, at] of this.ended) if (at < s.at) this.ended.delete(region);
  }

  /** Whoever has heard before, as Marks does, keeps fewer marks; what is unsafe to go stays in any case. */
  collect(keepMax: number, hears = true): void {
    if (hears) this.hear();
    this.log.collect({ keepMax });
  }

  startFlush(): void {
    if (this.flight !== 0) return;
    this.flight = this.log.flushStarting();
    this.flushes += 1;
    this.disk.push(this.marks.clone());
  }

  endFlush(well: boolean): void {
    if (this.flight === 0) return;
    if (well) {
      this.log.flushDone(this.flight);
      this.disk = this.disk.slice(-1);
      for (const o of this.ordinary) if (o.flush === this.flushes) o.flush = 0;
    } else {
      // Either of what the file had and what was written may be found.
      this.log.flushFailed(this.flight);
      for (const o of this.ordinary) if (o.flush === this.flushes) o.flush += 1;
    }
    this.flight = 0;
  }

  /** Nothing is served from now on; and once nothing is under way, all that was is told. */
  pause(): void {
    this.ending = true;
    this.endWrites();
    this.checkHeard();
    expect(taken(this.shared)).toEqual([]);
  }

  endWrites(): void {
    for (let conn = 0; conn < CONNS; conn += 1) while (this.writers[conn]?.at !== 'off') this.engineStep(conn);
  }

  /** All that has ended is told once it is asked for, also what has not said so yet. */
  checkHeard(): void {
    this.meanwhile = [];
    this.hear();
    const unproven = this.log.unproven();
    for (const region of this.ended.keys()) expect([region, unproven.get(region)]).toEqual([region, true]);
    if (this.ended.size > 0) expect(this.log.hasUnproven).toBe(true);
  }

  check(): void {
    for (const w of this.writers) {
      if (w.at === 'writing') expect([w.region, 'is written', this.isDurable(w.region)]).toEqual([w.region, 'is written', true]);
    }
    for (const region of this.ended.keys()) {
      expect([region, 'was written', this.isDurable(region), this.marks.get(region)]).toEqual([region, 'was written', true, true]);
    }
    for (const region of AT) {
      // What the engine may write next turn is as safe.
      const may = ((this.shared.allowed[Math.floor(region / 32)] ?? 0) & (1 << (region % 32))) !== 0;
      if (may) expect([region, 'may be written', this.isDurable(region)]).toEqual([region, 'may be written', true]);
    }
  }
}

type Act =
  | ({ do: 'engine' } & Steps)
  | { do: 'hear' | 'seal' | 'prove' | 'collect all' | 'pause' | 'resume' | 'start' | 'told'; meanwhile: Steps[] }
  | { do: 'proven' | 'collect' | 'collect unheard' | 'done' | 'failed' | 'end' | 'write'; n: number; meanwhile: Steps[] };

const steps = { conn: fc.nat(CONNS - 1), region: fc.constantFrom(...AT, ...AT, ...AT, -1), steps: fc.integer({ min: 1, max: 6 }) };
const meanwhile = fc.array(fc.record(steps), { maxLength: 10 });
const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 14, arbitrary: fc.record({ do: fc.constant('engine' as const), ...steps }) },
  {
    weight: 9,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'hear' as const,
        'seal' as const,
        'prove' as const,
        'prove' as const,
        'collect all' as const,
        'start' as const,
        'told' as const,
      ),
      meanwhile,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('pause' as const, 'resume' as const, 'resume' as const), meanwhile }) },
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'proven' as const,
        'collect' as const,
        'collect unheard' as const,
        'done' as const,
        'done' as const,
        'end' as const,
        'write' as const,
      ),
      n: fc.nat(2),
      meanwhile,
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('failed' as const), n: fc.constant(0), meanwhile }) },
);

function step(w: World, a: Act): void {
  if (a.do === 'engine') {
    w.engineSteps(a);
    return;
  }
  w.meanwhile = [...a.meanwhile];
  switch (a.do) {
    case 'hear':
      w.hear();
      w.checkHeard();
      break;
    case 'prove':
      w.seal();
      w.proven(0);
      break;
    case 'seal':
      w.seal();
      break;
    case 'start':
      w.startFlush();
      break;
    case 'told': {
      const region = w.requests.shift();
      if (region !== undefined) w.begin(region);
      break;
    }
    case 'pause':
      w.pause();
      break;
    case 'resume':
      w.ending = false;
      break;
    case 'proven':
      w.proven(a.n);
      break;
    case 'collect all':
      // Everything is proven, so that what comes meanwhile meets marks that may go.
      w.meanwhile = [];
      w.endWrites();
      w.seal();
      w.proven(0);
      w.meanwhile = [...a.meanwhile];
      w.collect(0);
      break;
    case 'collect':
      w.collect(Math.max(0, a.n - 1));
      break;
    case 'collect unheard':
      w.collect(Math.max(0, a.n - 1), false);
      break;
    case 'done':
    case 'failed':
      w.endFlush(a.do === 'done');
      break;
    case 'end':
      w.endOrdinary(a.n);
      break;
    case 'write':
      w.begin(AT[a.n] ?? 0);
  }
  w.meanwhile = [];
}

describe('the engine against the intent log', () => {
  it('writes a region only while its mark is durable, and the mark stays until a proof covers the end, in any order of their steps (M1, M5)', () => {
    const seen: Seen = { served: 0, told: 0, refused: 0, read: 0, gone: 0, kept: 0 };
    fc.assert(
      fc.property(fc.array(act, { minLength: 20, maxLength: 150 }), (acts) => {
        const w = new World(seen);
        // A region that may be written, whatever comes.
        w.begin(0);
        w.startFlush();
        w.endFlush(true);
        w.endOrdinary(0);
        for (const a of acts) {
          step(w, a);
          w.check();
        }
        w.pause();
        w.check();
      }),
      { numRuns: 1500 },
    );
    for (const [what, times] of Object.entries(seen)) expect([what, times > 50]).toEqual([what, true]);
  });
});
