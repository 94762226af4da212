/**
 * The merge of the previous source's account into that of the node in service (design.md, "Merge"): which maps are united
 * into which, and what the record may say afterwards.
 *
 *   S in service, P previous source, X another, still pending from P
 *     S.oos[P]  gains  P.oos[S], P.intent
 *     S.oos[X]  gains  P.oos[S], P.oos[X], P.intent
 *
 * Order of use: the unions durable on S, then the record as planned here, then P may be told that its marks are taken.
 * A merge makes an account complete only where P's own was. What P waits for itself, S waits for from then on.
 */
import { sameMirror, unknownSession } from './account.ts';
import { provenByGrant } from './grant.ts';
import { claimedSince } from './membership.ts';
import { isForeign } from './situation.ts';
import type { Epoch, MergePending, NodeName, NodeView, StateRecord } from './types.ts';

export type MapName = 'intent' | `oos:${string}`;

export interface MergeOperation {
  /** Map of S. */
  into: MapName;
  from: { node: NodeName; map: MapName };
}

export interface MergePlan {
  operations: MergeOperation[];
  /** Of S, to be written once the unions are durable. */
  mergePending: MergePending[];
  accountComplete: NodeName[];
  /** Nodes that were pending from P and whose account cannot be completed: full resync. With why. */
  fullFor: NodeName[];
  /** Nothing is merged because of a bitmap file that can't be read: to be said aloud (M13). */
  damaged: boolean;
  why: string;
}

/** Whose bitmap file is damaged, of two nodes of one mirror; null: nobody's. */
function damagedNode(s: NodeView, p: NodeView): NodeName | null {
  if (!sameMirror(s.record, p.record)) return null;
  return s.bitmapDamaged ? s.node : p.bitmapDamaged ? p.node : null;
}

/** Why P's account means nothing to S; null: it can be merged. */
function unusable(s: NodeView, p: NodeView): string | null {
  if (!sameMirror(s.record, p.record)) return `${p.node} is of another mirror`;
  const damaged = damagedNode(s, p);
  if (damaged !== null) return `the bitmap file of ${damaged} is damaged`;
  if (p.record.accountGivenTo !== null) return `${p.node} has handed its marks over to ${p.record.accountGivenTo}, and may have forgotten them`;
  if (p.record.definition.regionSizeBytes !== s.record.definition.regionSizeBytes) return 'the region sizes differ';
  // It knows nothing of what the others have behind its end, or has forgotten it.
  if (p.record.definition.sizeBytes < s.record.definition.sizeBytes) return `the mirror is smaller on ${p.node}`;
  if (!p.record.accountComplete.includes(s.node)) return `${p.node} has not kept marks for ${s.node} since both were in sync`;
  return null;
}

function pendingFrom(r: StateRecord, p: NodeName): NodeName[] {
  return [...new Set(r.mergePending.filter((m) => m.from === p).flatMap((m) => m.for))].filter((x) => x !== p && x !== r.node);
}

/** Pure: what to unite and what to write when `p`, the previous source of `s`, can be heard. */
export function planMerge(s: NodeView, p: NodeView): MergePlan {
  const targets = pendingFrom(s.record, p.node);
  const others = s.record.mergePending.filter((m) => m.from !== p.node);
  const not = unusable(s, p);
  if (not !== null) {
    const incomplete = [p.node, ...targets];
    return {
      operations: [],
      mergePending: others,
      accountComplete: s.record.accountComplete.filter((n) => !incomplete.includes(n)),
      fullFor: targets,
      damaged: damagedNode(s, p) !== null,
      why: `nothing is merged: ${not}`,
    };
  }
  const of = (map: MapName): MergeOperation['from'] => ({ node: p.node, map });
  const operations: MergeOperation[] = [of(`oos:${s.node}`), of('intent')].map((from) => ({ into: `oos:${p.node}`, from }));
  for (const x of targets) {
    for (const map of [`oos:${s.node}`, `oos:${x}`, 'intent'] as const) operations.push({ into: `oos:${x}`, from: of(map) });
  }
  // P waits for Q's marks for X: so does S from now on. What P waits for from S itself, S has.
  const inherited = p.record.mergePending
    .filter((m) => m.from !== s.node)
    .map((m) => ({ from: m.from, for: m.for.filter((x) => targets.includes(x) && x !== m.from) }))
    .filter((m) => m.for.length > 0);
  const waits = (x: NodeName): boolean => inherited.some((m) => m.for.includes(x));
  const fromSelf = (x: NodeName): boolean => p.record.mergePending.some((m) => m.from === s.node && m.for.includes(x));
  const accounted = (x: NodeName): boolean => (fromSelf(x) ? s.record.accountComplete.includes(x) : p.record.accountComplete.includes(x));
  const complete = targets.filter((x) => !waits(x) && accounted(x));
  const fullFor = targets.filter((x) => !waits(x) && !accounted(x));
  return {
    operations,
    mergePending: [...others, ...inherited],
    accountComplete: [...new Set([...s.record.accountComplete.filter((n) => !fullFor.includes(n)), ...complete])],
    fullFor,
    damaged: false,
    why: `${p.node}'s marks are united with those of ${s.node}${targets.length === 0 ? '' : ` for ${targets.join(', ')}`}`,
  };
}

