/** Limits and choices of one mirror device; each limit has its unit last. */
import type { AsyncLimits } from './async-queue.ts';
import type { IntentSettings } from './intent-limits.ts';

export interface ResyncSettings {
  /** LKDR_SPEED_LIMIT and LKDR_SPEED_LIMIT_MIN, here in bytes a second. */
  rateMaxBytesPerSec: number;
  rateMinBytesPerSec: number;
  /** One copy at a time moves this much, and this many are in flight. */
  copyBytes: number;
  copiesInFlightMax: number;
  /** Marks are dropped, after syncs of both legs, at least this often. */
  proveEveryBytes: number;
  proveEveryMs: number;
  /** Compare checksums first and leave equal blocks alone. */
  skipEqual: boolean;
}

export interface MirrorSettings {
  payloadMaxBytes: number;
  /** Requests in hand; more wait at the entrance. Below what the client of a target takes. */
  requestsMax: number;
  /** leave: a failed local leg leaves the mirror while a target goes on; pass-on: the application gets the error. */
  localErrors: 'leave' | 'pass-on';
  async: AsyncLimits;
  intent: IntentSettings;
  resync: ResyncSettings;
  /** How often a bitmap file that can't be written is tried again. */
  marksRetryMs: number;
  /** Idle writes are proven with a sync of every leg after this long. */
  proveIdleMs: number;
  /** When nothing has been written for so long, the marks that were kept for a hot set go too. */
  keepIdleMs: number;
}

export const DEFAULT_SETTINGS: MirrorSettings = {
  payloadMaxBytes: 32 * 1024 * 1024,
  requestsMax: 1024,
  localErrors: 'leave',
  async: { writesMax: 4096, bytesMax: 64 * 1024 * 1024, inFlightMax: 128 },
  intent: { keepMax: null, markedMax: null },
  resync: {
    rateMaxBytesPerSec: 500_000 * 1024,
    rateMinBytesPerSec: 20_000 * 1024,
    copyBytes: 256 * 1024,
    copiesInFlightMax: 8,
    proveEveryBytes: 256 * 1024 * 1024,
    proveEveryMs: 2000,
    skipEqual: false,
  },
  marksRetryMs: 500,
  proveIdleMs: 5000,
  keepIdleMs: 600_000,
};
