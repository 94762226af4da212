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
import {
  ALL_SECTORS,
  countSectors,
  drawOutcome,
  keepsWrite,
  type Outcome,
  overlay,
  PAGE_BYTES,
  sectorMask,
  SECTORS_PER_PAGE,
  survivingVersion,
  type Version,
} from './sectors.ts';
import type { Stream } from './seed.ts';

/** More versions of one page than this are joined: fewer outcomes are explored, none becomes wrong. */
const VERSIONS_MAX = 8;
const SIZES_MAX = 64;
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
  #unsyncedSizes: { number: number; sizeBytes: number }[] = [];
  #sizeBytes: number;
  #durableSizeBytes: number;
  #number = 0;
  #versions = 0;
  #anyDoomed = false;
  /** Numbers that a sync in flight covers up to: versions on its two sides are never joined. */
  readonly #barriers: number[] = [];

  /** A new file's size is durable with the file itself. */
  constructor(sizeBytes = 0) {
    this.#sizeBytes = sizeBytes;
    this.#durableSizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
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
    const length = Math.max(0, Math.min(into.length, this.#sizeBytes - position));
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

  /** What a power failure that keeps nothing unsynced would leave: the whole content. */
  readDurable(): Uint8Array {
    const out = new Uint8Array(this.#durableSizeBytes);
    const put = (pageNumber: number, page: Uint8Array | undefined): void => {
      const at = pageNumber * PAGE_BYTES;
      if (at >= out.length) return;
      if (page === undefined) out.fill(0, at, at + PAGE_BYTES);
      else out.set(page.subarray(0, Math.min(PAGE_BYTES, out.length - at)), at);
    };
    for (const [pageNumber, page] of this.#pages) put(pageNumber, page);
    for (const [pageNumber, dirty] of this.#dirty) put(pageNumber, dirty.durable);
    return out;
  }

  /** Offset of the first page that differs, or where the shorter ends; -1: equal. */
  firstDifference(other: FileContent): number {
    const numbers = new Set([...this.#pages.keys(), ...other.#pages.keys()]);
    let first = this.#sizeBytes === other.#sizeBytes ? Infinity : Math.min(this.#sizeBytes, other.#sizeBytes);
    for (const pageNumber of numbers) {
      const mine = this.#pages.get(pageNumber) ?? ZERO_PAGE;
      const theirs = other.#pages.get(pageNumber) ?? ZERO_PAGE;
      if (mine !== theirs && pageNumber * PAGE_BYTES < first && Buffer.compare(mine, theirs) !== 0) first = pageNumber * PAGE_BYTES;
    }
    return first === Infinity ? -1 : first;
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
    if (position + from.length > this.#sizeBytes) this.#resize(position + from.length);
  }

  /** Reads as zero afterwards, without changing the size; `punch` gives whole pages back. */
  zero(offset: number, length: number, punch: boolean): void {
    const end = Math.min(offset + length, this.#sizeBytes);
    if (end <= offset) return;
    this.#number += 1;
    const first = Math.floor(offset / PAGE_BYTES);
    const last = Math.floor((end - 1) / PAGE_BYTES);
    for (const pageNumber of punch ? this.#allocatedWithin(first, last) : range(first, last)) {
      const from = Math.max(offset - pageNumber * PAGE_BYTES, 0);
      const to = Math.min(end - pageNumber * PAGE_BYTES, PAGE_BYTES);
      // The last page of a file is whole when only the file's end cuts it short.
      const whole = from === 0 && (to === PAGE_BYTES || end === this.#sizeBytes);
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
    if (sizeBytes < this.#sizeBytes) this.zero(sizeBytes, this.#sizeBytes - sizeBytes, true);
    this.#number += 1;
    this.#resize(sizeBytes);
  }

  /** Contiguous from `offset`, at most `extentsMax`; ends at or before the end of the range and of the file. */
  extents(offset: number, length: number, extentsMax: number): Extent[] {
    const end = Math.min(offset + length, this.#sizeBytes);
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
    if (number >= this.#number && !this.#anyDoomed) {
      this.#dirty.clear();
      this.#versions = 0;
      this.#unsyncedSizes = [];
      this.#durableSizeBytes = this.#sizeBytes;
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
    const sizes = this.#unsyncedSizes.filter((s) => s.number <= number);
    this.#durableSizeBytes = sizes.at(-1)?.sizeBytes ?? this.#durableSizeBytes;
    this.#unsyncedSizes = this.#unsyncedSizes.filter((s) => s.number > number);
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
    this.#cutTo(this.#survivingSize(outcome, stream));
    return result;
  }

  #survivingSize(outcome: Outcome, stream: Stream): number {
    const sizes = [this.#durableSizeBytes, ...this.#unsyncedSizes.map((s) => s.sizeBytes)];
    const last = sizes.at(-1) ?? this.#durableSizeBytes;
    switch (outcome.kind) {
      case 'lost':
        return this.#durableSizeBytes;
      case 'kept':
        return last;
      case 'until':
        return this.#unsyncedSizes.filter((s) => s.number <= outcome.number).at(-1)?.sizeBytes ?? this.#durableSizeBytes;
      case 'reordered':
        return this.#unsyncedSizes.filter((s) => keepsWrite(s.number, outcome.salt)).at(-1)?.sizeBytes ?? this.#durableSizeBytes;
      case 'torn':
        return stream.pick(sizes);
    }
  }

  /** What lies beyond the surviving end of the file is gone: a later extension reads zeroes there. */
  #cutTo(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes;
    this.#durableSizeBytes = sizeBytes;
    this.#unsyncedSizes = [];
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
    this.#sizeBytes = sizeBytes;
    this.#unsyncedSizes.push({ number: this.#number, sizeBytes });
    if (this.#unsyncedSizes.length > SIZES_MAX) {
      const drop = this.#unsyncedSizes.findIndex((s, i) => this.#joinable(s.number, this.#unsyncedSizes[i + 1]?.number));
      if (drop >= 0) this.#unsyncedSizes.splice(drop, 1);
    }
  }

  /** A page that may be filled: a copy of the present one, or fresh when all of it will be overwritten. */
  #copy(pageNumber: number, bytesToWrite: number): Uint8Array {
    const page = this.#pages.get(pageNumber);
    return page === undefined || bytesToWrite === PAGE_BYTES ? new Uint8Array(PAGE_BYTES) : page.slice();
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
