/**
 * LifeKeeper's tunables: `KEY=VALUE` lines of ROOT/etc/default/LifeKeeper, and the environment, which wins. The file is
 * shared with other programs, so keys that are not NetRAID's are left alone; one that looks like it is reported.
 */
import { isRegionSize, REGION_MAX_BYTES, REGION_MIN_BYTES } from '../bitmap/regions.ts';
import { DEFAULT_SETTINGS } from '../mirror/settings.ts';
import { ConfigError, shown } from './config-error.ts';
import { WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC } from './schemas.ts';

export interface Tunables {
  /** LKDR_CHUNK_SIZE (KiB there): the region size of a mirror made without one; null: by the device's size. */
  regionBytes: number | null;
  /** LKDR_SPEED_LIMIT, LKDR_SPEED_LIMIT_MIN (KB a second there). */
  rateMaxBytesPerSec: number;
  rateMinBytesPerSec: number;
  /** LKDR_ASYNC_LIMIT: writes outstanding to one async target. */
  asyncWritesMax: number;
  /** LKDR_NO_FULL_SYNC: a target just added is taken as identical, on the operator's word. */
  noFullSync: boolean;
  /** LKDR_CONNECT_NBD_DURING_RESTORE: connect targets before serving. */
  connectBeforeServing: boolean;
  /** LKDR_WAIT_TO_RESYNC: wait for a command before resyncing. */
  waitToResync: boolean;
  /** LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: seconds; 0: do not wait; -1: without end. */
  waitForPreviousSourceSec: number;
  /** Keys with our prefix that mean nothing here, each as `FILE:LINE KEY`. */
  unknown: string[];
}

const RATE_MAX_KB = 1_000_000_000;
const ASYNC_WRITES_MAX = 1_000_000;
const PREFIX = 'LKDR_';
const environmentName = 'environment';

interface Given {
  value: string;
  file: string;
  line: number | null;
}

/** Undefined for a value that is not allowed. */
interface Kind<T> {
  allowed: string;
  parse(text: string): T | undefined;
}

const whole = (min: number, max: number): Kind<number> => ({
  allowed: `a whole number from ${String(min)} to ${String(max)}`,
  parse: (text) => (/^-?\d{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max ? Number(text) : undefined),
});

const yesOrNo: Kind<boolean> = {
  allowed: '1, true or yes; 0, false or no',
  parse: (text) => {
    if (/^(1|true|yes)$/i.test(text)) return true;
    return /^(0|false|no)$/i.test(text) ? false : undefined;
  },
};

const chunkSize: Kind<number> = {
  allowed: `a power of two from ${String(REGION_MIN_BYTES / 1024)} to ${String(REGION_MAX_BYTES / 1024)} (KiB)`,
  parse: (text) => (/^\d{1,9}$/.test(text) && isRegionSize(Number(text) * 1024) ? Number(text) : undefined),
};

const names = {
  chunkSize: 'LKDR_CHUNK_SIZE',
  speedLimit: 'LKDR_SPEED_LIMIT',
  speedLimitMin: 'LKDR_SPEED_LIMIT_MIN',
  asyncLimit: 'LKDR_ASYNC_LIMIT',
  noFullSync: 'LKDR_NO_FULL_SYNC',
  connectDuringRestore: 'LKDR_CONNECT_NBD_DURING_RESTORE',
  waitToResync: 'LKDR_WAIT_TO_RESYNC',
  waitForPreviousSource: 'LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT',
} as const;
/** Those that this code knows. */
export const tunableNames: readonly string[] = Object.values(names);
const known: ReadonlySet<string> = new Set(tunableNames);

/** Throws ConfigError for a value that is not allowed. */
export function parseTunables(text: string, file: string, env: Readonly<Record<string, string | undefined>>): Tunables {
  const given = readLines(text, file);
  for (const [key, value] of Object.entries(env)) {
    if (key.startsWith(PREFIX) && value !== undefined && value !== '') given.set(key, { value, file: environmentName, line: null });
  }
  const take = <T>(key: string, kind: Kind<T>, fallback: T): T => {
    const g = given.get(key);
    if (g === undefined || g.value === '') return fallback;
    const value = kind.parse(g.value);
    if (value === undefined) throw new ConfigError(g.file, g.line, key, `${shown(g.value)} is not allowed; allowed: ${kind.allowed}`);
    return value;
  };
  const { resync, async } = DEFAULT_SETTINGS;
  const maxKb = take(names.speedLimit, whole(1, RATE_MAX_KB), resync.rateMaxBytesPerSec / 1024);
  // A limit below the usual minimum takes the minimum down with it, unless that was asked for too.
  const minKb = take(names.speedLimitMin, whole(0, RATE_MAX_KB), Math.min(maxKb, resync.rateMinBytesPerSec / 1024));
  if (minKb > maxKb) {
    const g = given.get(names.speedLimitMin);
    const why = `${String(minKb)} is above ${names.speedLimit}, which is ${String(maxKb)}; allowed: at most that`;
    throw new ConfigError(g?.file ?? file, g?.line ?? null, names.speedLimitMin, why);
  }
  const regionKib = take<number | null>(names.chunkSize, chunkSize, null);
  return {
    regionBytes: regionKib === null ? null : regionKib * 1024,
    rateMaxBytesPerSec: maxKb * 1024,
    rateMinBytesPerSec: minKb * 1024,
    asyncWritesMax: take(names.asyncLimit, whole(1, ASYNC_WRITES_MAX), async.writesMax),
    noFullSync: take(names.noFullSync, yesOrNo, false),
    connectBeforeServing: take(names.connectDuringRestore, yesOrNo, true),
    waitToResync: take(names.waitToResync, yesOrNo, false),
    waitForPreviousSourceSec: take(names.waitForPreviousSource, whole(-1, WAIT_FOR_PREVIOUS_SOURCE_MAX_SEC), -1),
    unknown: [...given]
      .filter(([key]) => key.startsWith(PREFIX) && !known.has(key))
      .map(([key, g]) => `${g.file}${g.line === null ? '' : `:${String(g.line)}`} ${key}`),
  };
}

/** The last assignment of a key wins, as in a shell. */
function readLines(text: string, file: string): Map<string, Given> {
  const given = new Map<string, Given>();
  for (const [i, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.trim().replace(/^export\s+/, '');
    const m = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line);
    const [, key, rest] = m ?? [];
    if (key === undefined || rest === undefined) {
      if (line.startsWith(PREFIX))
        throw new ConfigError(file, i + 1, '', `${shown(line)} is no setting; allowed: KEY=VALUE, without spaces around =`);
      continue;
    }
    if (!key.startsWith(PREFIX)) continue;
    const value = unquoted(rest);
    if (value === undefined)
      throw new ConfigError(file, i + 1, key, `${shown(rest)} can't be read; allowed: VALUE, 'VALUE' or "VALUE", then # and a comment`);
    given.set(key, { value, file, line: i + 1 });
  }
  return given;
}

function unquoted(rest: string): string | undefined {
  const m = /^(?:'([^']*)'|"([^"$`\\]*)"|([^\s'"#$`\\]*))(?:\s+#.*|\s*)$/.exec(rest);
  return m === null ? undefined : (m[1] ?? m[2] ?? m[3]);
}
