import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { IntentLog } from '../../../src/bitmap/intent-log.ts';
import { RegionRangeError } from '../../../src/bitmap/regions.ts';

const REGIONS = 12;

function mapOf(...regions: number[]): DirtyBitmap {
  const m = new DirtyBitmap(REGIONS);
  for (const r of regions) m.set(r);
  return m;
}

function regionsOf(m: DirtyBitmap): number[] {
  const out: number[] = [];
  for (let r = 0; r < m.regionCount; r += 1) if (m.get(r)) out.push(r);
  return out;
}

function newLog(o: { markedMax?: number; exactFlushes?: boolean; marks?: DirtyBitmap } = {}): { log: IntentLog; marks: DirtyBitmap } {
  const marks = o.marks ?? new DirtyBitmap(REGIONS);
  return { marks, log: new IntentLog(marks, { markedMax: o.markedMax ?? 100, exactFlushes: o.exactFlushes ?? false }) };
}

function flush(log: IntentLog): void {
  log.flushDone(log.flushStarting());
}

/** A write of one region from begin to proof. */
function provenWrite(log: IntentLog, region: number): void {
  log.begin(region, region);
  log.end(region, region);
  log.proven(log.seal());
}

describe('intent log', () => {
  it('lets no more marks go at once than it is asked to, the oldest first', () => {
    const { log, marks } = newLog();
    for (const region of [5, 2, 9, 0]) provenWrite(log, region);
    expect(log.collect({ keepMax: 1, most: 2 })).toBe(2);
    expect(regionsOf(marks)).toEqual([0, 9]);
    expect(log.collect({ keepMax: 1, most: 2 })).toBe(1);
    expect(log.collect({ keepMax: 0, most: 2 })).toBe(1);
    expect(log.collect({ keepMax: 0, most: 2 })).toBe(0);
  });

  it('asks for a flush for a region that is not on disk, and not again once it is', () => {
    const { log, marks } = newLog();
    expect(log.begin(2, 3)).toBe(true);
    expect(regionsOf(marks)).toEqual([2, 3]);
    expect(log.isDurable(2, 3)).toBe(false);
    expect(log.unflushedRegions).toBe(2);
    flush(log);
    expect(log.begin(2, 2)).toBe(false);
    expect(log.isDurable(2, 3)).toBe(true);
    expect(log.begin(3, 4)).toBe(true);
    expect(log.pendingRegions).toBe(3);
  });

  it('tells which regions have a write under way: not those whose writes have ended, nor those of an earlier life', () => {
    const { log, marks } = newLog();
    expect(regionsOf(log.pending())).toEqual([]);
    const earlier = new DirtyBitmap(marks.regionCount);
    earlier.set(7);
    log.addAll(earlier);
    for (const region of [1, 2, 2, 3]) log.begin(region, region);
    for (const region of [2, 3]) log.end(region, region);
    expect(regionsOf(log.pending())).toEqual([1, 2]);
    log.end(2, 2);
    expect(regionsOf(log.pending())).toEqual([1]);
    expect(regionsOf(marks)).toEqual([1, 2, 3, 7]);
  });

  it('holds a second writer back while the flush of the first is still under way', () => {
    const { log } = newLog();
    log.begin(1, 1);
    const token = log.flushStarting();
    expect(log.begin(1, 1)).toBe(true);
    log.flushDone(token);
    expect(log.begin(1, 1)).toBe(false);
  });

  it('tells a leg that leaves only of what no sync has proven: pending, written since the seal, or of an earlier life', () => {
    const { log } = newLog({ marks: mapOf(9) });
    provenWrite(log, 1);
    provenWrite(log, 2);
    log.begin(2, 2);
    log.end(2, 2);
    log.begin(3, 3);
    expect(regionsOf(log.snapshot())).toEqual([1, 2, 3, 9]);
    expect(regionsOf(log.unproven())).toEqual([2, 3, 9]);
    log.end(3, 3);
    log.proven(log.seal());
    expect(regionsOf(log.unproven())).toEqual([9]);
  });

  it('drops a mark only after a sync that began after the data was in (M5)', () => {
    const { log, marks } = newLog();
    log.begin(1, 1);
    const before = log.seal();
    log.end(1, 1);
    log.proven(before);
    expect(log.hasUnproven).toBe(true);
    expect(log.collect({ keepMax: 0 })).toBe(0);
    const after = log.seal();
    log.begin(1, 1);
    log.proven(after);
    expect(log.collect({ keepMax: 0 })).toBe(0);
    log.end(1, 1);
    expect(log.collect({ keepMax: 0 })).toBe(0);
    log.proven(log.seal());
    expect(log.hasUnproven).toBe(false);
    expect(log.collect({ keepMax: 0 })).toBe(1);
    expect(marks.count).toBe(0);
  });

  it('lets the least recently written go first, and keeps the hot set', () => {
    const { log, marks } = newLog();
    for (const r of [5, 1, 9, 5, 3]) provenWrite(log, r);
    expect(log.collect({ keepMax: 2 })).toBe(2);
    expect(regionsOf(marks)).toEqual([3, 5]);
    log.begin(7, 7);
    expect(log.collect({ keepMax: 1 })).toBe(2);
    expect(regionsOf(marks)).toEqual([7]);
  });

  it('spares regions written under the latest numbers when asked to', () => {
    const { log, marks } = newLog();
    for (const r of [1, 2, 3]) provenWrite(log, r);
    expect(log.collect({ keepMax: 0, minAgeSeq: 3 })).toBe(1);
    expect(regionsOf(marks)).toEqual([2, 3]);
  });

  it('says when more is marked than allowed, and a sync relieves it', () => {
    const { log } = newLog({ markedMax: 2 });
    log.begin(0, 1);
    expect(log.pressure).toBe(false);
    log.begin(2, 2);
    expect(log.pressure).toBe(true);
    log.end(0, 1);
    log.end(2, 2);
    log.proven(log.seal());
    log.collect({ keepMax: 50 });
    expect(log.pressure).toBe(false);
    expect(log.markedRegions).toBe(2);
  });

  it('asks for a sync while there is room for those that come meanwhile, and says what to keep then', () => {
    const { log } = newLog({ markedMax: 16, marks: new DirtyBitmap(40) });
    for (let r = 0; r < 14; r += 1) provenWrite(log, r);
    expect([log.pressure, log.writtenRegions, log.keptUnderPressure]).toEqual([false, 14, 12]);
    for (const r of [20, 21, 22]) log.begin(r, r);
    expect(log.pressure).toBe(true);
    expect(log.collect({ keepMax: log.keptUnderPressure })).toBe(5);
    expect([log.pressure, log.writtenRegions]).toEqual([false, 12]);
  });

  it('counts what a failed flush was to write as not on disk', () => {
    const { log } = newLog();
    log.begin(1, 1);
    log.flushFailed(log.flushStarting());
    expect(log.begin(1, 1)).toBe(true);
    expect(log.unflushedRegions).toBe(1);
    flush(log);
    expect(log.begin(1, 1)).toBe(false);
  });

  it('wants a flush for a mark that was cleared and set again, unless it knows that it is still on disk', () => {
    for (const exactFlushes of [false, true]) {
      const { log } = newLog({ exactFlushes });
      log.begin(1, 1);
      flush(log);
      log.end(1, 1);
      log.proven(log.seal());
      log.collect({ keepMax: 0 });
      expect(log.begin(1, 1)).toBe(!exactFlushes);
      flush(log);
      log.end(1, 1);
      log.proven(log.seal());
      log.collect({ keepMax: 0 });
      const token = log.flushStarting();
      expect(log.begin(1, 1)).toBe(true);
      log.flushDone(token);
      expect(log.begin(1, 1)).toBe(true);
    }
  });

  it('does not take a mark for durable that was cleared before a flush had looked at it', () => {
    const { log } = newLog();
    log.begin(1, 1);
    const token = log.flushStarting();
    log.end(1, 1);
    log.proven(log.seal());
    log.collect({ keepMax: 0 });
    log.begin(1, 1);
    log.flushDone(token);
    expect(log.isDurable(1, 1)).toBe(false);
    flush(log);
    expect(log.isDurable(1, 1)).toBe(true);
  });

  it('holds marks of an earlier life through every sync, until somebody else has them', () => {
    const { log, marks } = newLog({ marks: mapOf(1, 2, 3) });
    expect(log.heldRegions).toBe(3);
    expect(log.begin(1, 1)).toBe(false);
    log.end(1, 1);
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(0);
    log.begin(2, 2);
    log.release(mapOf(1, 2, 9));
    expect(regionsOf(marks)).toEqual([2, 3]);
    expect(log.heldRegions).toBe(1);
    log.end(2, 2);
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(1);
    expect(regionsOf(marks)).toEqual([3]);
  });

  it('does not release what was never held', () => {
    const { log, marks } = newLog();
    provenWrite(log, 4);
    log.release(mapOf(4));
    expect(regionsOf(marks)).toEqual([4]);
  });

  it("takes over another node's marks, which are on disk only after a flush", () => {
    const { log } = newLog({ marks: mapOf(1) });
    expect(log.addAll(mapOf(1))).toBe(false);
    expect(log.addAll(mapOf(1, 2, 3, 4))).toBe(true);
    expect(log.isDurable(2, 2)).toBe(false);
    flush(log);
    expect(log.isDurable(1, 4)).toBe(true);
    expect(regionsOf(log.snapshot())).toEqual([1, 2, 3, 4]);
  });

  it('gives an account that is its own copy', () => {
    const { log } = newLog();
    log.begin(1, 1);
    const account = log.snapshot();
    log.begin(2, 2);
    expect(regionsOf(account)).toEqual([1]);
  });

  it('stops at broken promises of its caller', () => {
    const { log } = newLog();
    expect(() => {
      log.end(1, 1);
    }).toThrow('never began');
    expect(() => {
      log.proven(1);
    }).toThrow('never sealed');
    expect(() => log.begin(0, REGIONS)).toThrow(RegionRangeError);
    const token = log.flushStarting();
    expect(() => log.flushStarting()).toThrow('under way');
    expect(() => {
      log.flushDone(token + 1);
    }).toThrow('no flush');
    log.flushDone(token);
    expect(() => {
      log.flushFailed(token);
    }).toThrow('no flush');
    expect(() => newLog({ markedMax: 0 })).toThrow(RangeError);
  });
});

