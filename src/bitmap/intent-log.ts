/**
 * The intent log: which regions may differ between legs because writes to them are, or lately were, under way. It does no
 * I/O; it says when the bitmap file must be flushed and what may leave it.
 *
 *              begin: pending + 1                 end: pending - 1, stamped with the current number
 *   (unmarked) ------------------> active ----------------------------> idle, least recently written first
 *        ^                           ^------------ begin -----------------|
 *        |                                                                | collect: number <= proven
 *        +----------------------------------------------------------------+
 *
 *   seal() -> n   every leg syncs   proven(n)     "whatever ended under a number <= n is on stable storage everywhere"
 *
 * Invariants:
 * - a region with an entry is marked; an entry goes only when nothing is pending and its last end is proven (M5)
 * - `durable` holds only regions that are set on disk whatever a crash does now; begin answers true for any other (M1)
 * - idle entries are linked in the order of their ends, so their numbers never fall along the list
 * - marks of an earlier life are *held*: no sync proves them, because a write may have reached one leg and not another;
 *   they go when their holder says with `release` that a durable account elsewhere has them
 *
 * Others may write regions with entries whose marks are durable, and tell of it later (`share`): they are told which those are, and asked
 * before an entry goes.
 *
 * What is on disk is known in one of two ways. By default a mark that is cleared counts as gone from disk at once, because
 * somebody else's flush of the same file may have written the clear. With `exactFlushes`, every flush of the file is
 * announced here at the moment its content is fixed (BitmapFile.observe), and a mark that is cleared and set again between
 * two flushes is known to be still there.
 */
import { DirtyBitmap, type Run } from './dirty-bitmap.ts';
import { Entry, linkBefore, unlink } from './intent-entry.ts';
import { MarkBatch } from './mark-batch.ts';
import { checkRegions } from './regions.ts';

export interface IntentLogOptions {
  /** Regions with entries for which there is room: what would be resynced after a crash. `pressure` asks for a sync before they are so many. */
  markedMax: number;
  /** Every flush of the file is announced by the file itself; see above. */
  exactFlushes?: boolean;
}

/** Who writes regions without `begin`, and tells of it later by `begin` and `end`. */
export interface Sharer {
  /** The region's mark is durable, and stays until `letGo` has answered true. */
  allow(region: number): void;
  /** From now on it is not written without `begin`; false: it is being written, or was, and nobody was told yet: then it stays allowed. */
  letGo(region: number): boolean;
}

export interface CollectOptions {
  /** Recently written regions to leave marked, at most markedMax, so that a hot set costs no flush. */
  keepMax: number;
  /** Leave regions whose last write ended under one of that many latest numbers, the open one included; 0. */
  minAgeSeq?: number;
  /** Take no more than so many out, since whoever writes meanwhile waits; else as many as there are. */
  most?: number;
}

/** Of the entries allowed: kept free for regions written while a sync proves others. Fewer syncs of more writes each cost less. */
const ROOM_SHARE = 1 / 8;
/** Powers of two. */
const RECENT_FIRST = 64;
const RECENT_MAX = 16384;

export class IntentLog {
  readonly #marks: DirtyBitmap;
  readonly #markedMax: number;
  readonly #exact: boolean;
  readonly #entries = new Map<number, Entry>();
  /** Entries found lately, by the lowest bits of their region: most looks of a hot set end here. */
  #recent: (Entry | undefined)[] = new Array<Entry | undefined>(RECENT_FIRST).fill(undefined);
  readonly #idle = new Entry();
  readonly #spare: Entry[] = [];
  /** Marks of an earlier life. */
  readonly #held: DirtyBitmap;
  readonly #durable: DirtyBitmap;
  /** Marked, and neither durable nor in the flush under way. */
  #fresh: MarkBatch;
  /** Marked when the flush under way began, and not durable before it. */
  #flight: MarkBatch;
  /** exactFlushes: cleared since the last flush began; still set on disk if durable says so. */
  readonly #stale: DirtyBitmap;
  #token = 0;
  #flushing = false;
  #seq = 1;
  #proven = 0;
  #pendingRegions = 0;
  #sharer: Sharer | undefined;

  /** `marks`: the map of the bitmap file. What it holds already is durable, and of an earlier life. */
  constructor(marks: DirtyBitmap, o: IntentLogOptions) {
    if (!Number.isInteger(o.markedMax) || o.markedMax < 1) throw new RangeError(`markedMax ${String(o.markedMax)} is not a positive number`);
    this.#marks = marks;
    this.#markedMax = o.markedMax;
    this.#exact = o.exactFlushes === true;
    this.#held = marks.clone();
    this.#durable = marks.clone();
    this.#fresh = new MarkBatch(marks.regionCount);
    this.#flight = new MarkBatch(marks.regionCount);
    this.#stale = new DirtyBitmap(marks.regionCount);
  }

  // ------------------------------------------------------------------------------------------------------- writes

