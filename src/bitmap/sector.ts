/**
 * Sectors of the bitmap file: 512 bytes each, big-endian, with a checksum. FORMAT.md has the tables.
 *
 *   | 0 header | 1 .. base: the maps when the file was made | journal: flushes appended since |
 *
 * A sector says where in the file it belongs, to which file (by the checksum of its header), to which flush, and where
 * that flush began. So a sector from elsewhere is refused, and a hole can be told to lie inside the last flush or before.
 */
import { crc32 } from 'node:zlib';
import { type Geometry, RegionMap, RegionRangeError } from './regions.ts';

export const SECTOR_BYTES = 512;
export const FORMAT_VERSION = 1;
/** Every sector ends in this, no byte of it zero: a sector that ends in zeroes was not written to its end. */
const END_MARK = 0x2e454e44;
const CRC_AT = 504;
const END_AT = 508;

// ------------------------------------------------------------------------------------------------------- errors

export type DamageReason =
  | 'missing'
  | 'unreadable'
  | 'not-a-bitmap-file'
  | 'version'
  | 'header'
  | 'mismatch'
  | 'truncated'
  | 'sector'
  | 'order'
  | 'content';

/** The bitmap file can not be trusted: its marks mean nothing, a full resync follows (M13). */
export class DamagedBitmapError extends Error {
  readonly reason: DamageReason;
  constructor(reason: DamageReason, message: string) {
    super(message);
    this.name = 'DamagedBitmapError';
    this.reason = reason;
  }
}

// ------------------------------------------------------------------------------------------------------- header

/** What a caller says when it makes a file. */
export interface BitmapIdentity extends Geometry {
  /** 16 lower-case hex digits: the mirror's. */
  readonly createId: string;
}

/** What a file says of itself. */
export interface BitmapMeta extends BitmapIdentity {
  readonly version: number;
  /** 16 lower-case hex digits: data history. */
  readonly generation: string;
}

export interface Header extends BitmapIdentity {
  version: number;
  /** 16 lower-case hex digits: data history at the time the file was made. */
  generation: string;
  /** How often this file has been made anew. */
  rewrites: number;
  /** Sectors behind the header that were durable before the file got its name. */
  baseSectors: number;
  /** Made by a close: nothing was flushed afterwards unless a journal follows. */
  closed: boolean;
}

const HEADER = {
  magic: 0,
  version: 8,
  flags: 12,
  createId: 16,
  generation: 32,
  deviceBytes: 48,
  regionBytes: 56,
  rewrites: 64,
  baseSectors: 72,
  end: 80,
} as const;
const HEADER_MAGIC = Buffer.from('NetRAIDb', 'latin1');
const FLAG_CLOSED = 1;

export function isId(id: string): boolean {
  return /^[0-9a-f]{16}$/.test(id);
}

export function encodeHeader(h: Header): Buffer {
  const s = Buffer.alloc(SECTOR_BYTES);
  HEADER_MAGIC.copy(s, HEADER.magic);
  s.writeUInt32BE(h.version, HEADER.version);
  s.writeUInt32BE(h.closed ? FLAG_CLOSED : 0, HEADER.flags);
  s.write(h.createId, HEADER.createId, 'latin1');
  s.write(h.generation, HEADER.generation, 'latin1');
  s.writeBigUInt64BE(BigInt(h.deviceBytes), HEADER.deviceBytes);
  s.writeBigUInt64BE(BigInt(h.regionBytes), HEADER.regionBytes);
  s.writeBigUInt64BE(BigInt(h.rewrites), HEADER.rewrites);
  s.writeBigUInt64BE(BigInt(h.baseSectors), HEADER.baseSectors);
  seal(s);
  return s;
}

/** Throws DamagedBitmapError. */
export function decodeHeader(s: Buffer): Header {
  if (s.length < SECTOR_BYTES) throw new DamagedBitmapError('truncated', `the file has ${String(s.length)} bytes, its header alone takes 512`);
  if (!s.subarray(0, 8).equals(HEADER_MAGIC)) throw new DamagedBitmapError('not-a-bitmap-file', 'the file does not begin as a bitmap file does');
  if (!isSealed(s)) throw new DamagedBitmapError('header', 'the checksum of the header is wrong');
  const version = s.readUInt32BE(HEADER.version);
  if (version !== FORMAT_VERSION) {
    throw new DamagedBitmapError('version', `format version ${String(version)} is not known here, only ${String(FORMAT_VERSION)}`);
  }
  const flags = s.readUInt32BE(HEADER.flags);
  const h: Header = {
    version,
    createId: s.toString('latin1', HEADER.createId, HEADER.createId + 16),
    generation: s.toString('latin1', HEADER.generation, HEADER.generation + 16),
    deviceBytes: Number(s.readBigUInt64BE(HEADER.deviceBytes)),
    regionBytes: Number(s.readBigUInt64BE(HEADER.regionBytes)),
    rewrites: Number(s.readBigUInt64BE(HEADER.rewrites)),
    baseSectors: Number(s.readBigUInt64BE(HEADER.baseSectors)),
    closed: flags === FLAG_CLOSED,
  };
  try {
    checkIdentity(h);
  } catch (e: unknown) {
    if (e instanceof RegionRangeError) throw new DamagedBitmapError('header', e.message);
    throw e;
  }
  const sane = flags <= FLAG_CLOSED && isId(h.generation) && Number.isSafeInteger(h.baseSectors) && Number.isSafeInteger(h.rewrites);
  if (!sane || s.subarray(HEADER.end, CRC_AT).some((b) => b !== 0)) {
    throw new DamagedBitmapError('header', 'the header holds values that were never written');
  }
  return h;
}

