/**
 * What two records say of each other: contradictions (M9, M10), and whether one node's marks are a complete account of
 * what another lacks. Everything here is a question about two views; the tables in compare.ts and decide.ts ask them.
 */
import { compareEpoch, epochText, highestEpoch, isHigher, isSame } from './epoch.ts';
import { heldGeneration, holdsUnknown } from './generation.ts';
import type { CompareAnswer, Epoch, NodeName, NodeView, StateRecord } from './types.ts';

/** The last epoch this node served, or was in sync in: what it knows by itself, not by being told. */
export function termOf(r: StateRecord): Epoch | null {
  return highestEpoch(r.epochServed, r.epochInSync);
}

/** Epochs that, by this record, somebody served for certain. */
export function provenEpochs(r: StateRecord): Epoch[] {
  return [r.epochServed, r.epochInSync, r.toldOut?.epoch, r.witnessed?.epoch, r.legBehind?.since].filter((e) => e !== null && e !== undefined);
}

/** The highest of them. */
export function provenEpoch(r: StateRecord): Epoch | null {
  return highestEpoch(...provenEpochs(r));
}

/** `a` served an epoch that `b` does not know by itself. */
function servedUnknown(a: StateRecord, b: StateRecord): boolean {
  const order = compareEpoch(a.epochServed, termOf(b));
  return order === 'higher' || order === 'conflict';
}

/** An epoch that both have left behind, each in sync with a later owner since, counts no more: whose data is kept was decided then. */
function twoOwners(a: StateRecord, b: StateRecord): [Epoch, Epoch] | null {
  const leftBehind = (e: Epoch): boolean => isHigher(termOf(a), e) && isHigher(termOf(b), e);
  for (const x of [a.epochServed, a.epochInSync]) {
    for (const y of [b.epochServed, b.epochInSync]) {
      if (x !== null && y !== null && compareEpoch(x, y) === 'conflict' && !leftBehind(x)) return [x, y];
    }
  }
  return null;
}

function evidence(r: StateRecord): string {
  return `${r.node} holds generation ${heldGeneration(r)}, served epoch ${epochText(r.epochServed)}, was last in sync in ${epochText(r.epochInSync)}`;
}

/**
 * The row `split-brain` of `compare`, without its answer: what contradicts, with both sides' evidence, or null.
 * `heartbeats`: the records were not taken at one time, but as last heard.
 */
export function splitBrain(a: StateRecord, b: StateRecord, o: { heartbeats?: boolean } = {}): string | null {
  const owners = twoOwners(a, b);
  if (owners !== null) {
    return `epoch ${String(owners[0].number)} has two owners, ${owners[0].owner} and ${owners[1].owner}: ${evidence(a)}; ${evidence(b)}`;
  }
  const aHolds = holdsUnknown(a, b);
  const bHolds = holdsUnknown(b, a);
  const aHas = aHolds || servedUnknown(a, b);
  const bHas = bHolds || servedUnknown(b, a);
  if (aHas && bHas) return `each has something the other does not know: ${evidence(a)}; ${evidence(b)}`;
  // In its own epoch an owner knows every generation before any target does. But a heartbeat of the owner may be older than
  // what a target in sync in that very epoch has taken from it since.
  const mayBeOld = (owner: StateRecord, target: StateRecord): boolean => o.heartbeats === true && isSame(target.epochInSync, owner.epochServed);
  const aOwns = a.epochServed !== null && !isHigher(termOf(b), a.epochServed) && !mayBeOld(a, b);
  const bOwns = b.epochServed !== null && !isHigher(termOf(a), b.epochServed) && !mayBeOld(b, a);
  if ((aOwns && bHolds) || (bOwns && aHolds)) {
    return `one served the higher epoch, and the other holds a generation that it does not know: ${evidence(a)}; ${evidence(b)}`;
  }
  return null;
}

/** `to` has nothing that `from` lacks. */
export function holdsNothingMore(to: StateRecord, from: StateRecord): boolean {
  return !holdsUnknown(to, from) && !servedUnknown(to, from);
}

/** The one of two that served the last epoch both know of, or null. Two cannot be: that is a split brain. */
export function lastServer(a: NodeView, b: NodeView): NodeView | null {
  const term = highestEpoch(termOf(a.record), termOf(b.record));
  if (term === null) return null;
  return [a, b].find((v) => compareEpoch(v.record.epochServed, term) === 'equal') ?? null;
}

