import { describe, expect, it } from 'vitest';
import {
  DamagedBitmapError,
  decodeHeader,
  decodeSector,
  encodeHeader,
  headerCrc,
  isTorn,
  PAYLOAD_MAX_BYTES,
  PAYLOAD_AT,
  SECTOR_BYTES,
  sealSector,
  sectorBytesAt,
  setPayloadBytes,
} from '../../../src/bitmap/sector.ts';

const HEADER = {
  version: 1,
  createId: '00112233445566ff',
  generation: 'a000000000000001',
  deviceBytes: 2 ** 46,
  regionBytes: 262_144,
  rewrites: 7,
  baseSectors: 3,
  closed: true,
};
const PLACE = { header: 0xdeadbeef, number: 5, flush: 9, flushFirst: 4 };

function sectorOf(payload: Uint8Array, last = true): Buffer {
  const s = Buffer.alloc(SECTOR_BYTES);
  s.set(payload, PAYLOAD_AT);
  setPayloadBytes(s, 0, payload.length);
  sealSector(sectorBytesAt(s, 0), PLACE.header, PLACE.number, PLACE.flush, PLACE.flushFirst, last);
  return s;
}

describe('header sector', () => {
  it('comes back as it went, each field where the format says', () => {
    const s = encodeHeader(HEADER);
    expect(decodeHeader(s)).toEqual(HEADER);
    expect(s.length).toBe(512);
    expect(s.toString('latin1', 0, 8)).toBe('NetRAIDb');
    expect([s.readUInt32BE(8), s.readUInt32BE(12)]).toEqual([1, 1]);
    expect(s.toString('latin1', 16, 48)).toBe('00112233445566ffa000000000000001');
    expect([48, 56, 64, 72].map((at) => Number(s.readBigUInt64BE(at)))).toEqual([2 ** 46, 262_144, 7, 3]);
    expect(s.toString('latin1', 508)).toBe('.END');
    expect(s.readUInt32BE(504)).toBe(headerCrc(s));
  });

  it.each([
    ['a later version', { version: 2 }, 'version'],
    ['an impossible region size', { regionBytes: 5000 }, 'header'],
    ['an impossible create id', { createId: 'UPPERCASEUPPERCA' }, 'header'],
    ['an impossible generation', { generation: '                ' }, 'header'],
    ['an impossible size', { baseSectors: 2 ** 60 }, 'header'],
  ])('is refused with %s', (_what, field, reason) => {
    let got: unknown;
    try {
      decodeHeader(encodeHeader({ ...HEADER, ...field }));
    } catch (e: unknown) {
      got = e;
    }
    expect(got instanceof DamagedBitmapError ? got.reason : got).toBe(reason);
  });
});

describe('journal sector', () => {
  it('comes back as it went, each field where the format says', () => {
    const s = sectorOf(Uint8Array.of(1, 2, 3));
    expect(decodeSector(s, PLACE.header, PLACE.number)).toEqual({ ...PLACE, last: true, payload: Buffer.from([1, 2, 3]) });
    expect(s.toString('latin1', 0, 4)).toBe('NRBj');
    expect([s.readUInt16BE(4), s.readUInt16BE(6), s.readUInt32BE(8)]).toEqual([1, 3, 0xdeadbeef]);
    expect([12, 20, 28].map((at) => Number(s.readBigUInt64BE(at)))).toEqual([5, 9, 4]);
    expect([...s.subarray(36, 40)]).toEqual([1, 2, 3, 0]);
    expect(PAYLOAD_MAX_BYTES).toBe(468);
  });

  it('is none of another file, of another place, or of fewer bytes', () => {
    const s = sectorOf(new Uint8Array(PAYLOAD_MAX_BYTES).fill(9));
    expect(decodeSector(s, PLACE.header + 1, PLACE.number)).toBeUndefined();
    expect(decodeSector(s, PLACE.header, PLACE.number + 1)).toBeUndefined();
    expect(decodeSector(s.subarray(0, 511), PLACE.header, PLACE.number)).toBeUndefined();
  });

  it('is torn when it ends in zeroes and begins like itself, whichever byte was the last', () => {
    const s = sectorOf(new Uint8Array(PAYLOAD_MAX_BYTES).fill(9));
    for (let written = 0; written < SECTOR_BYTES; written += 1) {
      const torn = Buffer.alloc(SECTOR_BYTES);
      s.copy(torn, 0, 0, written);
      expect(isTorn(torn, PLACE)).toBe(true);
      expect(isTorn(s.subarray(0, written), PLACE)).toBe(true);
      expect(isTorn(torn, { ...PLACE, flush: 10 })).toBe(written <= 27);
    }
    expect(isTorn(s, PLACE)).toBe(false);
  });
});
