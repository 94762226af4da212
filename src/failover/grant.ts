/**
 * The grant of a switchover: what it says, and for how long (M10). Pure questions about records.
 *
 *   source: drained, flushed, stopped --> grant durable there --> told to `to` --> durable there --> claim --> served
 *                                              |                                       |
 *                     may not go in service     `---- accepted a claim of `from` <------' before it served: void
 *                     without having heard `to`
 *
 * Invariants
 * - a node that gave a grant serves again only in an epoch that the other has durably accepted, and to accept it makes the
 *   grant void there: so never do both
 * - a grant counts only as long as its epoch is the last that its holder was part of, and nobody else has claimed a later one
 */
import { termOf } from './account.ts';
import { compareEpoch, epochText, isSame } from './epoch.ts';
import type { Grant, NodeName, StateRecord } from './types.ts';

export function sameGrant(a: Grant | null, b: Grant | null): boolean {
  return a !== null && b !== null && a.from === b.from && a.to === b.to && isSame(a.epoch, b.epoch);
}

/** What this node gave away, as long as nobody served after it for all that it knows. */
export function grantGiven(r: StateRecord): Grant | null {
  const g = r.grant;
  return g?.from === r.node && isSame(g.epoch, r.epochServed) && isSame(g.epoch, termOf(r)) ? g : null;
}

/** What this node may go in service on. */
export function grantHeld(r: StateRecord): Grant | null {
  const g = r.grant;
  if (g?.to !== r.node || !isSame(g.epoch, termOf(r))) return null;
  // Claims of its own that came to nothing do not count; one of another node has been accepted since.
  const seen = r.epochSeen;
  return seen === null || seen.owner === r.node || ['lower', 'equal'].includes(compareEpoch(seen, g.epoch)) ? g : null;
}

/** Why a node can't take a grant that its source offers; null: it can. */
export function grantRefusal(r: StateRecord, g: Grant): string | null {
  if (g.to !== r.node) return `the grant is for ${g.to}`;
  if (g.epoch.owner !== g.from) return `${g.from} hands over an epoch of ${g.epoch.owner}`;
  if (r.resyncingFrom !== null) return `its resync from ${r.resyncingFrom.node} is not finished`;
  if (r.toldOut !== null) return `it was told that it is out (${r.toldOut.why})`;
  if (r.legBehind !== null) return `its own leg is behind ${r.legBehind.newest}`;
  if (!r.inSync.includes(r.node) || !isSame(r.epochInSync, g.epoch)) return `it was not in sync in epoch ${epochText(g.epoch)}`;
  if (!isSame(r.epochSeen, g.epoch)) return `it has seen epoch ${epochText(r.epochSeen)}`;
  return null;
}

/** As the record of a node that accepts somebody's claim: what it holds is void from then on; what it gave is still to be asked for. */
export function grantAfterClaim(r: StateRecord): Grant | null {
  return r.grant?.to === r.node ? null : r.grant;
}

/** Nodes that lack nothing of what the node going in service has, by the grant that it holds: what the source proved when it ended. */
export function provenByGrant(r: StateRecord): NodeName[] {
  const g = r.grant;
  return g?.to === r.node && isSame(g.epoch, r.epochInSync) ? g.synced.filter((n) => n !== r.node && Object.hasOwn(r.definition.nodes, n)) : [];
}
