/** The intent log with somebody who writes regions of durable marks without `begin`: when it may, and what keeps a mark from going. */
import { describe, expect, it } from 'vitest';
import { DirtyBitmap } from '../../../src/bitmap/dirty-bitmap.ts';
import { IntentLog, type Sharer } from '../../../src/bitmap/intent-log.ts';

const REGIONS = 40;

/** Writes down what it is told; regions in `busy` are not let go. */
class Other implements Sharer {
  readonly allowed = new Set<number>();
  readonly busy = new Set<number>();
  readonly asked: number[] = [];
  /** Called when it is asked to let a region go. */
  onAsked: (region: number) => void = () => undefined;

  allow(region: number): void {
    this.allowed.add(region);
  }

  letGo(region: number): boolean {
    this.asked.push(region);
    this.onAsked(region);
    if (this.busy.has(region)) return false;
    this.allowed.delete(region);
    return true;
  }
}

function make(o: { exactFlushes?: boolean; earlier?: number[]; share?: boolean } = {}): { log: IntentLog; marks: DirtyBitmap; other: Other } {
  const marks = new DirtyBitmap(REGIONS);
  for (const r of o.earlier ?? []) marks.set(r);
  const log = new IntentLog(marks, { markedMax: 100, exactFlushes: o.exactFlushes ?? false });
  const other = new Other();
  if (o.share !== false) log.share(other);
  return { log, marks, other };
}

function flush(log: IntentLog, well = true): void {
  const token = log.flushStarting();
  if (well) log.flushDone(token);
  else log.flushFailed(token);
}

/** A write from begin to end, durable in between, as the device does it. */
function write(log: IntentLog, first: number, last = first): void {
  if (log.begin(first, last)) flush(log);
  log.end(first, last);
}

const all = (s: Iterable<number>): number[] => [...s].sort((a, b) => a - b);

describe('what others may write', () => {
  it('are the regions of a write whose marks are durable, from its end at the latest', () => {
    const { log, other } = make();
    expect(log.begin(3, 5)).toBe(true);
    expect(all(other.allowed)).toEqual([]);
    flush(log);
    log.end(3, 5);
    expect(all(other.allowed)).toEqual([3, 4, 5]);
  });

  it('is no region whose mark is not on disk: neither before a flush, nor while one runs, nor after one that failed (M1)', () => {
    const { log, other } = make();
    log.begin(7, 7);
    const token = log.flushStarting();
    log.begin(7, 7);
    log.end(7, 7);
    log.end(7, 7);
    expect(all(other.allowed)).toEqual([]);
    log.flushFailed(token);
    expect(log.begin(7, 7)).toBe(true);
    log.end(7, 7);
    expect(all(other.allowed)).toEqual([]);
    flush(log, false);
    log.begin(7, 7);
    log.end(7, 7);
    expect(all(other.allowed)).toEqual([]);
    flush(log);
    expect(log.begin(7, 7)).toBe(false);
    expect(all(other.allowed)).toEqual([7]);
  });

  it('is no region that was marked while a flush was under way, before the next one', () => {
    const { log, other } = make();
    log.begin(1, 1);
    const token = log.flushStarting();
    log.begin(2, 2);
    log.flushDone(token);
    log.end(1, 1);
    log.end(2, 2);
    expect(all(other.allowed)).toEqual([1]);
  });

  it('are those that were durable before it is shared, too, once each is met, and no marks of an earlier life that no write has met', () => {
    const { log, other } = make({ share: false, earlier: [20, 21] });
    write(log, 1);
    write(log, 1);
    log.begin(2, 2);
    flush(log);
    log.begin(3, 3);
    log.share(other);
    expect(all(other.allowed)).toEqual([1]);
    log.end(2, 2);
    log.end(3, 3);
    expect(all(other.allowed)).toEqual([1, 2]);
    expect(log.begin(20, 20)).toBe(false);
    expect(all(other.allowed)).toEqual([1, 2, 20]);
  });

  it('is a region again whose mark was cleared and set between two flushes that are announced exactly', () => {
    const { log, other } = make({ exactFlushes: true });
    write(log, 4);
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(1);
    expect(all(other.allowed)).toEqual([]);
    expect(log.begin(4, 4)).toBe(false);
    expect(all(other.allowed)).toEqual([4]);
    log.end(4, 4);
    log.proven(log.seal());
    log.collect({ keepMax: 0 });
    flush(log);
    expect(log.begin(4, 4)).toBe(true);
    log.end(4, 4);
    expect(all(other.allowed)).toEqual([]);
  });
});

