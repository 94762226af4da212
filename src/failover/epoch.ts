/**
 * The order of epochs (M8, M9). Numbers decide; two epochs of one number that differ in owner or random have two owners,
 * and no order between them is ever made up.
 */
import type { Chance } from '../io/types.ts';
import type { Epoch, NodeName } from './types.ts';

export type EpochOrder = 'lower' | 'equal' | 'higher' | 'conflict';

/** How `a` stands to `b`; no epoch at all is lower than any. */
export function compareEpoch(a: Epoch | null, b: Epoch | null): EpochOrder {
  if (a === null) return b === null ? 'equal' : 'lower';
  if (b === null) return 'higher';
  if (a.number !== b.number) return a.number < b.number ? 'lower' : 'higher';
  return a.owner === b.owner && a.random === b.random ? 'equal' : 'conflict';
}

export function isHigher(a: Epoch | null, b: Epoch | null): boolean {
  return compareEpoch(a, b) === 'higher';
}

export function isSame(a: Epoch | null, b: Epoch | null): boolean {
  return compareEpoch(a, b) === 'equal';
}

/** The highest; of two in conflict the first one named stays, so that the result never depends on chance. */
export function highestEpoch(...epochs: (Epoch | null)[]): Epoch | null {
  let highest: Epoch | null = null;
  for (const e of epochs) if (isHigher(e, highest)) highest = e;
  return highest;
}

/** The epoch of a new claim: one above the highest seen. Throws RangeError when numbers are used up. */
export function nextEpoch(highestSeen: Epoch | null, owner: NodeName, chance: Chance): Epoch {
  const number = (highestSeen?.number ?? 0) + 1;
  if (!Number.isSafeInteger(number)) throw new RangeError(`epoch ${String(highestSeen?.number)} has no successor`);
  return { number, owner, random: chance.hex64() };
}

/** For people: `3 (server2)`. */
export function epochText(e: Epoch | null): string {
  return e === null ? 'none' : `${String(e.number)} (${e.owner})`;
}
