/**
 * Generations: which data history a node holds, and which ones it knows.
 *
 * A record holds its committed generation, or the newest offer under which a write was answered. Later offers, never
 * committed nor served under, are other names for the same data: a target may have written one down before the source
 * crashed. On a target an adopted generation is its `generation`, not an offer: it cannot tell whether it was committed.
 *
 *   history  <-  generation  <-  offered and served  <-  offered only
 *   known, not held              held                    alias: compares as equal
 */
import type { Generation, StateRecord } from './types.ts';

/** The generation whose data this node holds. */
export function heldGeneration(r: StateRecord): Generation {
  return r.offered.findLast((o) => o.served)?.generation ?? r.generation;
}

/** The held one and the offers after it that nothing was served under. */
function aliases(r: StateRecord): Generation[] {
  const served = r.offered.findLastIndex((o) => o.served);
  return [heldGeneration(r), ...r.offered.slice(served + 1).map((o) => o.generation)];
}

export function sameGeneration(a: StateRecord, b: StateRecord): boolean {
  return aliases(a).includes(heldGeneration(b)) || aliases(b).includes(heldGeneration(a));
}

export function knowsGeneration(r: StateRecord, g: Generation): boolean {
  return r.generation === g || r.history.includes(g) || r.offered.some((o) => o.generation === g);
}

/** The generation `keeper` keeps marks of `other` for is the one that `other` has. */
export function keepsMarksFor(keeper: StateRecord, other: StateRecord): boolean {
  const kept = Object.hasOwn(keeper.absentPeers, other.node) ? keeper.absentPeers[other.node] : undefined;
  if (kept === undefined) return false;
  return kept === heldGeneration(other) || (aliases(other).includes(kept) && knowsGeneration(keeper, heldGeneration(other)));
}

/** `holder` has data of a generation that `other` has never heard of. */
export function holdsUnknown(holder: StateRecord, other: StateRecord): boolean {
  if (sameGeneration(holder, other) || keepsMarksFor(other, holder)) return false;
  const held = [heldGeneration(holder), ...holder.offered.filter((o) => o.served).map((o) => o.generation)];
  return held.some((g) => !knowsGeneration(other, g));
}

export function haveCommonGeneration(a: StateRecord, b: StateRecord): boolean {
  if (keepsMarksFor(a, b) || keepsMarksFor(b, a)) return true;
  // A node whose resync was cut short holds a part of what it was being copied from.
  if ([[a, b] as const, [b, a] as const].some(([x, y]) => x.resyncingFrom !== null && knowsGeneration(y, x.resyncingFrom.generation))) return true;
  return [a.generation, ...a.history, ...a.offered.map((o) => o.generation)].some((g) => knowsGeneration(b, g));
}
