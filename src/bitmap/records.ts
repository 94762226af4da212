/**
 * Records: what the sectors of a bitmap file say. A sector is understood by itself: it names each map that it speaks of
 * before it does, and each record gives the whole state of its windows of 512 regions, not a difference.
 *
 *   select(name)   the map that the following records are about; it exists from now on
 *   fill(first, n) n windows are all set            empty(first, n)   n windows are all clear
 *   runs(window)   the window's runs, else clear    bits(window)      the window's 64 bytes, bit 0 is 0x80
 *   drop           the map is gone                  generation(hex)   the file's generation
 *
 * A flush whose sectors are all there is applied as it is. Of one that was torn only additions are taken: what it was to
 * clear stays marked, so that whatever sectors were lost, no acknowledged mark is.
 */
import { DirtyBitmap, WINDOW_REGIONS } from './dirty-bitmap.ts';
import { RegionRangeError } from './regions.ts';
import { encodeSector, isId, PAYLOAD_MAX_BYTES, SECTOR_BYTES } from './sector.ts';
import { ByteReader, CodecError, putVarint, varintBytes } from './varint.ts';

export const MAP_NAME_MAX_BYTES = 128;
export const MAPS_MAX = 64;
/** Numbers are never reused. 0 ends a payload. */
const Kind = { SELECT: 1, FILL: 2, EMPTY: 3, RUNS: 4, BITS: 5, DROP: 6, GENERATION: 7 } as const;
const WINDOW_BYTES = WINDOW_REGIONS / 8;
/** More do not fit in fewer bytes than the window's bits: each takes two at least. */
const RUNS_MAX = WINDOW_BYTES / 2;

// ------------------------------------------------------------------------------------------------------ writing

/** Gathers records into payloads of sectors. */
export class RecordWriter {
  readonly #payloads: Uint8Array[] = [];
  #payload = new Uint8Array(PAYLOAD_MAX_BYTES);
  #used = 0;
  #select: Uint8Array | undefined;
  /** Where a window is written before it is known how: one for all, since a file may have a million of them. */
  readonly #record = new Uint8Array(16 + WINDOW_BYTES);
  /** Each takes two bytes at least: more are written as bits. */
  readonly #runs = new Uint16Array(WINDOW_BYTES);

  get sectors(): number {
    return this.#payloads.length + (this.#used > 0 ? 1 : 0);
  }

  generation(hex: string): void {
    this.#select = undefined;
    const record = new Uint8Array(17);
    record[0] = Kind.GENERATION;
    record.set(Buffer.from(hex, 'latin1'), 1);
    this.#put(record, record.length);
  }

  select(name: string): void {
    const utf8 = Buffer.from(name, 'utf8');
    this.#select = undefined;
    const record = new Uint8Array(2 + utf8.length);
    record[0] = Kind.SELECT;
    record[1] = utf8.length;
    record.set(utf8, 2);
    this.#put(record, record.length);
    this.#select = record;
  }

  /** The selected map. */
  drop(): void {
    this.#put(Uint8Array.of(Kind.DROP), 1);
  }

  /** State of `windows` of the selected map. */
  windows(map: DirtyBitmap, windows: DirtyBitmap): void {
    for (const span of windows.runs()) {
      const end = span.first + span.length;
      for (let w = span.first; w < end; ) w = this.#window(map, w, end);
    }
  }

  /** Everything in the selected map that is set. */
  whole(map: DirtyBitmap): void {
    const windows = new DirtyBitmap(map.windowCount);
    let from = 0;
    for (let run = map.nextDirtyRun(from); run !== undefined; run = map.nextDirtyRun(from)) {
      const last = windowOf(run.first + run.length - 1);
      windows.setRange(windowOf(run.first), last);
      // What else is set in that window is written with it.
      from = Math.min((last + 1) * WINDOW_REGIONS, map.regionCount);
    }
    this.windows(map, windows);
  }

  /** The sectors of one flush, in order. */
  finish(place: { header: number; first: number; flush: number }): Buffer {
    this.#close();
    const out = Buffer.alloc(this.#payloads.length * SECTOR_BYTES);
    for (const [i, payload] of this.#payloads.entries()) {
      const last = i === this.#payloads.length - 1;
      encodeSector(out, i * SECTOR_BYTES, {
        header: place.header,
        number: place.first + i,
        flush: place.flush,
        flushFirst: place.first,
        last,
        payload,
      });
    }
    return out;
  }

  /** Writes the record for window `w` and those like it before `end`; the next window to write. */
  #window(map: DirtyBitmap, w: number, end: number): number {
    const first = w * WINDOW_REGIONS;
    const stop = Math.min(end * WINDOW_REGIONS, map.regionCount);
    const run = map.nextDirtyRun(first, stop - first, stop);
    if (run === undefined) return this.#span(Kind.EMPTY, w, end);
    if (windowOf(run.first) > w) return this.#span(Kind.EMPTY, w, windowOf(run.first));
    const runEnd = run.first + run.length;
    // The last window may be short, and is full all the same.
    const fullUpTo = runEnd === map.regionCount ? map.windowCount : windowOf(runEnd);
    if (run.first === first && fullUpTo > w) return this.#span(Kind.FILL, w, fullUpTo);
    this.#mixed(map, w);
    return w + 1;
  }

