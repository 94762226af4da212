import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBody, decodeLength, encodeFrame, FRAME_MAX_BYTES, FrameDecoder, FrameError } from '../../../src/cluster/frame.ts';

function framed(body: Uint8Array, length = body.length): Uint8Array {
  const out = new Uint8Array(4 + body.length);
  new DataView(out.buffer).setUint32(0, length);
  out.set(body, 4);
  return out;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function faultOf(f: () => unknown): string {
  try {
    f();
  } catch (e: unknown) {
    if (e instanceof FrameError) return e.fault;
    throw e;
  }
  return 'none';
}

function decodeAll(bytes: Uint8Array): { frames: unknown[]; fault: string } {
  const frames: unknown[] = [];
  const fault = faultOf(() => {
    new FrameDecoder().push(bytes, (v) => frames.push(v));
  });
  return { frames, fault };
}

describe('frames between nodes', () => {
  it('a frame is a big-endian length and JSON', () => {
    expect([...encodeFrame({ a: 1 })].slice(0, 11)).toEqual([0, 0, 0, 7 + 16, ...Buffer.from('{"a":1}')]);
  });

  it('its seal is the CRC of the JSON in white space, which JSON may end with', () => {
    const digits = crc32('{"a":1}').toString(4).padStart(16, '0');
    const seal = Array.from(digits, (d) => [' ', '\t', '\n', '\r'][Number(d)]).join('');
    const body = Buffer.from(encodeFrame({ a: 1 }))
      .subarray(4)
      .toString();
    expect(body).toBe(`{"a":1}${seal}`);
    // As an older node does.
    expect(JSON.parse(body)).toEqual({ a: 1 });
  });

  it('without a seal comes from an older node, and is taken', () => {
    expect(decodeAll(framed(Buffer.from('{"a":1}'))).frames).toEqual([{ a: 1 }]);
    expect(decodeAll(framed(Buffer.from('{"a":"a text of more than sixteen characters"}'))).fault).toBe('none');
  });

  it('never says anything else when any one bit of it was flipped', () => {
    const sent = { method: 'session.open', params: { kind: 'full', epoch: 17, yes: true } };
    const whole = encodeFrame(sent);
    const next = encodeFrame({ next: 1 });
    for (let bit = 0; bit < whole.length * 8; bit += 1) {
      const bytes = whole.slice();
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const { frames, fault } = decodeAll(joined([bytes, next, next]));
      // A length alone may have been cut to the end of the text: what it says is whole, and nothing is taken after it.
      for (const f of frames) expect(f).toEqual(sent);
      if (bit >= 32) expect(frames).toEqual([]);
      expect(frames.length === 0 || fault !== 'none', `bit ${String(bit)}`).toBe(true);
    }
  });

  it('any messages come out as they went in, however the bytes are split', () => {
    const messages = fc.array(fc.record({ v: fc.jsonValue() }), { maxLength: 6 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 50 }), (sent, sizes) => {
        const bytes = joined(sent.map((m) => encodeFrame(m)));
        const decoder = new FrameDecoder();
        const got: unknown[] = [];
        let at = 0;
        for (let i = 0; at < bytes.length; i += 1) {
          const n = sizes[i % sizes.length] ?? 1;
          decoder.push(bytes.slice(at, at + n), (v) => got.push(v));
          at += n;
        }
        expect(got).toEqual(JSON.parse(JSON.stringify(sent)));
        expect(decoder.keptBytes).toBe(0);
      }),
    );
  });

  it('arbitrary bytes give frames or a typed fault, never another error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(['none', 'empty', 'too-long', 'damaged', 'not-utf8', 'not-json']).toContain(decodeAll(bytes).fault);
        expect(['none', 'empty', 'too-long', 'damaged', 'not-utf8', 'not-json']).toContain(decodeAll(framed(bytes)).fault);
      }),
    );
  });

  it('a frame of exactly the limit passes, one byte more is refused on both sides', () => {
    const fits = { s: 'x'.repeat(FRAME_MAX_BYTES - 8 - 16) };
    expect(encodeFrame(fits).length).toBe(4 + FRAME_MAX_BYTES);
    expect(decodeAll(encodeFrame(fits)).frames).toEqual([fits]);
    expect(faultOf(() => encodeFrame({ s: `${fits.s}x` }))).toBe('too-long');
    expect(decodeAll(framed(new Uint8Array(0), FRAME_MAX_BYTES + 1)).fault).toBe('too-long');
  });

  it('the limit counts bytes, not characters', () => {
    expect(faultOf(() => encodeFrame({ s: 'ü'.repeat(10) }, 27 + 16))).toBe('too-long');
    expect(faultOf(() => encodeFrame({ s: 'ü'.repeat(10) }, 28 + 16))).toBe('none');
  });

  it('a frame without content is refused', () => {
    expect(decodeAll(framed(new Uint8Array(0))).fault).toBe('empty');
  });

  it('a frame that is not UTF-8 is refused', () => {
    expect(faultOf(() => decodeBody(new Uint8Array([0x22, 0xff, 0x22])))).toBe('not-utf8');
  });

  it('a frame that is not JSON is refused, a byte order mark included', () => {
    expect(faultOf(() => decodeBody(Buffer.from('GET / HTTP/1.1')))).toBe('not-json');
    expect(faultOf(() => decodeBody(Buffer.from('\ufeff{}')))).toBe('not-json');
  });

  it('a frame nested as deep as it can be is decoded or refused, without overflow', () => {
    const deep = Buffer.from(`${'['.repeat(FRAME_MAX_BYTES / 2)}${']'.repeat(FRAME_MAX_BYTES / 2)}`);
    expect(['none', 'not-json']).toContain(faultOf(() => decodeBody(deep)));
  });

  it('frames before a fault are given, and nothing after it', () => {
    const decoder = new FrameDecoder();
    const got: unknown[] = [];
    const bytes = joined([encodeFrame({ a: 1 }), framed(Buffer.from('nonsense')), encodeFrame({ a: 2 })]);
    expect(
      faultOf(() => {
        decoder.push(bytes, (v) => got.push(v));
      }),
    ).toBe('not-json');
    expect(
      faultOf(() => {
        decoder.push(encodeFrame({ a: 3 }), (v) => got.push(v));
      }),
    ).toBe('not-json');
    expect(got).toEqual([{ a: 1 }]);
  });

  it('a header is judged before a byte of the body is kept', () => {
    const decoder = new FrameDecoder(100);
    expect(
      faultOf(() => {
        decoder.push(new Uint8Array([0, 0, 0, 101]), () => undefined);
      }),
    ).toBe('too-long');
    expect(decodeLength(new Uint8Array([0, 0, 1, 2]))).toBe(258);
  });
});
