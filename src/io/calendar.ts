/** Moments of the wall clock as dates, for certificates and people. Arithmetic alone; which moment it is, `Clock.wallNow` says. */

export const SECOND_MS = 1000;
export const DAY_MS = 24 * 3_600_000;

/** The date of `wallMs`, milliseconds since 1970, without the fraction of its second: certificates have none. */
export function dateOf(wallMs: number): Date {
  return new Date(Math.floor(wallMs / SECOND_MS) * SECOND_MS);
}

/** `2026-11-28T05:08:42Z` */
export function isoSecond(wallMs: number): string {
  return dateOf(wallMs)
    .toISOString()
    .replace(/\.000Z$/, 'Z');
}

/** Milliseconds since 1970 of a date as OpenSSL writes it, such as `Nov 28 05:03:42 2026 GMT`; undefined for anything else. */
export function parseOpensslDate(text: string): number | undefined {
  const ms = /^[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4} GMT$/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
}
