/**
 * The bytes of one simulated file: what a reader sees now, and what a power failure may leave.
 *
 *   pages     4 KiB each, never changed in place: a write makes a new page
 *   dirty     for each page with unsynced writes: the durable page, and every version since, with the sectors it wrote
 *
 *   durable page   |a a a a a a a a|
 *   version 1      |. 1 1 . . . . .|   after a power failure each 512-byte sector holds the durable bytes or
 *   version 2      |. . 2 2 . . . .|   those of any one of its versions, each sector by itself
 *
 * Invariants:
 * - `commit(n)` makes versions up to number n durable, except those that a failed sync has doomed: like a page cache that
 *   marks pages clean after a write error, no later sync saves them, and only writing the sector again does
 * - a file that was never written costs nothing, however large it is
 */
import type { Extent } from '../types.ts';
import { FileSizes } from './file-sizes.ts';
import {
  ALL_SECTORS,
  countSectors,
  drawOutcome,
  overlay,
  PAGE_BYTES,
  sectorMask,
  SECTORS_PER_PAGE,
  survivingVersion,
  type Version,
} from './sectors.ts';
import type { Stream } from './seed.ts';
import { copyOf, newBytes } from './slab.ts';

/** More versions of one page than this are joined: fewer outcomes are explored, none becomes wrong. */
const VERSIONS_MAX = 8;
const ZERO_PAGE = new Uint8Array(PAGE_BYTES);

interface DirtyPage {
  durable: Uint8Array | undefined;
  versions: Version[];
}

export interface PowerFailure {
  sectorsKept: number;
  sectorsLost: number;
  pagesTorn: number;
}

export class FileContent {
  readonly #pages = new Map<number, Uint8Array>();
  readonly #dirty = new Map<number, DirtyPage>();
  readonly #sizes: FileSizes;
  #number = 0;
  #versions = 0;
  #anyDoomed = false;
  #durableStamp: object = {};
  /** Numbers that a sync in flight covers up to: versions on its two sides are never joined. */
  readonly #barriers: number[] = [];

  /** A new file's size is durable with the file itself. */
  constructor(sizeBytes = 0) {
    this.#sizes = new FileSizes(sizeBytes);
  }

  get sizeBytes(): number {
    return this.#sizes.now;
  }

  /** Number of the newest change. */
  get number(): number {
    return this.#number;
  }

  /** A sync begins: the number of the newest change, which it covers. Ends with `endSync`. */
  beginSync(): number {
    this.#barriers.push(this.#number);
    return this.#number;
  }

  endSync(began: number): void {
    const at = this.#barriers.indexOf(began);
    if (at >= 0) this.#barriers.splice(at, 1);
  }

  /** Pages kept only because they are not durable. */
  get unsyncedPages(): number {
    return this.#versions;
  }

  isAllocated(pageNumber: number): boolean {
    return this.#pages.has(pageNumber);
  }

