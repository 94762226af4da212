import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClientRequest } from '../../../../src/io/portable/client-request.ts';
import type { WireParams } from '../../../../src/io/types.ts';
import { HandlePool } from '../../../../src/io/portable/handles.ts';
import { ReplyParser } from '../../../../src/io/portable/reply-parser.ts';
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_CMD_TRIM } from '../../../../src/nbd/wire/constants.ts';
import { EXTENDED_REPLY, STRUCTURED_REPLY, viewOf } from '../../../../src/nbd/wire/layout.ts';
import { encodeChunk, encodeExtendedChunk } from '../../../../src/nbd/wire/transmission.ts';
import { EXTENDED, joined, STRUCTURED } from '../engine-rig.ts';

interface Result {
  replied: { slot: number; errno: number; bytes: number[] | undefined; value: unknown }[];
  malformed: number;
}

const COMMANDS = [NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_BLOCK_STATUS, NBD_CMD_READ];
const LENGTH = 40;

/** Feeds a stream in pieces to a parser with four requests in flight, whose cookies are (0, 0) to (0, 3). */
function parse(stream: Uint8Array, cuts: readonly number[], wire: WireParams = STRUCTURED): Result {
  const handles = new HandlePool();
  const requests = COMMANDS.map((cmd, slot) => {
    const r = new ClientRequest();
    Object.assign(r, { cmd, slot, offset: 8, length: LENGTH });
    return r;
  });
  const result: Result = { replied: [], malformed: 0 };
  const parser = new ReplyParser(wire, handles, {
    find: (serial, slot) => {
      const r = requests[slot];
      return serial === 0 && r !== undefined && !r.replied ? r : undefined;
    },
    replied: (r) => {
      expect(result.malformed).toBe(0);
      r.replied = true;
      const bytes = r.data === 0 ? undefined : [...handles.view(r.data)];
      result.replied.push({ slot: r.slot, errno: r.errno, bytes: r.errno === 0 ? bytes : undefined, value: r.value });
    },
    malformed: () => {
      result.malformed += 1;
    },
    damaged: () => {
      throw new Error('there are no checksums');
    },
  });
  let at = 0;
  for (let i = 0; at < stream.length; i += 1) {
    const n = cuts[i % cuts.length] ?? 1;
    parser.feed(stream.subarray(at, at + n));
    at += n;
  }
  return result;
}

const u32 = (n: number): number[] => [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255];

/** Chunks that are often right and sometimes not. */
const fields = fc
  .record({
    type: fc.constantFrom(0, 1, 2, 5, 6, 32769, 32770, 32800, 9),
    done: fc.boolean(),
    slot: fc.nat({ max: 4 }),
    from: fc.nat({ max: LENGTH }),
    length: fc.nat({ max: LENGTH }),
    lie: fc.constantFrom(0, 0, 0, 0, 1, -1),
    fill: fc.nat({ max: 255 }),
    otherOffset: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1),
  })
  .map((c) => {
    let payload: number[] = [];
    if (c.type === 1) payload = [0, 0, 0, 0, ...u32(8 + c.from), ...new Array<number>(c.length).fill(c.fill)];
    if (c.type === 2) payload = [0, 0, 0, 0, ...u32(8 + c.from), ...u32(c.length)];
    if (c.type === 5) payload = [...u32(c.fill), ...u32(c.length), ...u32(0)];
    if (c.type === 6) payload = [...u32(c.fill), ...u32(c.from % 3), ...u32(0), ...u32(c.length), ...u32(0), ...u32(3)];
    if (c.type > 32768) payload = [...u32(c.fill), 0, 2, 104, 105];
    return { ...c, payload };
  });

const chunk = fields.map(({ payload, ...c }) => {
  const out = new Uint8Array(STRUCTURED_REPLY.SIZE + payload.length);
  encodeChunk(viewOf(out), 0, c.done ? 1 : 0, c.type, 0, c.slot, Math.max(0, payload.length + c.lie));
  out.set(payload, STRUCTURED_REPLY.SIZE);
  return out;
});

const extendedChunk = fields.map(({ payload, ...c }) => {
  const out = new Uint8Array(EXTENDED_REPLY.SIZE + payload.length);
  const asked = { cookieHi: 0, cookieLo: c.slot, offsetHi: 0, offsetLo: 8 + c.otherOffset };
  encodeExtendedChunk(viewOf(out), 0, c.done ? 1 : 0, c.type, asked, Math.max(0, payload.length + c.lie));
  out.set(payload, EXTENDED_REPLY.SIZE);
  return out;
});
const kinds = [
  { what: 'structured', chunk, wire: STRUCTURED },
  { what: 'extended', chunk: extendedChunk, wire: EXTENDED },
];

describe.each(kinds)('a parser of $what replies', ({ chunk, wire }) => {
  it('says the same however the bytes are cut, and is malformed once at most', () => {
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }), (chunks, cuts) => {
        const stream = joined(chunks);
        const whole = parse(stream, [Infinity], wire);
        expect(whole.malformed).toBeLessThanOrEqual(1);
        expect(parse(stream, cuts, wire)).toEqual(whole);
        expect(parse(stream, [1], wire)).toEqual(whole);
        const slots = whole.replied.map((r) => r.slot);
        expect(new Set(slots).size).toBe(slots.length);
      }),
      { numRuns: 300 },
    );
  });

  it('survives any bytes whatever', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(2), (bytes, first) => {
        const magic =
          [
            [0x66, 0x8e, 0x33, 0xef],
            [0x67, 0x44, 0x66, 0x98],
            [0x6e, 0x8a, 0x27, 0x8c],
          ][first] ?? [];
        const stream = new Uint8Array([...magic, ...bytes]);
        expect(parse(stream, [3], wire)).toEqual(parse(stream, [Infinity], wire));
      }),
      { numRuns: 300 },
    );
  });

  it('often understands what the property makes, so that the property means something', () => {
    const samples = fc.sample(fc.array(chunk, { minLength: 1, maxLength: 4 }), { numRuns: 500, seed: 1 });
    const results = samples.map((s) => parse(joined(s), [Infinity], wire));
    expect(results.filter((r) => r.replied.length > 0).length).toBeGreaterThan(20);
    expect(results.filter((r) => r.malformed > 0).length).toBeGreaterThan(20);
    expect(results.filter((r) => r.malformed === 0).length).toBeGreaterThan(20);
  });
});
