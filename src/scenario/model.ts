/**
 * What the application may find on the device, from what it was told: the check behind `acknowledged`.
 *
 *   begin -> acked                       the sector holds these bytes
 *         -> never answered              it holds these or the ones before, until somebody looks; then it stays so
 *   power lost on every full copy        what was acknowledged since the last flush counts as never answered
 *
 * Invariants:
 * - a sector (512 bytes) is old or new, never a mixture; a longer write may have come in part
 * - of writes in flight together at one place any may be the last
 */
import { bytesOf, SECTOR_BYTES } from './bytes.ts';
import type { Seed } from './types.ts';

/** A seed's bytes at that place, or bytes of its own where a write covered part of the sector. */
type Content = Seed | Uint8Array;

interface Kept {
  content: Content;
  /** When it was acknowledged, in the model's own time. */
  at: number;
}

interface Sector {
  /** Oldest first; the last is what was acknowledged last, those before it are not known to be durable yet. */
  history: [Kept, ...Kept[]];
  /** What it may hold as well. */
  maybe: Content[];
  inFlight: PendingWrite[];
}

export interface PendingWrite {
  readonly offset: number;
  readonly length: number;
  readonly seed: Seed;
  readonly began: number;
  open: boolean;
}

export interface Mismatch {
  offset: number;
  /** Seeds whose bytes would have been right. */
  admissible: string[];
}

const ZERO_HISTORY: Kept = { content: 'zero', at: 0 };

export class Acknowledged {
  readonly #sectors = new Map<number, Sector>();
  /** Those with a history longer than one. */
  readonly #unflushed = new Set<number>();
  #time = 0;

  /** Before the write is sent for the first time. */
  begin(offset: number, length: number, seed: Seed): PendingWrite {
    this.#time += 1;
    const write: PendingWrite = { offset, length, seed, began: this.#time, open: true };
    this.#each(offset, length, (number, sector) => {
      sector.inFlight.push(write);
      const before = [newest(sector).content, ...sector.maybe];
      for (const b of before) add(sector.maybe, overlaid(b, number, write), number);
    });
    return write;
  }

  acked(write: PendingWrite): void {
    if (!write.open) throw new Error('a write is acknowledged once');
    write.open = false;
    this.#time += 1;
    this.#each(write.offset, write.length, (number, sector) => {
      sector.inFlight = sector.inFlight.filter((w) => w !== write);
      const content = overlaid(newest(sector).content, number, write);
      // What was uncertain before is so only where this write did not reach; one answered meanwhile may have come after it.
      const uncertain = sector.maybe.flatMap((m) => partial(number, write, m));
      const meanwhile = sector.history.filter((h) => h.at >= write.began).map((h) => h.content);
      const bases = [content, ...uncertain, ...meanwhile];
      sector.maybe = [];
      for (const m of [...bases.slice(1), ...sector.inFlight.flatMap((w) => bases.map((x) => overlaid(x, number, w)))]) {
        if (!same(m, content, number)) add(sector.maybe, m, number);
      }
      sector.history.push({ content, at: this.#time });
      this.#unflushed.add(number);
    });
  }

  /** It will never be answered. */
  abandoned(write: PendingWrite): void {
    if (!write.open) return;
    write.open = false;
    this.#each(write.offset, write.length, (_number, sector) => {
      sector.inFlight = sector.inFlight.filter((w) => w !== write);
    });
  }

  /** The moment to hand to `flushed` when a flush that begins now is acknowledged. */
  now(): number {
    return this.#time;
  }

  flushed(began: number): void {
    for (const number of this.#unflushed) {
      const sector = this.#sectors.get(number);
      if (sector === undefined) continue;
      for (let second = sector.history[1]; second !== undefined && second.at <= began; second = sector.history[1]) {
        sector.history = [second, ...sector.history.slice(2)];
      }
      if (sector.history.length === 1) this.#unflushed.delete(number);
    }
  }

  /** Every node that had all of the data lost its power: what was not flushed may be lost. */
  powerLost(): void {
    for (const number of this.#unflushed) {
      const sector = this.#sectors.get(number);
      if (sector === undefined) continue;
      for (const h of sector.history.slice(0, -1)) add(sector.maybe, h.content, number);
      sector.history = [newest(sector)];
    }
    this.#unflushed.clear();
  }

  /** Ranges that were ever written, in pieces of at most `maxBytes`, in order, within the device. */
  ranges(maxBytes: number, sizeBytes: number): { offset: number; length: number }[] {
    const out: { offset: number; length: number }[] = [];
    for (const number of [...this.#sectors.keys()].sort((a, b) => a - b)) {
      const offset = number * SECTOR_BYTES;
      const length = Math.min(SECTOR_BYTES, sizeBytes - offset);
      const last = out.at(-1);
      if (last !== undefined && last.offset + last.length === offset && last.length + length <= maxBytes) last.length += length;
      else out.push({ offset, length });
    }
    return out;
  }

  /** Sectors of this range, which begins at one. `settles`: read through the device, so that what was found stays so. */
  check(offset: number, bytes: Uint8Array, settles: boolean): Mismatch | undefined {
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      const number = (offset + at) / SECTOR_BYTES;
      const sector = this.#sectors.get(number);
      if (sector === undefined) continue;
      const found = bytes.subarray(at, at + SECTOR_BYTES);
      const candidates = [newest(sector).content, ...sector.maybe];
      const match = candidates.find((c) => Buffer.compare(found, made(c, number).subarray(0, found.length)) === 0);
      if (match === undefined) return { offset: offset + at, admissible: candidates.map(describe) };
      if (!settles || sector.inFlight.length > 0 || sector.maybe.length === 0) continue;
      sector.maybe = [];
      if (match !== newest(sector).content) sector.history.push({ content: match, at: this.#time });
      if (sector.history.length > 1) this.#unflushed.add(number);
    }
    return undefined;
  }

  #each(offset: number, length: number, f: (number: number, sector: Sector) => void): void {
    const last = Math.floor((offset + length - 1) / SECTOR_BYTES);
    for (let number = Math.floor(offset / SECTOR_BYTES); number <= last; number += 1) {
      let sector = this.#sectors.get(number);
      if (sector === undefined) {
        sector = { history: [ZERO_HISTORY], maybe: [], inFlight: [] };
        this.#sectors.set(number, sector);
      }
      f(number, sector);
    }
  }
}

