/**
 * Records, gathered where they are written from: in the payloads of the sectors of one flush (records.ts says what they mean).
 *
 *   reset -> select, windows, ... -> | sector | sector | open sector ... -> finish: each sealed, the last one flagged -> written
 *
 * A window with few runs is told by them; one with more by its bits, since looking for each run costs more than their bytes do. The memory is
 * kept from flush to flush, and what `finish` answers is in it: valid until `reset`.
 */
import { DirtyBitmap, WINDOW_REGIONS } from './dirty-bitmap.ts';
import { Kind, MAPS_MAX } from './records.ts';
import { PAYLOAD_AT, PAYLOAD_MAX_BYTES, SECTOR_BYTES, type SectorBytes, sealSector, sectorBytesAt, setPayloadBytes } from './sector.ts';
import { putVarint, VARINT_MAX_BYTES } from './varint.ts';

const WINDOW_BYTES = WINDOW_REGIONS / 8;
/** Each takes four bytes at most, so that they are never longer than the bits. */
const RUNS_MAX = 15;
const SECTORS_FIRST = 16;
/** Memory for more is not kept. */
const SECTORS_KEPT_MAX = 256;

export class RecordWriter {
  #out = Buffer.alloc(SECTORS_FIRST * SECTOR_BYTES);
  /** Of `#out`, as far as they were needed: each sector, and the first so many together. */
  #each: SectorBytes[] = [];
  #together: Buffer[] = [Buffer.alloc(0)];
  /** Sectors that are full. */
  #full = 0;
  /** Bytes of payload of the one behind them. */
  #used = 0;
  /** What each further sector begins with. */
  #select: Buffer | undefined;
  readonly #selects = new Map<string, Buffer>();
  /** Where a record is written before it is known how long it is. */
  readonly #record = Buffer.alloc(2 + VARINT_MAX_BYTES + WINDOW_BYTES);
  readonly #runs = new Uint16Array(2 * RUNS_MAX);

  get sectors(): number {
    return this.#full + (this.#used > 0 ? 1 : 0);
  }