  #span(kind: number, first: number, end: number): number {
    const record = new Uint8Array(1 + varintBytes(first) + varintBytes(end - first));
    record[0] = kind;
    this.#put(record, putVarint(record, putVarint(record, 1, first), end - first));
    return end;
  }

  #mixed(map: DirtyBitmap, window: number): void {
    const runs = this.#runs;
    const record = this.#record;
    const start = putVarint(record, 1, window);
    // Looked at first: many are the dearest to walk through.
    const many = map.windowRunCount(window) > RUNS_MAX;
    const count = many ? RUNS_MAX + 1 : map.windowRuns(window, runs);
    let used = start + 1;
    for (let i = 0; i < 2 * count; i += 2) {
      // Each run takes at most four bytes.
      if (used + 4 > start + WINDOW_BYTES) {
        const bits = map.windowBytes(window);
        record[0] = Kind.BITS;
        record.set(bits, start);
        this.#put(record, start + bits.length);
        return;
      }
      used = putVarint(record, used, runs[i] ?? 0);
      used = putVarint(record, used, (runs[i + 1] ?? 1) - 1);
    }
    record[0] = Kind.RUNS;
    record[start] = count;
    this.#put(record, used);
  }

  #put(record: Uint8Array, length: number): void {
    if (this.#used + length > PAYLOAD_MAX_BYTES) {
      this.#close();
      if (this.#select !== undefined) {
        this.#payload.set(this.#select);
        this.#used = this.#select.length;
      }
    }
    // A few bytes most of the time: a view of them would cost more than they do.
    for (let i = 0; i < length; i += 1) this.#payload[this.#used + i] = record[i] ?? 0;
    this.#used += length;
  }

  #close(): void {
    if (this.#used === 0) return;
    this.#payloads.push(this.#payload.subarray(0, this.#used));
    this.#payload = new Uint8Array(PAYLOAD_MAX_BYTES);
    this.#used = 0;
  }
}

function windowOf(region: number): number {
  return Math.floor(region / WINDOW_REGIONS);
}

// ------------------------------------------------------------------------------------------------------ reading

/** What a file says: built up by applying its sectors in order. */
export class Content {
  readonly maps = new Map<string, DirtyBitmap>();
  readonly #regionCount: number;
  readonly #windowCount: number;
  generation: string;

  constructor(regionCount: number, generation: string) {
    this.#regionCount = regionCount;
    this.#windowCount = Math.ceil(regionCount / WINDOW_REGIONS);
    this.generation = generation;
  }

  /** `additionsOnly`: the flush was torn. CodecError when a payload is not what was ever written. */
  apply(payload: Uint8Array, additionsOnly: boolean): void {
    const reader = new ByteReader(payload);
    let name = '';
    try {
      while (reader.left > 0) {
        const kind = reader.byte();
        if (kind === Kind.SELECT) {
          name = readName(reader.take(reader.byte()));
          this.#map(name);
        } else if (kind === Kind.GENERATION) {
          const hex = Buffer.from(reader.take(16)).toString('latin1');
          if (!isId(hex)) throw new CodecError('a generation is not 16 hex digits');
          if (!additionsOnly) this.generation = hex;
        } else if (kind === Kind.DROP) {
          if (!additionsOnly) this.maps.delete(name);
        } else {
          this.#windows(kind, reader, this.#map(name), additionsOnly);
        }
      }
    } catch (e: unknown) {
      if (e instanceof RegionRangeError) throw new CodecError(e.message);
      throw e;
    }
  }

  #map(name: string): DirtyBitmap {
    const known = this.maps.get(name);
    if (known !== undefined) return known;
    // Twice as many: a torn flush may have made maps, and the drops before them do not count.
    if (name === '' || this.maps.size >= 2 * MAPS_MAX) throw new CodecError(name === '' ? 'a record names no map' : 'there are too many maps');
    const map = new DirtyBitmap(this.#regionCount, { trackChanges: true });
    this.maps.set(name, map);
    return map;
  }

  #windows(kind: number, reader: ByteReader, map: DirtyBitmap, additionsOnly: boolean): void {
    const window = reader.varint();
    const count = kind === Kind.FILL || kind === Kind.EMPTY ? reader.varint() : 1;
    const end = window + count;
    if (count === 0 || end > this.#windowCount) throw new CodecError(`windows ${String(window)}+${String(count)} do not exist`);
    const first = window * WINDOW_REGIONS;
    const last = Math.min(end * WINDOW_REGIONS, this.#regionCount) - 1;
    if (kind === Kind.FILL) {
      map.setRange(first, last);
      return;
    }
    if (!additionsOnly) map.clearRange(first, last);
    if (kind === Kind.EMPTY) return;
    if (kind === Kind.BITS) {
      map.orWindowBytes(window, reader.take(Math.ceil((last - first + 1) / 8)));
    } else if (kind === Kind.RUNS) {
      let at = first;
      for (let n = reader.byte(); n > 0; n -= 1) {
        const from = at + reader.varint();
        at = from + 1 + reader.varint();
        if (at > last + 1) throw new CodecError(`a run leaves window ${String(window)}`);
        map.setRange(from, at - 1);
      }
    } else {
      throw new CodecError(`record kind ${String(kind)} is not known`);
    }
  }
}

function readName(utf8: Uint8Array): string {
  const name = Buffer.from(utf8).toString('utf8');
  if (!isMapName(name) || !Buffer.from(name, 'utf8').equals(utf8)) throw new CodecError('a map has an impossible name');
  return name;
}

export function isMapName(name: string): boolean {
  return name !== '' && Buffer.byteLength(name, 'utf8') <= MAP_NAME_MAX_BYTES && !name.includes('\0');
}
