import { expect, it } from 'vitest';
import { dateOf, isoSecond, parseOpensslDate } from '../../../src/io/calendar.ts';

it('a moment is a date of whole seconds, also before 1970', () => {
  expect(dateOf(1999).getTime()).toBe(1000);
  expect(dateOf(-1).getTime()).toBe(-1000);
  expect(isoSecond(Date.UTC(2026, 10, 28, 5, 8, 42, 999))).toBe('2026-11-28T05:08:42Z');
});

it.each([
  ['Nov 28 05:03:42 2026 GMT', Date.UTC(2026, 10, 28, 5, 3, 42)],
  ['Jan  1 00:00:00 2126 GMT', Date.UTC(2126, 0, 1)],
  ['Nov 28 05:03:42 2026', undefined],
  ['2026-11-28', undefined],
  ['Foo 28 05:03:42 2026 GMT', undefined],
  ['', undefined],
])('%j is %j', (text, ms) => {
  expect(parseOpensslDate(text)).toBe(ms);
});
