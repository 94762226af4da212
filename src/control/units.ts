/** Sizes and times as people write and read them. Parsers answer undefined for what is not one; the caller says where it stood. */

export const SIZE_ALLOWED = 'a number of bytes, or a number with B, KiB, MiB, GiB or TiB, such as 64MiB';
export const DURATION_ALLOWED = 'a number with ms, s, m or h, such as 500ms or 2s';

const sizeUnits: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };
const durationUnits: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Bytes, whole. */
export function parseSize(text: string): number | undefined {
  const m = /^(\d{1,16}(?:\.\d{1,6})?) ?([KMGT]iB|B)?$/.exec(text);
  return m === null ? undefined : whole(Number(m[1]) * (sizeUnits[m[2] ?? 'B'] ?? Number.NaN));
}

/** Milliseconds, whole. */
export function parseDuration(text: string): number | undefined {
  const m = /^(\d{1,12}(?:\.\d{1,3})?) ?(ms|s|m|h)$/.exec(text);
  return m === null ? undefined : whole(Number(m[1]) * (durationUnits[m[2] ?? ''] ?? Number.NaN));
}

function whole(n: number): number | undefined {
  return Number.isSafeInteger(n) ? n : undefined;
}

/** `64 MiB`, `1.2 GiB`: the largest unit that leaves at least 1, one decimal unless it is a whole number of them. */
export function formatSize(bytes: number): string {
  let unit = 'B';
  let factor = 1;
  for (const [name, f] of Object.entries(sizeUnits)) {
    // What would be shown as 1024.0 of a unit is 1.0 of the next.
    if (bytes >= f - f / 20480) [unit, factor] = [name, f];
  }
  const n = bytes / factor;
  return `${Number.isInteger(n) || factor === 1 ? String(Math.round(n)) : n.toFixed(1)} ${unit}`;
}

/** `2s`, `500ms`, `1h`: the largest unit that it is a whole number of. */
export function formatDuration(ms: number): string {
  for (const [name, f] of Object.entries(durationUnits).reverse()) {
    if (ms >= f && ms % f === 0) return `${String(ms / f)}${name}`;
  }
  return `${String(Math.round(ms))}ms`;
}

/** `00:00:12`. */
export function formatClock(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  return [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60].map((n) => String(n).padStart(2, '0')).join(':');
}

/** How long ago, or for how long: `0.4s`, `12s`, `4m 05s`, `3h 12m`, `2d 4h`; never rounded up. */
export function formatAge(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n: number): string => String(n).padStart(2, '0');
  if (ms < 10_000) return `${(Math.floor(Math.max(0, ms) / 100) / 10).toFixed(1)}s`;
  if (s < 60) return `${String(s)}s`;
  if (s < 3600) return `${String(Math.floor(s / 60))}m ${two(s % 60)}s`;
  if (s < 86_400) return `${String(Math.floor(s / 3600))}h ${two(Math.floor(s / 60) % 60)}m`;
  return `${String(Math.floor(s / 86_400))}d ${String(Math.floor(s / 3600) % 24)}h`;
}