  /** Bytes read; 0 at the end. */
  read(into: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(into.length, this.#sizes.now - position));
    let done = 0;
    while (done < length) {
      const at = position + done;
      const inPage = at % PAGE_BYTES;
      const n = Math.min(PAGE_BYTES - inPage, length - done);
      const page = this.#pages.get((at - inPage) / PAGE_BYTES);
      if (page === undefined) into.fill(0, done, done + n);
      else into.set(inPage === 0 && n === PAGE_BYTES ? page : page.subarray(inPage, inPage + n), done);
      done += n;
    }
    return length;
  }

  /** Another object after each change of what is durable, so that whoever has read it need not read it again. */
  get durableStamp(): object {
    return this.#durableStamp;
  }

  get durableSizeBytes(): number {
    return this.#sizes.durable;
  }

  /** What a power failure that keeps nothing unsynced would leave, from `offset` on, to the end or at most so many bytes. */
  readDurable(offset = 0, lengthMax = Infinity): Uint8Array {
    const out = new Uint8Array(Math.max(0, Math.min(lengthMax, this.#sizes.durable - offset)));
    for (let done = 0; done < out.length; ) {
      const inPage = (offset + done) % PAGE_BYTES;
      const n = Math.min(PAGE_BYTES - inPage, out.length - done);
      const page = this.#page((offset + done - inPage) / PAGE_BYTES, true);
      if (page !== undefined) out.set(page.subarray(inPage, inPage + n), done);
      done += n;
    }
    return out;
  }

  /** Offset of the first page that differs, or where the shorter ends; -1: equal. */
  firstDifference(other: FileContent): number {
    const end = this.#sizes.now === other.#sizes.now ? Infinity : Math.min(this.#sizes.now, other.#sizes.now);
    const first = Math.min(end, (this.differingPages(other, false)[0] ?? Infinity) * PAGE_BYTES);
    return first === Infinity ? -1 : first;
  }

  /** Numbers of the pages that differ, ascending: as they are now, or as a power failure that keeps nothing unsynced would leave them. */
  differingPages(other: FileContent, durable: boolean): number[] {
    const out: number[] = [];
    const compare = (pageNumber: number): void => {
      const mine = this.#page(pageNumber, durable);
      const theirs = other.#page(pageNumber, durable);
      if (mine === theirs) return;
      if (Buffer.compare(mine ?? ZERO_PAGE, theirs ?? ZERO_PAGE) !== 0) out.push(pageNumber);
      // Nothing is changed in place, so both may keep one page: the next comparison sees at once that it is the same.
      else if (mine !== undefined && theirs !== undefined) other.#share(pageNumber, mine, durable);
    };
    for (const n of this.#pages.keys()) compare(n);
    for (const n of other.#pages.keys()) if (!this.#pages.has(n)) compare(n);
    if (durable) {
      // Holes now, but not on the platter.
      const isHole = (n: number): boolean => !this.#pages.has(n) && !other.#pages.has(n);
      for (const n of this.#dirty.keys()) if (isHole(n)) compare(n);
      for (const n of other.#dirty.keys()) if (isHole(n) && !this.#dirty.has(n)) compare(n);
    }
    return out.sort((x, y) => x - y);
  }

  #page(pageNumber: number, durable: boolean): Uint8Array | undefined {
    const dirty = durable && this.#dirty.size > 0 ? this.#dirty.get(pageNumber) : undefined;
    return dirty === undefined ? this.#pages.get(pageNumber) : dirty.durable;
  }

  /** Takes a page of the same bytes in place of its own. */
  #share(pageNumber: number, page: Uint8Array, durable: boolean): void {
    const dirty = durable ? this.#dirty.get(pageNumber) : undefined;
    if (dirty === undefined) this.#pages.set(pageNumber, page);
    else dirty.durable = page;
  }

  write(from: Uint8Array, position: number): void {
    if (from.length === 0) return;
    this.#number += 1;
    let done = 0;
    while (done < from.length) {
      const at = position + done;
      const inPage = at % PAGE_BYTES;
      const n = Math.min(PAGE_BYTES - inPage, from.length - done);
      const pageNumber = (at - inPage) / PAGE_BYTES;
      const page = this.#copy(pageNumber, n);
      page.set(from.subarray(done, done + n), inPage);
      this.#change(pageNumber, page, sectorMask(inPage, n));
      done += n;
    }
    if (position + from.length > this.#sizes.now) this.#resize(position + from.length);
  }

  /** Reads as zero afterwards, without changing the size; `punch` gives whole pages back. */
  zero(offset: number, length: number, punch: boolean): void {
    const end = Math.min(offset + length, this.#sizes.now);
    if (end <= offset) return;
    this.#number += 1;
    const first = Math.floor(offset / PAGE_BYTES);
    const last = Math.floor((end - 1) / PAGE_BYTES);
    for (const pageNumber of punch ? this.#allocatedWithin(first, last) : range(first, last)) {
      const from = Math.max(offset - pageNumber * PAGE_BYTES, 0);
      const to = Math.min(end - pageNumber * PAGE_BYTES, PAGE_BYTES);
      // The last page of a file is whole when only the file's end cuts it short.
      const whole = from === 0 && (to === PAGE_BYTES || end === this.#sizes.now);
      if (whole) {
        this.#change(pageNumber, punch ? undefined : ZERO_PAGE, ALL_SECTORS);
      } else {
        const page = this.#copy(pageNumber, 0);
        page.fill(0, from, to);
        this.#change(pageNumber, page, sectorMask(from, to - from));
      }
    }
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.#sizes.now) this.zero(sizeBytes, this.#sizes.now - sizeBytes, true);
    this.#number += 1;
    this.#resize(sizeBytes);
  }

  /** Contiguous from `offset`, at most `extentsMax`; ends at or before the end of the range and of the file. */
  extents(offset: number, length: number, extentsMax: number): Extent[] {
    const end = Math.min(offset + length, this.#sizes.now);
    const out: Extent[] = [];
    if (end <= offset) return out;
    const add = (from: number, to: number, hole: boolean): void => {
      const start = Math.max(from, offset);
      const stop = Math.min(to, end);
      if (stop <= start) return;
      const previous = out.at(-1);
      if (previous?.hole === hole) previous.length += stop - start;
      else out.push({ offset: start, length: stop - start, hole, zero: hole });
    };
    let at = offset;
    for (const pageNumber of this.#allocatedWithin(Math.floor(offset / PAGE_BYTES), Math.floor((end - 1) / PAGE_BYTES))) {
      add(at, pageNumber * PAGE_BYTES, true);
      add(pageNumber * PAGE_BYTES, (pageNumber + 1) * PAGE_BYTES, false);
      at = (pageNumber + 1) * PAGE_BYTES;
      if (out.length > extentsMax) return out.slice(0, extentsMax);
    }
    add(at, end, true);
    return out.slice(0, extentsMax);
  }

  /** A sync that covers the changes up to `number` came back well. */
  commit(number: number): void {
    if (this.#dirty.size === 0 && this.#sizes.synced) return;
    this.#durableStamp = {};
    if (number >= this.#number && !this.#anyDoomed) {
      this.#dirty.clear();
      this.#versions = 0;
      this.#sizes.commit(number);
      return;
    }
    for (const [pageNumber, dirty] of this.#dirty) {
      for (const version of dirty.versions) {
        if (version.number > number) break;
        const good = version.sectors & ~version.doomed;
        if (good === 0) continue;
        dirty.durable = overlay(dirty.durable, version.page, good);
        for (const earlier of dirty.versions) {
          if (earlier.number > version.number) break;
          earlier.sectors &= ~good;
          earlier.doomed &= ~good;
        }
      }
      this.#tidy(pageNumber, dirty);
    }
    this.#sizes.commit(number);
  }

  /** A sync failed: of the changes up to `number` some will never be durable, whatever a later sync says. Counts sectors. */
  doom(number: number, stream: Stream): number {
    const share = stream.pick([0.5, 1, 1]);
    this.#anyDoomed = true;
    let sectors = 0;
    for (const dirty of this.#dirty.values()) {
      for (const version of dirty.versions) {
        if (version.number > number || !stream.coin(share)) continue;
        sectors += countSectors(version.sectors & ~version.doomed);
        version.doomed = version.sectors;
      }
    }
    return sectors;
  }

  /** Power is lost: every unsynced sector falls back to what the seed says. The file is clean afterwards. */
  powerFail(stream: Stream): PowerFailure {
    const result: PowerFailure = { sectorsKept: 0, sectorsLost: 0, pagesTorn: 0 };
    const outcome = drawOutcome(stream, this.#number);
    this.#durableStamp = {};
    for (const [pageNumber, dirty] of this.#dirty) {
      let page = dirty.durable;
      let kept = 0;
      let lost = 0;
      for (let sector = 0; sector < SECTORS_PER_PAGE; sector += 1) {
        const bit = 1 << sector;
        const versions = dirty.versions.filter((v) => (v.sectors & bit) !== 0);
        if (versions.length === 0) continue;
        const survivor = survivingVersion(versions, bit, outcome, stream);
        if (survivor !== undefined) page = overlay(page, survivor.page, bit);
        if (survivor === versions.at(-1)) kept += 1;
        else lost += 1;
      }
      result.sectorsKept += kept;
      result.sectorsLost += lost;
      if (kept > 0 && lost > 0) result.pagesTorn += 1;
      if (page === undefined) this.#pages.delete(pageNumber);
      else this.#pages.set(pageNumber, page);
    }
    this.#dirty.clear();
    this.#versions = 0;
    this.#anyDoomed = false;
    this.#barriers.length = 0;
    this.#cutTo(this.#sizes.surviving(outcome, stream));
    return result;
  }

  /** What lies beyond the surviving end of the file is gone: a later extension reads zeroes there. */
  #cutTo(sizeBytes: number): void {
    this.#sizes.settle(sizeBytes);
    for (const [pageNumber, page] of this.#pages) {
      const from = sizeBytes - pageNumber * PAGE_BYTES;
      if (from <= 0) {
        this.#pages.delete(pageNumber);
      } else if (from < PAGE_BYTES) {
        const cut = page.slice();
        cut.fill(0, from);
        this.#pages.set(pageNumber, cut);
      }
    }
  }

  #resize(sizeBytes: number): void {
    this.#sizes.change(this.#number, sizeBytes, (earlier, later) => this.#joinable(earlier, later));
  }

  /** A page that may be filled: a copy of the present one, or fresh when all of it will be overwritten. */
  #copy(pageNumber: number, bytesToWrite: number): Uint8Array {
    const page = this.#pages.get(pageNumber);
    return page === undefined || bytesToWrite === PAGE_BYTES ? newBytes(PAGE_BYTES) : copyOf(page);
  }

  /** Puts a new page in place, `undefined` for a hole, and remembers what was durable before it. */
  #change(pageNumber: number, page: Uint8Array | undefined, sectors: number): void {
    let dirty = this.#dirty.get(pageNumber);
    if (dirty === undefined) {
      dirty = { durable: this.#pages.get(pageNumber), versions: [] };
      this.#dirty.set(pageNumber, dirty);
    }
    dirty.versions.push({ number: this.#number, sectors, doomed: 0, page: page ?? ZERO_PAGE });
    this.#versions += 1;
    if (dirty.versions.length > VERSIONS_MAX) this.#join(dirty);
    if (page === undefined) this.#pages.delete(pageNumber);
    else this.#pages.set(pageNumber, page);
  }

  /** Joins two neighbours: the later one's page also holds what the earlier wrote. */
  #join(dirty: DirtyPage): void {
    const at = dirty.versions.findIndex((v, i) => this.#joinable(v.number, dirty.versions[i + 1]?.number));
    const earlier = dirty.versions[at];
    const later = dirty.versions[at + 1];
    if (earlier === undefined || later === undefined) return;
    later.doomed |= earlier.doomed & ~later.sectors;
    later.sectors |= earlier.sectors;
    dirty.versions.splice(at, 1);
    this.#versions -= 1;
  }

  #joinable(earlier: number, later: number | undefined): boolean {
    if (later === undefined) return false;
    for (const barrier of this.#barriers) if (barrier >= earlier && barrier < later) return false;
    return true;
  }

  #tidy(pageNumber: number, dirty: DirtyPage): void {
    const before = dirty.versions.length;
    dirty.versions = dirty.versions.filter((v) => v.sectors !== 0);
    this.#versions -= before - dirty.versions.length;
    if (dirty.versions.length === 0) this.#dirty.delete(pageNumber);
  }

  /** Allocated pages of a range, ascending. */
  #allocatedWithin(first: number, last: number): Iterable<number> {
    if (last - first < this.#pages.size * 4) {
      return [...range(first, last)].filter((p) => this.#pages.has(p));
    }
    return [...this.#pages.keys()].filter((p) => p >= first && p <= last).sort((a, b) => a - b);
  }
}

function* range(first: number, last: number): Iterable<number> {
  for (let i = first; i <= last; i += 1) yield i;
}
