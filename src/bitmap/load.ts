/**
 * Reads a bitmap file and says which of three things it is:
 *
 *   whole     every sector is there
 *   torn      power or process failed while a flush that nobody was told of was being written: bad sectors lie only inside
 *             the last flush, and each of them is zero from some byte on, or absent
 *
 * (zero sectors behind the last flush are neither: room that was made for the next ones, or what never came of one)
 *   damaged   anything else (DamagedBitmapError): a bad base or header, bytes that changed, a hole before the last flush
 *
 * Invariants: the base was durable before the file got its name, so nothing in it is ever torn; flush n + 1 was begun only
 * after flush n was durable, so a hole in flush n with a sector of flush n + 1 behind it is damage.
 */
import { Errno, IoError, type IoFile } from '../io/types.ts';
import { Content } from './records.ts';
import { RegionMap } from './regions.ts';
import { DamagedBitmapError, decodeHeader, decodeSector, type Header, headerCrc, isTorn, isZero, type Sector, SECTOR_BYTES } from './sector.ts';
import { CodecError } from './varint.ts';

const CHUNK_BYTES = 1024 * 1024;
const BASE_FLUSH = 1;

export interface Loaded {
  header: Header;
  /** headerCrc of the header. */
  crc: number;
  content: Content;
  /** Sectors behind the base, whole or not. */
  journalSectors: number;
  /** Sectors of the last flush that are missing, as far as can be told, at least 1 when it was torn; 0: whole. */
  torn: number;
}

/** DamagedBitmapError when the file can not be trusted; IoError as it comes, but EIO counts as damage. */
export async function load(file: IoFile): Promise<Loaded> {
  try {
    return await new Loader(file).load();
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.EIO) throw new DamagedBitmapError('unreadable', `the file can not be read: ${e.message}`);
    throw e;
  }
}

class Loader {
  readonly #file: IoFile;
  #content = new Content(1, '');
  #header: Header | undefined;
  #crc = 0;
  /** The flush being read, and where it began. */
  #flush = BASE_FLUSH;
  #flushFirst = 1;
  /** Payloads of that flush so far, when it belongs to the journal. */
  #payloads: Uint8Array[] = [];
  #bad = 0;
  /** How many of the last of them are zero: there may be no more of the flush. */
  #zero = 0;
  /** Its last sector was seen, and sectors before it are bad. */
  #ended = false;

  constructor(file: IoFile) {
    this.#file = file;
  }

  async load(): Promise<Loaded> {
    const sizeBytes = await this.#file.sizeBytes();
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(SECTOR_BYTES, Math.ceil(sizeBytes / SECTOR_BYTES) * SECTOR_BYTES)));
    let number = 0;
    for (let position = 0; ; position += chunk.length) {
      const got = await readAll(this.#file, chunk, position);
      for (let at = 0; at < got; at += SECTOR_BYTES) {
        this.#sector(chunk.subarray(at, Math.min(at + SECTOR_BYTES, got)), number);
        number += 1;
      }
      if (got < chunk.length) break;
    }
    return this.#finish(number);
  }

  #sector(s: Buffer, number: number): void {
    if (this.#header === undefined) {
      this.#header = decodeHeader(s);
      this.#crc = headerCrc(s);
      this.#content = new Content(new RegionMap(this.#header).regionCount, this.#header.generation);
      if (this.#header.baseSectors === 0) this.#nextFlush(1);
      return;
    }
    const sector = decodeSector(s, this.#crc, number);
    if (number <= this.#header.baseSectors) this.#baseSector(sector, number, this.#header.baseSectors);
    else this.#journalSector(sector, s, number);
  }

  #baseSector(sector: Sector | undefined, number: number, last: number): void {
    if (sector === undefined) throw new DamagedBitmapError('sector', `sector ${String(number)} is bad, and it had been written long before`);
    if (sector.flush !== BASE_FLUSH || sector.flushFirst !== 1 || sector.last !== (number === last)) {
      throw new DamagedBitmapError('order', `sector ${String(number)} says that it belongs elsewhere`);
    }
    this.#apply(sector.payload, number, false);
    if (sector.last) this.#nextFlush(number + 1);
  }

  #journalSector(sector: Sector | undefined, s: Buffer, number: number): void {
    if (sector === undefined && isZero(s)) {
      this.#zero += 1;
      return;
    }
    if (this.#ended) throw new DamagedBitmapError('order', `sector ${String(number)} follows a flush that is not whole`);
    // They were a hole.
    this.#bad += this.#zero;
    this.#zero = 0;
    if (sector === undefined) {
      const place = { header: this.#crc, number, flush: this.#flush, flushFirst: this.#flushFirst };
      if (!isTorn(s, place)) throw new DamagedBitmapError('sector', `sector ${String(number)} is neither whole nor unwritten`);
      this.#bad += 1;
      return;
    }
    if (sector.flush !== this.#flush || sector.flushFirst !== this.#flushFirst) {
      throw new DamagedBitmapError(
        'order',
        `sector ${String(number)} is of flush ${String(sector.flush)}, but flush ${String(this.#flush)} before it is not whole`,
      );
    }
    this.#payloads.push(Uint8Array.from(sector.payload));
    if (!sector.last) return;
    if (this.#bad > 0) {
      this.#ended = true;
      return;
    }
    this.#applyFlush(number, false);
    this.#nextFlush(number + 1);
  }

  #finish(sectors: number): Loaded {
    const header = this.#header;
    if (header === undefined) throw new DamagedBitmapError('truncated', 'the file is empty');
    if (sectors <= header.baseSectors) {
      throw new DamagedBitmapError('truncated', `the file has ${String(sectors)} sectors, and was made with ${String(header.baseSectors + 1)}`);
    }
    const torn = this.#bad > 0 || this.#payloads.length > 0 ? Math.max(this.#bad, 1) : 0;
    if (torn > 0) this.#applyFlush(sectors, true);
    return { header, crc: this.#crc, content: this.#content, journalSectors: sectors - 1 - header.baseSectors, torn };
  }

  #nextFlush(first: number): void {
    this.#flush += 1;
    this.#flushFirst = first;
    this.#payloads = [];
  }

  #applyFlush(number: number, additionsOnly: boolean): void {
    for (const payload of this.#payloads) this.#apply(payload, number, additionsOnly);
  }

  #apply(payload: Uint8Array, number: number, additionsOnly: boolean): void {
    try {
      this.#content.apply(payload, additionsOnly);
    } catch (e: unknown) {
      if (e instanceof CodecError) throw new DamagedBitmapError('content', `up to sector ${String(number)}: ${e.message}`);
      throw e;
    }
  }
}

/** Fills `into` from `position`; fewer bytes only at the end of the file. */
async function readAll(file: IoFile, into: Buffer, position: number): Promise<number> {
  let done = 0;
  while (done < into.length) {
    const got = await file.read(into.subarray(done), position + done);
    if (got === 0) break;
    done += got;
  }
  return done;
}