// ------------------------------------------------------------------------------------------------ against a model

const act = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('begin'),
      a: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0, 1) }, { weight: 1, arbitrary: fc.nat(REGIONS - 1) }),
      b: fc.nat(1),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('end'), a: fc.nat(50), b: fc.constant(0) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom('seal', 'proven', 'prove', 'start', 'snapshot', 'done', 'failed'),
      a: fc.nat(2),
      b: fc.constant(0),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('collect'), a: fc.nat(3), b: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('addAll', 'release', 'foreign'), a: fc.nat(REGIONS - 1), b: fc.nat(3) }) },
);

interface Write {
  first: number;
  last: number;
  /** Legs have been told: its data may be on some and not on others. */
  issued: boolean;
}

/**
 * A device that keeps M1, on a disk of which only that is certain which no crash can take back. In the exact mode flushes
 * take their snapshot as they start; else some time later, and others flush the same file unannounced.
 */
class Model {
  readonly exact: boolean;
  readonly marks: DirtyBitmap;
  readonly log: IntentLog;
  disk = new Set<number>([3]);
  flight: { token: number; snapshot: Set<number> | undefined; waiting: Write[] } | undefined;
  held = new Set<number>([3]);
  writes: Write[] = [];
  waiting: Write[] = [];
  /** Newest first-to-last order of last ends, of regions with an entry. */
  idle: { region: number; seq: number }[] = [];
  /** Regions with data, and the number under which it last came in. */
  data = new Map<number, number>();
  seq = 1;
  sealed = 0;
  proven = 0;