  /** A write to regions first..last comes: true when the file must be flushed before any leg is told of it (M1). */
  begin(first: number, last: number): boolean {
    checkRegions(first, last, this.#marks.regionCount);
    let mustFlush = false;
    for (let r = first; r <= last; r += 1) {
      let e = this.#entry(r);
      if (e === undefined) {
        e = this.#newEntry(r);
        this.#mark(r, r);
      }
      if (e.pending === 0) {
        unlink(e);
        this.#pendingRegions += 1;
      }
      e.pending += 1;
      if (e.durable) continue;
      if (!this.#isDurable(e)) mustFlush = true;
    }
    return mustFlush;
  }

  /** That write is over on every leg, well or not: its data is "in" as of the current number. */
  end(first: number, last: number): void {
    checkRegions(first, last, this.#marks.regionCount);
    for (let r = first; r <= last; r += 1) {
      const e = this.#entry(r);
      if (e === undefined || e.pending === 0) throw new Error(`a write of region ${String(r)} ended that never began`);
      e.pending -= 1;
      e.endSeq = this.#seq;
      if (e.pending > 0) continue;
      if (!e.durable && this.#sharer !== undefined) this.#isDurable(e);
      this.#pendingRegions -= 1;
      linkBefore(this.#idle, e);
    }
  }

  /** Once: from now on it may write regions whose marks are durable. */
  share(sharer: Sharer): void {
    this.#sharer = sharer;
    for (const e of this.#entries.values()) if (e.durable) sharer.allow(e.region);
  }

  #isDurable(e: Entry): boolean {
    if (!this.#durable.get(e.region)) return false;
    e.durable = true;
    this.#sharer?.allow(e.region);
    return true;
  }

  /** True when regions first..last are marked on disk whatever a crash does now. */
  isDurable(first: number, last: number): boolean {
    return this.#durable.coversRange(first, last);
  }

  // -------------------------------------------------------------------------------------------------------- proof

  /** Closes the current number: syncs of every leg that begin after this call cover all that ended under numbers <= it. */
  seal(): number {
    this.#seq += 1;
    return this.#seq - 1;
  }

  /** Every leg completed a sync that began after seal() had returned `seq`. */
  proven(seq: number): void {
    if (!Number.isInteger(seq) || seq < 0 || seq >= this.#seq) throw new Error(`number ${String(seq)} was never sealed`);
    if (seq > this.#proven) this.#proven = seq;
  }

  /** Takes proven regions out of the map, least recently written first; how many bits that cleared. */
  collect(o: CollectOptions): number {
    const keepMax = Math.min(o.keepMax, this.#markedMax);
    const newest = Math.min(this.#proven, this.#seq - (o.minAgeSeq ?? 0));
    const least = Math.max(keepMax, this.#entries.size - (o.most ?? Infinity));
    let cleared = 0;
    for (let e = this.#idle.next; e !== this.#idle && e.endSeq <= newest && this.#entries.size > least; e = this.#idle.next) {
      unlink(e);
      const { region } = e;
      if (e.durable && this.#sharer?.letGo(region) === false) {
        e.endSeq = this.#seq;
        linkBefore(this.#idle, e);
        continue;
      }
      this.#entries.delete(region);
      // So that no look through `#recent` finds it.
      e.region = -1;
      if (this.#spare.length < this.#markedMax) this.#spare.push(e);
      if (this.#held.get(region)) continue;
      this.#unmark(region, region);
      cleared += 1;
    }
    return cleared;
  }

  // ------------------------------------------------------------------------------------------ marks of earlier lives

  /** Marks regions of an earlier life, another node's for example, and holds them; true when the file must be flushed. */
  addAll(marks: DirtyBitmap): boolean {
    for (const run of marks.runs()) this.#mark(run.first, run.first + run.length - 1);
    this.#held.or(marks);
    return this.unflushedRegions > 0;
  }

  /** A durable account elsewhere has these held marks (M5), or they are known equal: they go, except where a write is unproven. */
  release(marks: DirtyBitmap): void {
    const staying = this.#held.clone();
    staying.andNot(marks);
    const going = this.#held.clone();
    going.andNot(staying);
    this.#held.andNot(going);
    for (const region of this.#entries.keys()) going.clear(region);
    for (const run of going.runs()) this.#unmark(run.first, run.first + run.length - 1);
  }

  /** A copy of all marks: the account of what may differ. */
  snapshot(): DirtyBitmap {
    return this.#marks.clone();
  }

  /** A copy of the marks that no sync of every leg has proven: what a leg that leaves now may lack (M5). */
  unproven(): DirtyBitmap {
    const marks = this.#marks.clone();
    for (let e = this.#idle.next; e !== this.#idle && e.endSeq <= this.#proven; e = e.next) if (!this.#held.get(e.region)) marks.clear(e.region);
    return marks;
  }

  /** A copy of the marks of regions with a write under way. */
  pending(): DirtyBitmap {
    const marks = new DirtyBitmap(this.#marks.regionCount);
    if (this.#pendingRegions > 0) for (const e of this.#entries.values()) if (e.pending > 0) marks.set(e.region);
    return marks;
  }

  // ------------------------------------------------------------------------------------------------------- flushes

  /** A flush begins that writes everything marked so far. One at a time. */
  flushStarting(): number {
    if (this.#flushing) throw new Error('a flush of the intent log is under way already');
    this.#flushing = true;
    this.#token += 1;
    if (this.#stale.count > 0) {
      this.#durable.andNot(this.#stale);
      this.#stale.clearAll();
    }
    [this.#flight, this.#fresh] = [this.#fresh, this.#flight];
    return this.#token;
  }

  /** That flush is durable. */
  flushDone(token: number): void {
    this.#endFlush(token);
    this.#flight.moveTo(this.#durable);
  }

  /** That flush failed: what it was to write is not durable. */
  flushFailed(token: number): void {
    this.#endFlush(token);
    for (const run of this.#flight.map.runs()) {
      for (const marked of runsWithin(this.#marks, run.first, run.first + run.length - 1)) {
        this.#fresh.addRange(marked.first, marked.first + marked.length - 1);
      }
    }
    this.#flight.clear();
  }

  #endFlush(token: number): void {
    if (!this.#flushing || token !== this.#token) throw new Error(`no flush ${String(token)} of the intent log is under way`);
    this.#flushing = false;
  }

  // ------------------------------------------------------------------------------------------------------- counts

  get markedRegions(): number {
    return this.#marks.count;
  }

  get heldRegions(): number {
    return this.#held.count;
  }

  /** Regions with a write under way. */
  get pendingRegions(): number {
    return this.#pendingRegions;
  }

  /** Marks that no finished flush covers. */
  get unflushedRegions(): number {
    return this.#fresh.map.count + this.#flight.map.count;
  }

  /** The newest number that is proven; 0: none. */
  get provenSeq(): number {
    return this.#proven;
  }

  /** Data is under way, or came in since the last proof. */
  get hasUnproven(): boolean {
    return this.#pendingRegions > 0 || this.#idle.previous.endSeq > this.#proven;
  }

  /** Regions with entries. Held marks do not count, no sync helps them. */
  get writtenRegions(): number {
    return this.#entries.size;
  }

  /** So many have entries that a sync should start now, then `collect`: while it takes its time there is room for others. */
  get pressure(): boolean {
    return this.#entries.size > this.#markedMax - Math.floor(this.#markedMax * ROOM_SHARE);
  }

  /** What `collect` is to keep at most when it makes room. */
  get keptUnderPressure(): number {
    return this.#markedMax - Math.floor(this.#markedMax * 2 * ROOM_SHARE);
  }

  // -------------------------------------------------------------------------------------------------------- parts

  #entry(region: number): Entry | undefined {
    const place = region & (this.#recent.length - 1);
    const recent = this.#recent[place];
    if (recent?.region === region) return recent;
    const e = this.#entries.get(region);
    if (e !== undefined) this.#recent[place] = e;
    return e;
  }

  #newEntry(region: number): Entry {
    const e = this.#spare.pop() ?? new Entry();
    e.region = region;
    e.pending = 0;
    e.durable = false;
    e.endSeq = 0;
    this.#entries.set(region, e);
    if (this.#entries.size > this.#recent.length && this.#recent.length < RECENT_MAX) {
      this.#recent = new Array<Entry | undefined>(this.#recent.length * 2).fill(undefined);
    }
    return e;
  }

  #mark(first: number, last: number): void {
    if (first === last) {
      this.#marks.set(first);
      this.#stale.clear(first);
      if (!this.#durable.get(first) && !this.#flight.map.get(first)) this.#fresh.add(first);
      return;
    }
    this.#marks.setRange(first, last);
    this.#stale.clearRange(first, last);
    this.#fresh.addRange(first, last);
    for (const map of [this.#durable, this.#flight.map])
      for (const run of runsWithin(map, first, last)) this.#fresh.map.clearRange(run.first, run.first + run.length - 1);
  }

  #unmark(first: number, last: number): void {
    this.#marks.clearRange(first, last);
    this.#fresh.map.clearRange(first, last);
    if (this.#exact) {
      this.#stale.setRange(first, last);
    } else {
      this.#durable.clearRange(first, last);
      this.#flight.map.clearRange(first, last);
    }
  }
}

function* runsWithin(map: DirtyBitmap, first: number, last: number): Generator<Run, void, undefined> {
  const lengthMax = last - first + 1;
  for (
    let run = map.nextDirtyRun(first, lengthMax, last + 1);
    run !== undefined;
    run = map.nextDirtyRun(run.first + run.length, lengthMax, last + 1)
  ) {
    yield run;
  }
}
