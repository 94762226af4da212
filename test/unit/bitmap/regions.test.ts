import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { automaticRegionBytes, DEVICE_MAX_BYTES, RegionMap, RegionRangeError } from '../../../src/bitmap/regions.ts';

const KIB = 1024;

const GIB = 2 ** 30;

describe('regions', () => {
  it.each([
    [4096, 256],
    [4 * GIB, 256],
    [4 * GIB + 512, 16],
    [64 * GIB, 16],
    [64 * GIB + 512, 32],
    [256 * GIB, 64],
    [512 * GIB, 128],
    [512 * GIB + 512, 256],
    [4096 * GIB, 256],
    [DEVICE_MAX_BYTES, 256],
  ])('of a device of %i bytes are of %i KiB where nothing is said', (deviceBytes, kib) => {
    expect(automaticRegionBytes(deviceBytes)).toBe(kib * KIB);
  });

  it('counts regions, and makes the last one short', () => {
    const m = new RegionMap({ deviceBytes: 10 * KIB, regionBytes: 4 * KIB });
    expect(m.regionCount).toBe(3);
    expect(m.bytesOf(0)).toEqual({ offset: 0, length: 4096 });
    expect(m.bytesOf(2)).toEqual({ offset: 8192, length: 2048 });
    expect(m.lengthOf(0, 2)).toBe(10 * KIB);
    expect(m.offsetOf(1)).toBe(4096);
  });

  it('finds the regions of a byte range, also where it touches them with one byte', () => {
    const m = new RegionMap({ deviceBytes: 16 * KIB, regionBytes: 4 * KIB });
    expect([m.first(4095, 2), m.last(4095, 2)]).toEqual([0, 1]);
    expect([m.first(4096, 4096), m.last(4096, 4096)]).toEqual([1, 1]);
    expect(m.regionOf(16383)).toBe(3);
  });

  it('is exact at the end of a device of 64 TiB', () => {
    const m = new RegionMap({ deviceBytes: DEVICE_MAX_BYTES, regionBytes: 4096 });
    expect(m.regionCount).toBe(2 ** 34);
    expect(m.regionOf(DEVICE_MAX_BYTES - 1)).toBe(2 ** 34 - 1);
    expect(m.offsetOf(2 ** 34 - 1)).toBe(DEVICE_MAX_BYTES - 4096);
  });

  it('puts every byte in exactly one region', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: DEVICE_MAX_BYTES }), fc.integer({ min: 12, max: 26 }), fc.nat(1000), (deviceBytes, log, at) => {
        const m = new RegionMap({ deviceBytes, regionBytes: 2 ** log });
        const offset = Math.min(Math.floor((at / 1000) * deviceBytes), deviceBytes - 1);
        const b = m.bytesOf(m.regionOf(offset));
        expect(b.offset <= offset && offset < b.offset + b.length && b.offset + b.length <= deviceBytes).toBe(true);
        expect(m.lengthOf(0, m.regionCount - 1)).toBe(deviceBytes);
      }),
    );
  });

  it.each([
    [0, 4096],
    [-1, 4096],
    [1.5, 4096],
    [NaN, 4096],
    [DEVICE_MAX_BYTES + 1, 4096],
    [4096, 2048],
    [4096, 5000],
    [4096, 128 * KIB * KIB],
    [4096, NaN],
  ])('refuses a device of %d bytes in regions of %d', (deviceBytes, regionBytes) => {
    expect(() => new RegionMap({ deviceBytes, regionBytes })).toThrow(RegionRangeError);
  });

  it('refuses bytes and regions outside the device', () => {
    const m = new RegionMap({ deviceBytes: 10000, regionBytes: 4096 });
    expect(() => m.first(-1, 1)).toThrow(RegionRangeError);
    expect(() => m.last(9999, 2)).toThrow(RegionRangeError);
    expect(() => m.last(0, 0)).toThrow(RegionRangeError);
    expect(() => m.last(0, NaN)).toThrow(RegionRangeError);
    expect(() => m.first(0.5, 1)).toThrow(RegionRangeError);
    expect(() => m.regionOf(10000)).toThrow(RegionRangeError);
    expect(() => m.bytesOf(3)).toThrow(RegionRangeError);
    expect(() => m.lengthOf(2, 1)).toThrow(RegionRangeError);
    expect(() => m.offsetOf(-1)).toThrow(RegionRangeError);
  });
});