  constructor(exact: boolean) {
    this.exact = exact;
    this.marks = mapOf(3);
    this.log = new IntentLog(this.marks, { markedMax: 1000, exactFlushes: exact });
  }

  sure(): Set<number> {
    const snapshot = this.flight?.snapshot;
    return snapshot === undefined ? this.disk : new Set([...this.disk].filter((r) => snapshot.has(r)));
  }

  marked(): Set<number> {
    return new Set(regionsOf(this.marks));
  }

  pending(region: number): number {
    return this.writes.filter((w) => w.first <= region && region <= w.last).length;
  }

  entries(): number {
    const active = new Set(this.idle.map((i) => i.region));
    for (const w of this.writes) for (let r = w.first; r <= w.last; r += 1) active.add(r);
    return active.size;
  }

  step(kind: string, a: number, b: number): void {
    switch (kind) {
      case 'begin': {
        const w: Write = { first: a, last: Math.min(a + b, REGIONS - 1), issued: false };
        const mustFlush = this.log.begin(w.first, w.last);
        const sure = this.sure();
        let all = true;
        for (let r = w.first; r <= w.last; r += 1) all &&= sure.has(r);
        if (this.exact) expect(mustFlush).toBe(!all);
        else expect(mustFlush || all).toBe(true);
        if (mustFlush) this.waiting.push(w);
        else this.issue(w);
        this.writes.push(w);
        this.idle = this.idle.filter((i) => i.region < w.first || i.region > w.last);
        return;
      }
      case 'end': {
        const [w] = this.writes.splice(a % Math.max(this.writes.length, 1), 1);
        if (w === undefined) return;
        this.log.end(w.first, w.last);
        this.waiting = this.waiting.filter((x) => x !== w);
        if (this.flight !== undefined) this.flight.waiting = this.flight.waiting.filter((x) => x !== w);
        for (let r = w.first; r <= w.last; r += 1) {
          if (w.issued) this.data.set(r, this.seq);
          if (this.pending(r) === 0) this.idle.push({ region: r, seq: this.seq });
        }
        return;
      }
      case 'seal':
        expect(this.log.seal()).toBe(this.seq);
        this.sealed = this.seq;
        this.seq += 1;
        return;
      case 'proven': {
        const seq = Math.max(0, this.sealed - a);
        this.log.proven(seq);
        this.proven = Math.max(this.proven, seq);
        for (const [r, at] of this.data) if (at <= seq && !this.writes.some((w) => w.issued && w.first <= r && r <= w.last)) this.data.delete(r);
        return;
      }
      case 'prove':
        this.step('seal', 0, 0);
        this.step('proven', 0, 0);
        return;
      case 'collect': {
        const newest = Math.min(this.proven, this.seq - b);
        let want = 0;
        while ((this.idle[0]?.seq ?? Infinity) <= newest && this.entries() > a) {
          const gone = this.idle.shift();
          if (gone !== undefined && !this.held.has(gone.region)) want += 1;
        }
        expect(this.log.collect({ keepMax: a, minAgeSeq: b })).toBe(want);
        return;
      }
      case 'start':
        if (this.flight !== undefined) return;
        this.flight = { token: this.log.flushStarting(), snapshot: this.exact ? this.marked() : undefined, waiting: this.waiting };
        this.waiting = [];
        return;
      case 'snapshot':
        if (this.flight !== undefined) this.flight.snapshot ??= this.marked();
        return;
      case 'done': {
        if (this.flight === undefined) return;
        const { token, snapshot, waiting } = this.flight;
        this.disk = snapshot ?? this.marked();
        this.flight = undefined;
        this.log.flushDone(token);
        for (const w of waiting) this.issue(w);
        return;
      }
      case 'failed':
        if (this.flight === undefined) return;
        this.disk = this.sure();
        this.log.flushFailed(this.flight.token);
        this.waiting.push(...this.flight.waiting);
        this.flight = undefined;
        return;
      case 'addAll': {
        const regions = [a, (a + b) % REGIONS];
        this.log.addAll(mapOf(...regions));
        for (const r of regions) this.held.add(r);
        return;
      }
      case 'release':
        this.log.release(mapOf(a, (a + b) % REGIONS));
        this.held.delete(a);
        this.held.delete((a + b) % REGIONS);
        return;
      default:
        // Somebody flushes another map of the same file.
        if (!this.exact && this.flight?.snapshot === undefined) this.disk = this.marked();
    }
  }

