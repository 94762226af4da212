/**
 * Regions: how bytes of a device map to bits of a bitmap.
 *
 *   device   |<-------------------- deviceBytes -------------------->|
 *   regions  |   0   |   1   |   2   |  ...  |  regionCount - 1  (may be short)
 *
 * Offsets reach 2^46 (64 TiB) and region numbers 2^34, so everything here is plain number arithmetic: a 32-bit operator
 * on an offset would cut it silently. A region size is a power of two, which makes every division exact.
 */

export const REGION_MIN_BYTES = 4096;
export const REGION_MAX_BYTES = 64 * 1024 * 1024;
export const DEVICE_MAX_BYTES = 2 ** 46;

/** A device size, region size, region number or byte range that does not exist. */
export class RegionRangeError extends RangeError {
  constructor(message: string) {
    super(message);
    this.name = 'RegionRangeError';
  }
}

export interface Geometry {
  /** 1 .. 2^46. */
  readonly deviceBytes: number;
  /** A power of two, 4 KiB .. 64 MiB. */
  readonly regionBytes: number;
}

export class RegionMap implements Geometry {
  readonly deviceBytes: number;
  readonly regionBytes: number;
  readonly regionCount: number;

  /** Throws RegionRangeError for a geometry outside the limits. */
  constructor(g: Geometry) {
    if (!Number.isInteger(g.deviceBytes) || g.deviceBytes < 1 || g.deviceBytes > DEVICE_MAX_BYTES) {
      throw new RegionRangeError(`device size ${String(g.deviceBytes)} is not within 1..${String(DEVICE_MAX_BYTES)} bytes`);
    }
    if (!isRegionSize(g.regionBytes)) {
      throw new RegionRangeError(
        `region size ${String(g.regionBytes)} is not a power of two within ${String(REGION_MIN_BYTES)}..${String(REGION_MAX_BYTES)} bytes`,
      );
    }
    this.deviceBytes = g.deviceBytes;
    this.regionBytes = g.regionBytes;
    this.regionCount = Math.ceil(g.deviceBytes / g.regionBytes);
  }

  /** The region that the byte at `offset` belongs to. */
  regionOf(offset: number): number {
    return this.first(offset, 1);
  }

  /** First region that the byte range touches. */
  first(offset: number, length: number): number {
    this.#checkBytes(offset, length);
    return Math.floor(offset / this.regionBytes);
  }

  /** Last region that the byte range touches. */
  last(offset: number, length: number): number {
    this.#checkBytes(offset, length);
    return Math.floor((offset + length - 1) / this.regionBytes);
  }

  /** Where a region begins, bytes. */
  offsetOf(region: number): number {
    this.#checkRegions(region, region);
    return region * this.regionBytes;
  }

  /** Bytes of regions `first..last`; only the device's last region may be short. */
  lengthOf(first: number, last: number): number {
    this.#checkRegions(first, last);
    return Math.min((last + 1) * this.regionBytes, this.deviceBytes) - first * this.regionBytes;
  }

  /** Byte range of one region. */
  bytesOf(region: number): { offset: number; length: number } {
    return { offset: this.offsetOf(region), length: this.lengthOf(region, region) };
  }

  #checkBytes(offset: number, length: number): void {
    // Negated comparisons refuse NaN as well.
    if (!Number.isInteger(offset) || !Number.isInteger(length) || offset < 0 || length < 1 || !(offset + length <= this.deviceBytes)) {
      throw new RegionRangeError(`bytes ${String(offset)}+${String(length)} are not within a device of ${String(this.deviceBytes)} bytes`);
    }
  }

  #checkRegions(first: number, last: number): void {
    checkRegions(first, last, this.regionCount);
  }
}

/** What the intent log keeps marked by itself at most (src/mirror/intent-limits.ts). Of a device that is no larger, smaller regions would gain nothing. */
export const MARKED_BYTES = 4 * 1024 ** 3;
const AUTOMATIC_MIN_BYTES = 16 * 1024;
const AUTOMATIC_MAX_BYTES = 256 * 1024;
/** A device may grow fourfold before they are too many for the engine to write by itself (src/mirror/served.ts). */
const AUTOMATIC_MAX_REGIONS = 2 ** 22;

/**
 * The region size of a device for which none was asked, bytes. Where writes go all over a large device, small regions need fewer syncs of its
 * legs, and leave less to resync; too many of them take memory.
 */
export function automaticRegionBytes(deviceBytes: number): number {
  if (deviceBytes <= MARKED_BYTES) return AUTOMATIC_MAX_BYTES;
  let bytes = AUTOMATIC_MIN_BYTES;
  while (bytes < AUTOMATIC_MAX_BYTES && deviceBytes / bytes > AUTOMATIC_MAX_REGIONS) bytes *= 2;
  return bytes;
}

export function isRegionSize(bytes: number): boolean {
  return Number.isInteger(bytes) && bytes >= REGION_MIN_BYTES && bytes <= REGION_MAX_BYTES && Number.isInteger(Math.log2(bytes));
}

/** Throws RegionRangeError unless 0 <= first <= last < regionCount, all integers. */
export function checkRegions(first: number, last: number, regionCount: number): void {
  if (!Number.isInteger(first) || !Number.isInteger(last) || first < 0 || first > last || last >= regionCount) {
    throw new RegionRangeError(`regions ${String(first)}..${String(last)} are not within 0..${String(regionCount - 1)}`);
  }
}
