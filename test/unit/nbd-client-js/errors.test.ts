import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanText } from '../../../src/nbd-client-js/errors.ts';

const bytes = (s: string): Uint8Array => new TextEncoder().encode(s);

describe("a server's text", () => {
  it('becomes one line without control characters', () => {
    expect(cleanText(bytes('no\r\nsuch\u001b[31m disk\u2028here\u202eereh '))).toBe('no such [31m disk here ereh');
  });

  it('is cut when it is long', () => {
    expect(cleanText(bytes('x'.repeat(10_000)))).toBe(`${'x'.repeat(256)}…`);
  });

  it('may be any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (b) => {
        const text = cleanText(b);
        expect(Array.from(text).length).toBeLessThanOrEqual(257);
        expect(text).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
      }),
    );
  });
});
