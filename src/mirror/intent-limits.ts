/** How many regions the intent log keeps marked: what is set, or as many as hold so many bytes. */
import { MARKED_BYTES } from '../bitmap/regions.ts';

/** null: by what regions hold. */
export interface IntentSettings {
  /** Regions kept marked after their data was proven, so that a hot set costs no flush. */
  keepMax: number | null;
  /** Regions marked at most, as far as syncs keep up: what would be resynced after a crash. */
  markedMax: number | null;
}

export interface IntentLimits {
  keepMax: number;
  markedMax: number;
}

/** Of large regions that would be next to none; each of many takes some hundred bytes of memory. */
const MARKED_LEAST = 16384;
const MARKED_MOST = 262_144;

/** `regionBytes`: a power of two. What is set is taken as it is, and makes room for, or bounds, what is not. */
export function intentLimits(s: IntentSettings, regionBytes: number): IntentLimits {
  const marked = Math.min(Math.max(MARKED_BYTES / regionBytes, MARKED_LEAST), MARKED_MOST);
  const markedMax = s.markedMax ?? Math.max(marked, s.keepMax ?? 0);
  return { keepMax: s.keepMax ?? Math.min(marked / 2, markedMax), markedMax };
}