/** The parts of a record that change when a node goes in service. */
export type EnteringAccount = Pick<
  StateRecord,
  'inSync' | 'droppedUnconfirmed' | 'accountComplete' | 'accountGivenTo' | 'mergePending' | 'absentPeers'
>;

/**
 * Nobody else can have served since `r` did: each other node has accepted this claim, so that its record was heard, and nobody has claimed an
 * epoch meanwhile. A force proves nothing: whoever it passes over, or overrules, may have served.
 */
export function servedLastOfAll(r: StateRecord, confirmed: readonly NodeName[], o: { forced: boolean; seen: readonly Epoch[] }): boolean {
  const others = Object.keys(r.definition.nodes).filter((n) => n !== r.node && !isForeign(r.definition, n));
  return !o.forced && others.every((n) => confirmed.includes(n)) && !claimedSince(r, o.seen);
}

/**
 * What S may say of the others once it serves. The last source going on keeps its set (M2 applies to each member); an
 * in-sync target that takes over has an account of the previous source alone, and waits for its marks for all others; after
 * a switchover, of all whom that source proved to be equal.
 * Anybody else is there by force, and has an account of nobody: its data was being overwritten, is behind, or its marks
 * are with somebody else.
 * `r`: the record before the claim. `confirmed`: nodes that have durably accepted the claim, so that they know that they
 * are out. `lastOfAll`: see `servedLastOfAll`. A foreign target has no record that would tell who else has written to it: without that, its
 * account is void.
 */
export function enteringAccount(r: StateRecord, confirmed: readonly NodeName[], lastOfAll = false): EnteringAccount {
  // Its own leg may hold what a source wrote that it has not joined: its marks know nothing of that, whoever is copied to.
  const known = unknownSession(r, r) === null;
  const sound = known && r.resyncingFrom === null && r.toldOut === null && r.legBehind === null && r.accountGivenTo === null;
  const wasSource = r.epochServed !== null && (r.epochInSync === null || r.epochServed.number >= r.epochInSync.number);
  if (r.epochInSync === null || wasSource) {
    return {
      inSync: r.inSync.includes(r.node) ? r.inSync : [...r.inSync, r.node],
      droppedUnconfirmed: r.droppedUnconfirmed,
      accountComplete: sound ? r.accountComplete.filter((n) => lastOfAll || !isForeign(r.definition, n)) : [],
      accountGivenTo: null,
      mergePending: sound ? r.mergePending : [],
      absentPeers: r.absentPeers,
    };
  }
  const previous = r.epochInSync.owner;
  const wasInSync = known && r.inSync.includes(r.node) && r.resyncingFrom === null && r.toldOut === null && r.legBehind === null;
  const others = Object.entries(r.definition.nodes)
    .filter(([n, d]) => n !== r.node && n !== previous && d.foreignUri === undefined)
    .map(([n]) => n);
  // The owner of an epoch is out as well, though it may have been dropped from the set by nobody.
  const members = [...new Set([...r.inSync, ...r.droppedUnconfirmed, previous])];
  const left = r.inSync.filter((n) => n !== r.node);
  // After the last write of a source that handed over, all these were equal: no marks are a whole account of each of them.
  const proven = wasInSync ? provenByGrant(r) : [];
  const pending = others.filter((n) => !proven.includes(n));
  return {
    inSync: [r.node],
    droppedUnconfirmed: members.filter((n) => n !== r.node && !confirmed.includes(n) && Object.hasOwn(r.definition.nodes, n)),
    accountComplete: [...new Set([...(wasInSync && r.inSync.includes(previous) ? [previous] : []), ...proven])],
    accountGivenTo: null,
    mergePending: pending.length === 0 || !wasInSync ? [] : [{ from: previous, for: pending }],
    absentPeers: { ...r.absentPeers, ...Object.fromEntries(left.map((n) => [n, r.generation])) },
  };
}
