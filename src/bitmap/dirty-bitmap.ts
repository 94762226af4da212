/**
 * A bitmap of regions: set means "may differ". One bit a region, up to 2^34 regions.
 *
 *   regions  0 ........ 32767 | 32768 ....... | ...
 *   counts   [       0       ][     17       ][    32768     ]    one Uint16 a page, so skipping pages reads no bits
 *   pages        (absent)        4096 bytes      shared FULL       sparse-bitfield over our page table
 *   changed  one bit a *window* of 512 regions, for whoever writes the map to disk
 *
 * Invariants:
 * - counts[p] is the number of set bits of page p, count is their sum
 * - a page without set bits is absent; one of 32768 set bits is the one shared FULL page, which is copied before a bit of
 *   it is cleared; so memory follows the number of *mixed* pages and whole-device marks cost none
 * - bit 0 of a page is 0x80 of its first byte, as sparse-bitfield has it
 *
 * The library accepts any index, so indices are checked here; its own pager is not used (page-table.ts says why).
 */
import BitField from 'sparse-bitfield';
import { clearBit, clearBits, nextClearBit, nextSetBit, PAGE_BITS, PAGE_BYTES, popCount, runCount, setBit, setBits } from './page-bits.ts';
import { PageTable } from './page-table.ts';
import { checkRegions, type RegionMap, RegionRangeError } from './regions.ts';

/** Regions that change tracking lumps together. */
export const WINDOW_REGIONS = 512;
const FULL_PAGE = Buffer.alloc(PAGE_BYTES, 0xff);
/** Pages of zeroes that were given back: a map of what a flush is for is filled and emptied with each. */
const ZERO_PAGES_MAX = 256;
const zeroPages: Buffer[] = [];

function keepZeroes(page: Buffer): void {
  if (zeroPages.length < ZERO_PAGES_MAX) zeroPages.push(page);
}

export interface Run {
  first: number;
  length: number;
}

export class DirtyBitmap {
  readonly regionCount: number;
  readonly #pages = new PageTable();
  readonly #bits = new BitField({ pageSize: PAGE_BYTES, pages: this.#pages });
  readonly #counts: Uint16Array;
  #count = 0;
  #version = 0;
  #changed: DirtyBitmap | undefined;
  #taken: DirtyBitmap | undefined;
  readonly #tracking: boolean;

  /** `trackChanges`: remember which windows changed, for `takeChanges`. */
  constructor(regionCount: number, o: { trackChanges?: boolean } = {}) {
    if (!Number.isInteger(regionCount) || regionCount < 1 || regionCount > 2 ** 34) {
      throw new RegionRangeError(`a bitmap of ${String(regionCount)} regions is not possible`);
    }
    this.regionCount = regionCount;
    this.#counts = new Uint16Array(Math.ceil(regionCount / PAGE_BITS));
    this.#tracking = o.trackChanges === true;
  }

  /** Number of set bits; O(1). */
  get count(): number {
    return this.#count;
  }

  /** Grows with every call that changed a bit. */
  get version(): number {
    return this.#version;
  }