  /** Begins anew. */
  reset(): void {
    if (this.#out.length > SECTORS_KEPT_MAX * SECTOR_BYTES) this.#write(Buffer.alloc(SECTORS_FIRST * SECTOR_BYTES));
    this.#full = 0;
    this.#used = 0;
    this.#select = undefined;
  }

  generation(hex: string): void {
    this.#select = undefined;
    const record = Buffer.from([Kind.GENERATION, ...Buffer.from(hex, 'latin1')]);
    this.#put(record, record.length);
  }

  select(name: string): void {
    let record = this.#selects.get(name);
    if (record === undefined) {
      const utf8 = Buffer.from(name, 'utf8');
      record = Buffer.from([Kind.SELECT, utf8.length, ...utf8]);
      if (this.#selects.size >= MAPS_MAX) this.#selects.clear();
      this.#selects.set(name, record);
    }
    this.#select = undefined;
    this.#put(record, record.length);
    this.#select = record;
  }

  /** The selected map. */
  drop(): void {
    this.#record[0] = Kind.DROP;
    this.#put(this.#record, 1);
  }

  /** State of `windows` of the selected map. */
  windows(map: DirtyBitmap, windows: DirtyBitmap): void {
    const count = windows.regionCount;
    for (let first = windows.nextSet(0); first < count; ) {
      const end = windows.nextClear(first);
      for (let w = first; w < end; ) w = this.#window(map, w, end);
      first = windows.nextSet(end);
    }
  }

  /** Everything in the selected map that is set. */
  whole(map: DirtyBitmap): void {
    const windows = new DirtyBitmap(map.windowCount);
    for (let first = map.nextSet(0); first < map.regionCount; ) {
      const last = windowOf(map.nextClear(first) - 1);
      windows.setRange(windowOf(first), last);
      // What else is set in that window is written with it.
      first = map.nextSet(Math.min((last + 1) * WINDOW_REGIONS, map.regionCount));
    }
    this.windows(map, windows);
  }

  /** The sectors of one flush, in order. */
  finish(place: { header: number; first: number; flush: number }): Buffer {
    this.#close();
    const n = this.#full;
    for (let i = 0; i < n; i += 1) sealSector(this.#sector(i), place.header, place.first + i, place.flush, place.first, i === n - 1);
    this.#together[n] ??= this.#out.subarray(0, n * SECTOR_BYTES);
    return this.#together[n];
  }

  /** Writes the record for window `w` and those like it before `end`; the next window to write. */
  #window(map: DirtyBitmap, w: number, end: number): number {
    const runs = map.windowRunCount(w);
    if (runs <= 1) {
      const first = w * WINDOW_REGIONS;
      const stop = Math.min(end * WINDOW_REGIONS, map.regionCount);
      const set = map.nextSet(first, stop);
      if (set === stop) return this.#span(Kind.EMPTY, w, end);
      if (windowOf(set) > w) return this.#span(Kind.EMPTY, w, windowOf(set));
      const clear = map.nextClear(set, stop);
      // The last window may be short, and is full all the same.
      const fullUpTo = clear === map.regionCount ? map.windowCount : windowOf(clear);
      if (set === first && fullUpTo > w) return this.#span(Kind.FILL, w, fullUpTo);
    }
    if (runs <= RUNS_MAX) this.#tellRuns(map, w, runs);
    else this.#tellBits(map, w);
    return w + 1;
  }

  #span(kind: number, first: number, end: number): number {
    const record = this.#record;
    record[0] = kind;
    this.#put(record, putVarint(record, putVarint(record, 1, first), end - first));
    return end;
  }

  #tellRuns(map: DirtyBitmap, window: number, count: number): void {
    const record = this.#record;
    const runs = this.#runs;
    map.windowRuns(window, runs);
    record[0] = Kind.RUNS;
    let used = putVarint(record, 1, window);
    record[used] = count;
    used += 1;
    for (let i = 0; i < 2 * count; i += 2) {
      used = putVarint(record, used, runs[i] ?? 0);
      used = putVarint(record, used, (runs[i + 1] ?? 1) - 1);
    }
    this.#put(record, used);
  }

  #tellBits(map: DirtyBitmap, window: number): void {
    const record = this.#record;
    record[0] = Kind.BITS;
    const start = putVarint(record, 1, window);
    this.#put(record, start + map.copyWindow(window, record, start));
  }

  #put(record: Buffer, length: number): void {
    if (this.#used + length > PAYLOAD_MAX_BYTES) {
      this.#close();
      if (this.#select !== undefined) this.#copy(this.#select, this.#select.length);
    }
    this.#copy(record, length);
  }

  #copy(record: Buffer, length: number): void {
    const out = this.#out;
    const at = this.#full * SECTOR_BYTES + PAYLOAD_AT + this.#used;
    // A few bytes most of the time: a call would cost more than they do.
    for (let i = 0; i < length; i += 1) out[at + i] = record[i] ?? 0;
    this.#used += length;
  }

  #close(): void {
    if (this.#used === 0) return;
    const at = this.#full * SECTOR_BYTES + PAYLOAD_AT;
    this.#out.fill(0, at + this.#used, at + PAYLOAD_MAX_BYTES);
    setPayloadBytes(this.#out, this.#full * SECTOR_BYTES, this.#used);
    this.#full += 1;
    this.#used = 0;
    // There is always room for one more.
    if (this.#full * SECTOR_BYTES === this.#out.length) this.#write(Buffer.concat([this.#out], 2 * this.#out.length));
  }

  #write(out: Buffer<ArrayBuffer>): void {
    this.#out = out;
    this.#each = [];
    this.#together = [Buffer.alloc(0)];
  }

  #sector(i: number): SectorBytes {
    this.#each[i] ??= sectorBytesAt(this.#out, i * SECTOR_BYTES);
    return this.#each[i];
  }
}

function windowOf(region: number): number {
  return Math.floor(region / WINDOW_REGIONS);
}
