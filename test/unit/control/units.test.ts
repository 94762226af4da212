import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatAge, formatClock, formatDuration, formatSize, parseDuration, parseSize } from '../../../src/control/units.ts';

describe('sizes', () => {
  it.each([
    ['0', 0],
    ['4096', 4096],
    ['7B', 7],
    ['64MiB', 64 * 2 ** 20],
    ['64 MiB', 64 * 2 ** 20],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['64TiB', 2 ** 46],
  ])('reads %s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', ' 1', '-1', '1e5', '1.5', '64MB', '64mib', '1_000', 'MiB', '9007199254740993', '9999999TiB', '0x10', '1KiB\n'])(
    'takes %j for none',
    (text) => {
      expect(parseSize(text)).toBeUndefined();
    },
  );

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1.2 * 2 ** 30, '1.2 GiB'],
    [2 ** 20 - 1, '1.0 MiB'],
    [2 ** 46, '64 TiB'],
  ])('writes %d', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });

  it('reads back what it writes, to a twentieth', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 46 }), (bytes) => {
        const m = /^([\d.]+) (\w+)$/.exec(formatSize(bytes));
        const unit = parseSize(`1${m?.[2] ?? ''}`) ?? Number.NaN;
        expect(Math.abs(Number(m?.[1]) * unit - bytes)).toBeLessThanOrEqual(bytes / 19);
        expect(Number(m?.[1])).toBeLessThan(1024);
      }),
    );
  });
});

describe('times', () => {
  it.each([
    ['500ms', 500],
    ['2s', 2000],
    ['1.5s', 1500],
    ['1m', 60_000],
    ['1h', 3_600_000],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  it.each(['', '2', '2 sec', '-1s', '0.5ms', '1d', 's'])('takes %j for none', (text) => {
    expect(parseDuration(text)).toBeUndefined();
  });

  it('writes what it reads', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 9 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });

  it('writes the time left like a clock, which never runs backwards', () => {
    expect([12.4, 3661, 360_000, -5].map(formatClock)).toEqual(['00:00:12', '01:01:01', '100:00:00', '00:00:00']);
  });
});

it('tells an age in the two units that matter', () => {
  const shown = [-5, 0, 449, 9999, 10_000, 59_999, 60_000, 245_000, 3_599_999, 11_520_000, 86_400_000, 187_200_000].map(formatAge);
  expect(shown).toEqual(['0.0s', '0.0s', '0.4s', '9.9s', '10s', '59s', '1m 00s', '4m 05s', '59m 59s', '3h 12m', '1d 0h', '2d 4h']);
});