  get(region: number): boolean {
    checkRegions(region, region, this.regionCount);
    const count = this.#counts[Math.floor(region / PAGE_BITS)] ?? 0;
    return count > 0 && (count === PAGE_BITS || this.#bits.get(region));
  }

  /** True when every region of first..last is set. */
  coversRange(first: number, last: number): boolean {
    checkRegions(first, last, this.regionCount);
    if (first === last) return this.get(first);
    return this.#clearFrom(first, last + 1) === last + 1;
  }

  /** True when the bit was clear. On the hot path, as `clear` is. */
  set(region: number): boolean {
    checkRegions(region, region, this.regionCount);
    const p = Math.floor(region / PAGE_BITS);
    if (this.#counts[p] === PAGE_BITS) return false;
    const added = setBit(this.#writablePage(p), region % PAGE_BITS);
    if (added) this.#settle(p, 1, region, region);
    return added;
  }

  /** True when the bit was set. */
  clear(region: number): boolean {
    checkRegions(region, region, this.regionCount);
    const p = Math.floor(region / PAGE_BITS);
    const count = this.#counts[p] ?? 0;
    if (count === 0) return false;
    const page = this.#writablePage(p);
    if (!clearBit(page, region % PAGE_BITS)) return false;
    if (count === 1) keepZeroes(page);
    this.#settle(p, -1, region, region);
    return true;
  }

  /** Sets regions first..last; how many were clear before. */
  setRange(first: number, last: number): number {
    checkRegions(first, last, this.regionCount);
    let added = 0;
    for (let p = Math.floor(first / PAGE_BITS); p * PAGE_BITS <= last; p += 1) {
      const base = p * PAGE_BITS;
      added += this.#setInPage(p, Math.max(first - base, 0), Math.min(last - base, PAGE_BITS - 1));
    }
    return added;
  }

  /** Clears regions first..last; how many were set before. */
  clearRange(first: number, last: number): number {
    checkRegions(first, last, this.regionCount);
    let removed = 0;
    for (let p = Math.floor(first / PAGE_BITS); p * PAGE_BITS <= last; p += 1) {
      const base = p * PAGE_BITS;
      removed += this.#clearInPage(p, Math.max(first - base, 0), Math.min(last - base, PAGE_BITS - 1));
    }
    return removed;
  }

  setAll(): number {
    return this.setRange(0, this.regionCount - 1);
  }

  clearAll(): number {
    const removed = this.#count;
    if (removed === 0) return 0;
    for (let p = 0; p < this.#counts.length; p += 1) {
      const count = this.#counts[p] ?? 0;
      if (count === 0) continue;
      const page = this.#page(p);
      if (page !== undefined && page !== FULL_PAGE) keepZeroes(page.fill(0));
      this.#settle(p, -count, p * PAGE_BITS, Math.min((p + 1) * PAGE_BITS, this.regionCount) - 1);
    }
    return removed;
  }

  /** The first set bit at or after `from` and before `end`; `end` when there is none. */
  nextSet(from: number, end: number = this.regionCount): number {
    this.#checkEnds(from, end);
    return this.#setFrom(from, end);
  }

  /** The same of a clear one. */
  nextClear(from: number, end: number = this.regionCount): number {
    this.#checkEnds(from, end);
    return this.#clearFrom(from, end);
  }

  /**
   * The first run of set bits at or after `from` and before `end`: at most `lengthMax` long, cut at `end`. A `from` inside
   * a run yields the rest of that run. `from` may equal regionCount.
   */
  nextDirtyRun(from: number, lengthMax: number = this.regionCount, end: number = this.regionCount): Run | undefined {
    if (!(lengthMax >= 1)) throw new RegionRangeError(`no run has at most ${String(lengthMax)} regions`);
    this.#checkEnds(from, end);
    const first = this.#setFrom(from, end);
    if (first === end) return undefined;
    return { first, length: this.#clearFrom(first, Math.min(end, first + lengthMax)) - first };
  }

  /** Maximal runs of set bits, ascending. A bit changed meanwhile is seen when it lies ahead. */
  *runs(): Generator<Run, void, undefined> {
    for (let run = this.nextDirtyRun(0); run !== undefined; run = this.nextDirtyRun(run.first + run.length)) yield run;
  }

  /** Takes over the other's set bits; how many were clear here before. */
  or(other: DirtyBitmap): number {
    return this.#eachPageOf(other, (p, first, last) => this.#setInPage(p, first, last));
  }

  /** Clears what the other has set; how many were set here before. */
  andNot(other: DirtyBitmap): number {
    return this.#eachPageOf(other, (p, first, last) => this.#clearInPage(p, first, last));
  }

  /** An independent copy, without change tracking. */
  clone(): DirtyBitmap {
    const copy = new DirtyBitmap(this.regionCount);
    copy.or(this);
    return copy;
  }

  equals(other: DirtyBitmap): boolean {
    if (other.regionCount !== this.regionCount || other.#count !== this.#count) return false;
    for (let p = 0; p < this.#counts.length; p += 1) {
      if (this.#counts[p] !== other.#counts[p]) return false;
      const mine = this.#page(p);
      const its = other.#page(p);
      if (mine !== its && (mine === undefined || its === undefined || !mine.equals(its))) return false;
    }
    return true;
  }

  /** Bytes of the device under set bits; `map` must have as many regions. */
  dirtyBytes(map: RegionMap): number {
    if (map.regionCount !== this.regionCount) {
      throw new RegionRangeError(`a bitmap of ${String(this.regionCount)} regions does not belong to a device of ${String(map.regionCount)}`);
    }
    const last = this.regionCount - 1;
    return this.#count * map.regionBytes - (this.get(last) ? map.regionBytes - map.lengthOf(last, last) : 0);
  }

  // ------------------------------------------------------------------------------------------ for the bitmap file

  get windowCount(): number {
    return Math.ceil(this.regionCount / WINDOW_REGIONS);
  }

  get hasChanges(): boolean {
    return this.#changed !== undefined && this.#changed.count > 0;
  }

  /** The windows that may have changed since the last call, valid until the next one; undefined when none did. */
  takeChanges(): DirtyBitmap | undefined {
    if (!this.hasChanges) return undefined;
    // Two maps take turns, so that a flush makes none.
    [this.#changed, this.#taken] = [this.#taken, this.#changed];
    this.#changed?.clearAll();
    return this.#taken;
  }

  /** Puts the bits of one window into `into`, from `at` on, bit 0 is 0x80, and answers how many bytes; the last window may be short, padded with zeroes. */
  copyWindow(window: number, into: Buffer, at: number): number {
    const first = window * WINDOW_REGIONS;
    checkRegions(first, first, this.regionCount);
    const from = (first % PAGE_BITS) / 8;
    const length = Math.ceil(Math.min(WINDOW_REGIONS, this.regionCount - first) / 8);
    const page = this.#page(Math.floor(first / PAGE_BITS));
    if (page === undefined) into.fill(0, at, at + length);
    else page.copy(into, at, from, from + length);
    return length;
  }

  /** How many runs of set bits it has. */
  windowRunCount(window: number): number {
    const first = window * WINDOW_REGIONS;
    checkRegions(first, first, this.regionCount);
    const page = this.#page(Math.floor(first / PAGE_BITS));
    return page === undefined ? 0 : runCount(page, first % PAGE_BITS, WINDOW_REGIONS);
  }

  /** Puts its runs into `into`, two numbers each: bits since the end of the one before, and its length. How many; more than `into` has room for: not all. */
  windowRuns(window: number, into: Uint16Array): number {
    const first = window * WINDOW_REGIONS;
    checkRegions(first, first, this.regionCount);
    const page = this.#page(Math.floor(first / PAGE_BITS));
    if (page === undefined) return 0;
    const begin = first % PAGE_BITS;
    const end = Math.min(begin + WINDOW_REGIONS, PAGE_BITS, begin + this.regionCount - first);
    let runs = 0;
    for (let at = begin; ; runs += 1) {
      const set = at < end ? nextSetBit(page, at) : end;
      if (set >= end) return runs;
      if (2 * runs >= into.length) return runs + 1;
      into[2 * runs] = set - at;
      at = Math.min(nextClearBit(page, set), end);
      into[2 * runs + 1] = at - set;
    }
  }

  /** Sets the bits that `bytes` (as from copyWindow) has set. RegionRangeError for a wrong length or a bit past the end. */
  orWindowBytes(window: number, bytes: Uint8Array): number {
    const first = window * WINDOW_REGIONS;
    const length = Math.min(WINDOW_REGIONS, this.regionCount - first);
    checkRegions(first, first + length - 1, this.regionCount);
    const spare = bytes.length * 8 - length;
    if (spare < 0 || spare > 7 || ((bytes[bytes.length - 1] ?? 0) & (2 ** spare - 1)) !== 0) {
      throw new RegionRangeError(`window ${String(window)} has ${String(length)} regions, not the ones given`);
    }
    const p = Math.floor(first / PAGE_BITS);
    const page = this.#writablePage(p);
    const at = (first % PAGE_BITS) / 8;
    let added = 0;
    for (let i = 0; i < bytes.length; i += 1) {
      const old = page[at + i] ?? 0;
      const fresh = (bytes[i] ?? 0) & ~old;
      added += popCount(fresh);
      page[at + i] = old | fresh;
    }
    this.#settle(p, added, first, first + length - 1);
    return added;
  }

  // ------------------------------------------------------------------------------------------------------- pages

  #checkEnds(from: number, end: number): void {
    if (Number.isInteger(from) && from >= 0 && from <= this.regionCount && end <= this.regionCount) return;
    throw new RegionRangeError(`${String(from)} to ${String(end)} is not within ${String(this.regionCount)} regions`);
  }

  #page(p: number): Buffer | undefined {
    return this.#pages.get(p, true)?.buffer;
  }

  #writablePage(p: number): Buffer {
    const old = this.#page(p);
    if (old !== undefined && old !== FULL_PAGE) return old;
    const page = old === undefined ? (zeroPages.pop() ?? Buffer.alloc(PAGE_BYTES)) : Buffer.alloc(PAGE_BYTES, 0xff);
    this.#pages.set(p, page);
    return page;
  }

  /** Books `delta` set bits for page p and restores the page invariants; first..last are the regions touched. */
  #settle(p: number, delta: number, first: number, last: number): void {
    const count = (this.#counts[p] ?? 0) + delta;
    this.#counts[p] = count;
    if (count === 0) this.#pages.set(p, undefined);
    else if (count === PAGE_BITS) this.#pages.set(p, FULL_PAGE);
    if (delta === 0) return;
    this.#count += delta;
    this.#version += 1;
    if (!this.#tracking) return;
    this.#changed ??= new DirtyBitmap(this.windowCount);
    if (first === last) this.#changed.set(Math.floor(first / WINDOW_REGIONS));
    else this.#changed.setRange(Math.floor(first / WINDOW_REGIONS), Math.floor(last / WINDOW_REGIONS));
  }

  #setInPage(p: number, first: number, last: number): number {
    const count = this.#counts[p] ?? 0;
    if (count === PAGE_BITS) return 0;
    const whole = first === 0 && last === PAGE_BITS - 1;
    const added = whole ? PAGE_BITS - count : setBits(this.#writablePage(p), first, last);
    this.#settle(p, added, p * PAGE_BITS + first, p * PAGE_BITS + last);
    return added;
  }

  #clearInPage(p: number, first: number, last: number): number {
    const count = this.#counts[p] ?? 0;
    if (count === 0) return 0;
    const whole = first === 0 && last === PAGE_BITS - 1;
    const removed = whole ? count : this.#clearBits(p, count, first, last);
    this.#settle(p, -removed, p * PAGE_BITS + first, p * PAGE_BITS + last);
    return removed;
  }

  #clearBits(p: number, count: number, first: number, last: number): number {
    const page = this.#writablePage(p);
    const removed = clearBits(page, first, last);
    // Not one bit of it is left, and with that it goes.
    if (removed === count) keepZeroes(page);
    return removed;
  }

  #eachPageOf(other: DirtyBitmap, act: (p: number, first: number, last: number) => number): number {
    if (other.regionCount !== this.regionCount) {
      throw new RegionRangeError(`bitmaps of ${String(this.regionCount)} and ${String(other.regionCount)} regions do not combine`);
    }
    let changed = 0;
    for (let p = 0; p < other.#counts.length; p += 1) {
      const page = other.#counts[p] === 0 ? undefined : other.#page(p);
      if (page === undefined) continue;
      if (page === FULL_PAGE) {
        changed += act(p, 0, PAGE_BITS - 1);
        continue;
      }
      for (let first = nextSetBit(page, 0); first < PAGE_BITS; ) {
        const end = nextClearBit(page, first);
        changed += act(p, first, end - 1);
        if (end === PAGE_BITS) break;
        first = nextSetBit(page, end);
      }
    }
    return changed;
  }

  /** First set region at or after `from`; `end` when there is none before it. */
  #setFrom(from: number, end: number): number {
    let at = from;
    while (at < end) {
      const p = Math.floor(at / PAGE_BITS);
      const page = this.#counts[p] === 0 ? undefined : this.#page(p);
      const bit = page === undefined ? PAGE_BITS : nextSetBit(page, at % PAGE_BITS);
      if (bit < PAGE_BITS) return Math.min(p * PAGE_BITS + bit, end);
      at = (p + 1) * PAGE_BITS;
    }
    return end;
  }

  /** First clear region at or after `from`; `end` when there is none before it. */
  #clearFrom(from: number, end: number): number {
    let at = from;
    while (at < end) {
      const p = Math.floor(at / PAGE_BITS);
      const page = this.#page(p);
      const bit = page === undefined ? at % PAGE_BITS : page === FULL_PAGE ? PAGE_BITS : nextClearBit(page, at % PAGE_BITS);
      if (bit < PAGE_BITS) return Math.min(p * PAGE_BITS + bit, end);
      at = (p + 1) * PAGE_BITS;
    }
    return end;
  }
}