function newest(sector: Sector): Kept {
  return sector.history.at(-1) ?? sector.history[0];
}

function made(content: Content, sector: number): Uint8Array {
  return content instanceof Uint8Array ? content : bytesOf(content, sector * SECTOR_BYTES, SECTOR_BYTES);
}

function covers(write: PendingWrite, sector: number): boolean {
  const from = sector * SECTOR_BYTES;
  return write.offset <= from && write.offset + write.length >= from + SECTOR_BYTES;
}

/** What the sector holds when the write came in over `before`. */
function overlaid(before: Content, sector: number, write: PendingWrite): Content {
  if (covers(write, sector)) return write.seed;
  const bytes = made(before, sector).slice();
  const start = sector * SECTOR_BYTES;
  const from = Math.max(write.offset, start);
  const to = Math.min(write.offset + write.length, start + SECTOR_BYTES);
  bytes.set(bytesOf(write.seed, from, to - from), from - start);
  return bytes;
}

/** What is left of an uncertain content after a write that is surely in: nothing where it covered all. */
function partial(sector: number, write: PendingWrite, m: Content): Content[] {
  return covers(write, sector) ? [] : [overlaid(m, sector, write)];
}

function same(a: Content, b: Content, sector: number): boolean {
  if (a === b) return true;
  if (!(a instanceof Uint8Array) && !(b instanceof Uint8Array)) return false;
  return Buffer.compare(made(a, sector), made(b, sector)) === 0;
}

function add(list: Content[], content: Content, sector: number): void {
  if (!list.some((m) => same(m, content, sector))) list.push(content);
}

function describe(c: Content): string {
  return c instanceof Uint8Array ? 'bytes of several writes' : `seed ${String(c)}`;
}