  issue(w: Write): void {
    w.issued = true;
  }

  check(): void {
    const sure = this.sure();
    const marked = this.marked();
    for (let r = 0; r < REGIONS; r += 1) {
      const durable = this.log.isDurable(r, r);
      if (durable) expect(sure.has(r)).toBe(true);
      if (this.exact) expect(durable).toBe(sure.has(r));
      const atRisk = this.data.has(r) || this.writes.some((w) => w.issued && w.first <= r && r <= w.last);
      if (atRisk) expect([r, sure.has(r), marked.has(r)]).toEqual([r, true, true]);
      if (this.held.has(r) || this.pending(r) > 0) expect(marked.has(r)).toBe(true);
    }
    expect(this.log.heldRegions).toBe(this.held.size);
    expect(this.log.pendingRegions).toBe([...Array(REGIONS).keys()].filter((r) => this.pending(r) > 0).length);
  }
}

describe('intent log against a model', () => {
  it.each([
    ['whoever announces every flush exactly', true],
    ['whoever announces flushes loosely, among unannounced ones', false],
  ])('has every region whose data is not proven everywhere on disk, for %s', (_who, exact) => {
    fc.assert(
      fc.property(fc.array(act, { minLength: 1, maxLength: 80 }), (acts) => {
        const model = new Model(exact);
        for (const { kind, a, b } of acts) {
          model.step(kind, a, b);
          model.check();
        }
      }),
      { numRuns: 1000 },
    );
  });
});