/** Throws RegionRangeError. */
export function checkIdentity(i: BitmapIdentity): RegionMap {
  if (!isId(i.createId)) throw new RegionRangeError(`create id '${i.createId}' is not 16 hex digits`);
  return new RegionMap(i);
}

/** Binds journal sectors to the one file that has this header. */
export function headerCrc(encoded: Buffer): number {
  return encoded.readUInt32BE(CRC_AT);
}

// ------------------------------------------------------------------------------------------------------ sectors

const SECTOR = { magic: 0, flags: 4, payloadBytes: 6, header: 8, number: 12, flush: 20, flushFirst: 28, payload: 36 } as const;
const SECTOR_MAGIC = 0x4e52426a; // NRBj
const FLAG_LAST = 1;
export const PAYLOAD_AT = SECTOR.payload;
export const PAYLOAD_MAX_BYTES = CRC_AT - SECTOR.payload;

export interface SectorPlace {
  /** headerCrc of the file. */
  header: number;
  /** Offset in the file / 512. */
  number: number;
  /** 1: the base; journal flushes from 2. */
  flush: number;
  /** Number of the first sector of that flush. */
  flushFirst: number;
}

export interface Sector extends SectorPlace {
  /** The last of its flush. */
  last: boolean;
  payload: Uint8Array;
}

/** The bytes of one sector, and those of them that its checksum covers: views that whoever writes many makes once. */
export interface SectorBytes {
  readonly all: Buffer;
  readonly summed: Buffer;
}

export function sectorBytesAt(into: Buffer, at: number): SectorBytes {
  return { all: into.subarray(at, at + SECTOR_BYTES), summed: into.subarray(at, at + CRC_AT) };
}

/** How much of the payload is used; what is behind it has to be zero. */
export function setPayloadBytes(into: Buffer, at: number, payloadBytes: number): void {
  into.writeUInt16BE(payloadBytes, at + SECTOR.payloadBytes);
}

/** Makes a sector of bytes whose payload is there: see SectorPlace, and Sector. */
export function sealSector(s: SectorBytes, header: number, number: number, flush: number, flushFirst: number, last: boolean): void {
  writePlace(s.all, header, number, flush, flushFirst);
  s.all.writeUInt16BE(last ? FLAG_LAST : 0, SECTOR.flags);
  seal(s.all, s.summed);
}

function writePlace(s: Buffer, header: number, number: number, flush: number, flushFirst: number): void {
  s.writeUInt32BE(SECTOR_MAGIC, SECTOR.magic);
  s.writeUInt32BE(header, SECTOR.header);
  writeNumber(s, number, SECTOR.number);
  writeNumber(s, flush, SECTOR.flush);
  writeNumber(s, flushFirst, SECTOR.flushFirst);
}

/** 64 bits; a BigInt would be made anew each time. */
function writeNumber(s: Buffer, value: number, at: number): void {
  s.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  s.writeUInt32BE(value % 2 ** 32, at + 4);
}

/** Undefined when the 512 bytes are not a whole sector of this file at this place. The payload is lent. */
export function decodeSector(s: Buffer, header: number, number: number): Sector | undefined {
  if (!isSealed(s) || s.readUInt32BE(SECTOR.magic) !== SECTOR_MAGIC) return undefined;
  const payloadBytes = s.readUInt16BE(SECTOR.payloadBytes);
  const flags = s.readUInt16BE(SECTOR.flags);
  if (s.readUInt32BE(SECTOR.header) !== header || Number(s.readBigUInt64BE(SECTOR.number)) !== number) return undefined;
  if (payloadBytes > PAYLOAD_MAX_BYTES || flags > FLAG_LAST) return undefined;
  if (s.subarray(SECTOR.payload + payloadBytes, CRC_AT).some((b) => b !== 0)) return undefined;
  return {
    header,
    number,
    flush: Number(s.readBigUInt64BE(SECTOR.flush)),
    flushFirst: Number(s.readBigUInt64BE(SECTOR.flushFirst)),
    last: flags === FLAG_LAST,
    payload: s.subarray(SECTOR.payload, SECTOR.payload + payloadBytes),
  };
}

/**
 * True for a sector that was not written, or only up to some byte: zeroes to its end, and before them nothing that a
 * sector of this place would not begin with. `s` may be shorter than a sector at the end of the file.
 */
export function isTorn(s: Buffer, place: SectorPlace): boolean {
  let written = Math.min(s.length, SECTOR_BYTES);
  while (written > 0 && s[written - 1] === 0) written -= 1;
  if (written === SECTOR_BYTES) return false;
  const expected = Buffer.alloc(SECTOR_BYTES);
  writePlace(expected, place.header, place.number, place.flush, place.flushFirst);
  for (let i = 0; i < Math.min(written, SECTOR.payload); i += 1) {
    // The two fields that differ from sector to sector.
    if (i >= SECTOR.flags && i < SECTOR.header) continue;
    if (s[i] !== expected[i]) return false;
  }
  return true;
}

const ZEROES = Buffer.alloc(SECTOR_BYTES);

/** True for a sector in which nothing was written. */
export function isZero(s: Buffer): boolean {
  return ZEROES.subarray(0, s.length).equals(s);
}

function seal(s: Buffer, summed = s.subarray(0, CRC_AT)): void {
  s.writeUInt32BE(END_MARK, END_AT);
  s.writeUInt32BE(crc32(summed), CRC_AT);
}

function isSealed(s: Buffer): boolean {
  return s.length === SECTOR_BYTES && s.readUInt32BE(END_AT) === END_MARK && s.readUInt32BE(CRC_AT) === crc32(s.subarray(0, CRC_AT));
}