export function sameMirror(a: StateRecord, b: StateRecord): boolean {
  return a.definition.createId === b.definition.createId && a.definition.tag === b.definition.tag;
}

/** An epoch `to` has seen and `from` did not serve itself: somebody else may have written since. Claims of the two themselves, never served, do not count. */
function servedSince(from: StateRecord, to: StateRecord): Epoch | null {
  const seen = to.epochSeen;
  const order = compareEpoch(seen, from.epochServed);
  if (seen === null || order === 'lower' || order === 'equal') return null;
  const claimedOnly = (r: StateRecord): boolean => seen.owner === r.node && compareEpoch(seen, r.epochServed) !== 'equal';
  return claimedOnly(from) || claimedOnly(to) ? null : seen;
}

/**
 * A session of a source that `from`'s marks know nothing of, in which `to` may have got data under the generation that both hold: a generation
 * is made at the first write, and what is copied before then bears the old one. Null: there was none, or an earlier version does not say.
 * An epoch that `to` served itself is one of them: what it was given before then came along into it.
 */
export function unknownSession(from: StateRecord, to: StateRecord): Epoch | null {
  if (from.terms === undefined || to.sessionIn === undefined || to.sessionIn === null) return null;
  return from.terms.includes(to.sessionIn.random) ? null : to.sessionIn;
}

/** Why `from`'s marks are not a complete account of what `to` may lack; null: they are, and partial is allowed. */
export function accountGap(from: NodeView, to: NodeView): string | null {
  const f = from.record;
  const t = to.record;
  if (from.bitmapDamaged) return `the bitmap file of ${from.node} is damaged`;
  if (to.bitmapDamaged) return `the bitmap file of ${to.node} is damaged`;
  // What a larger one has behind the end of the mirror is cut off. Of a smaller one the marks may have been cut off.
  if (f.definition.sizeBytes > t.definition.sizeBytes || f.definition.regionSizeBytes !== t.definition.regionSizeBytes) {
    return `the mirror is smaller on ${t.node}, or its regions have another size`;
  }
  if (f.accountGivenTo !== null && f.accountGivenTo !== from.node) return `${from.node} has handed its marks over to ${f.accountGivenTo}`;
  const since = servedSince(f, t);
  if (since !== null) return `epoch ${epochText(since)} came after the last one that ${from.node} served`;
  return unaccounted(f, t);
}

/** Why `from` has no marks, or none that count, of what was done to `to`; null: it has kept or merged them all. */
export function unaccounted(from: StateRecord, to: StateRecord): string | null {
  const pending = from.mergePending.find((m) => m.for.includes(to.node));
  if (pending !== undefined) return `${from.node} has not merged the marks that ${pending.from} keeps for ${to.node}`;
  if (!from.accountComplete.includes(to.node)) return `${from.node} has not kept marks for ${to.node} since both were in sync`;
  const session = unknownSession(from, to);
  if (session !== null) return `${to.node} was a target in epoch ${epochText(session)}, of which ${from.node}'s marks know nothing`;
  return null;
}

export type Mark = NonNullable<CompareAnswer['marks']>[number];

export function intentOf(v: NodeView): Mark {
  return { of: v.node, map: 'intent' };
}

export function outOfSync(v: NodeView, target: NodeName): Mark {
  return { of: v.node, map: 'out-of-sync', for: target };
}

function markedFor(v: NodeView, target: NodeName): number {
  return Object.hasOwn(v.outOfSyncBytes, target) ? (v.outOfSyncBytes[target] ?? 0) : 0;
}

/** Marks between the two that exist now: never dropped, always resynced (M5). A node in service has intent marks at all times; they are its own business. */
export function existingMarks(a: NodeView, b: NodeView): Mark[] {
  const of = (v: NodeView, other: NodeView): Mark[] => [
    ...(v.intentBytes > 0 && !v.inService ? [intentOf(v)] : []),
    ...(markedFor(v, other.node) > 0 ? [outOfSync(v, other.node)] : []),
  ];
  return [...of(a, b), ...of(b, a)];
}

export function uniqueMarks(marks: readonly Mark[]): Mark[] {
  const key = (m: Mark): string => (m.map === 'intent' ? `${m.of} intent` : `${m.of} ${m.map} ${m.for}`);
  return marks.filter((m, i) => marks.findIndex((x) => key(x) === key(m)) === i);
}