describe('a mark that may go', () => {
  it('goes only after the other was asked, while it was set, and nothing is written there without begin after that', () => {
    const { log, marks, other } = make();
    write(log, 4);
    write(log, 9);
    const set: boolean[] = [];
    other.onAsked = (region) => set.push(marks.get(region) && log.isDurable(region, region));
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(2);
    expect(other.asked).toEqual([4, 9]);
    expect(set).toEqual([true, true]);
    expect(all(other.allowed)).toEqual([]);
    expect(marks.count).toBe(0);
    // The next write waits for its mark again, and so does the other.
    expect(log.begin(4, 4)).toBe(true);
    log.end(4, 4);
    expect(all(other.allowed)).toEqual([]);
    write(log, 4);
    expect(all(other.allowed)).toEqual([4]);
  });

  it('stays where the other writes, which leaves it unproven until what it tells is; those behind it go', () => {
    const { log, marks, other } = make();
    for (const r of [4, 5, 6]) write(log, r);
    other.busy.add(4);
    log.proven(log.seal());
    expect(log.hasUnproven).toBe(false);
    expect(log.collect({ keepMax: 0 })).toBe(2);
    expect([marks.get(4), log.isDurable(4, 4), marks.count]).toEqual([true, true, 1]);
    expect(all(other.allowed)).toEqual([4]);
    expect(log.hasUnproven).toBe(true);
    expect(log.unproven().get(4)).toBe(true);
    other.busy.clear();
    // No proof is newer than what was found there.
    expect(log.collect({ keepMax: 0 })).toBe(0);
    expect(other.asked).toEqual([4, 5, 6]);
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(1);
    expect(all(other.allowed)).toEqual([]);
    expect(log.begin(4, 4)).toBe(true);
  });

  it('stays in order behind those that ended before, so that no later one hides it', () => {
    const { log, marks, other } = make();
    write(log, 1);
    log.proven(log.seal());
    write(log, 2);
    other.busy.add(1);
    expect(log.collect({ keepMax: 0 })).toBe(0);
    other.busy.clear();
    log.proven(log.seal());
    write(log, 3);
    expect(log.collect({ keepMax: 0 })).toBe(2);
    expect([marks.get(1), marks.get(2), marks.get(3)]).toEqual([false, false, true]);
  });

  it('is not asked for where it is kept, is pending, is unproven, or was never said to be durable', () => {
    const { log, other } = make();
    write(log, 1);
    write(log, 2);
    log.begin(3, 3);
    flush(log);
    // Never let through, so that nobody was told that the other may.
    log.begin(4, 4);
    log.end(4, 4);
    log.proven(log.seal());
    write(log, 5);
    // Of five entries the oldest: 1.
    expect(log.collect({ keepMax: 4 })).toBe(1);
    expect(other.asked).toEqual([1]);
    expect(log.collect({ keepMax: 0 })).toBe(2);
    expect(other.asked).toEqual([1, 2]);
    expect(all(other.allowed)).toEqual([5]);
  });

  it('of an earlier life stays when the entry goes, and the other has to wait for a write that is told', () => {
    const { log, marks, other } = make({ earlier: [8] });
    write(log, 8);
    expect(all(other.allowed)).toEqual([8]);
    log.proven(log.seal());
    expect(log.collect({ keepMax: 0 })).toBe(0);
    expect(other.asked).toEqual([8]);
    expect(all(other.allowed)).toEqual([]);
    expect([marks.get(8), log.heldRegions]).toEqual([true, 1]);
    const released = new DirtyBitmap(REGIONS);
    released.set(8);
    log.release(released);
    expect(marks.get(8)).toBe(false);
  });

  it('of an earlier life that is released stays where the other may write', () => {
    const { log, marks, other } = make({ earlier: [8] });
    write(log, 8);
    const released = new DirtyBitmap(REGIONS);
    released.set(8);
    log.release(released);
    expect([marks.get(8), log.isDurable(8, 8), other.allowed.has(8)]).toEqual([true, true, true]);
  });
});
