/**
 * What `decide` reads out of its facts before it looks at the table: who can be heard, whose word is needed, who was the
 * last source, and which nodes could go in service instead.
 *
 * "Heard" is a node of the same mirror that spoke within failureTimeout. A foreign target never counts. Required are all
 * members of the in-sync set of any record heard, own included (which closes the set transitively), all who were dropped by
 * silence alone, the owner of the newest epoch, and owners of later claims, who may have served. Who gave a grant needs the
 * word of whoever got it. Who got one does without the word of the last source, which has given it; and, in contact with it
 * until then, without that of members that can't be heard, as in a takeover.
 *
 * "Unsaid" is a node heard that was silent until just now, and has not said since how it sees the mirror: what is known of it is of
 * before, and it may have served meanwhile. What that holds back stays held back; but it is no evidence.
 */
import { holdsNothingMore, provenEpoch, sameMirror, splitBrain, termOf } from './account.ts';
import { definesOver } from './definition.ts';
import { compareEpoch, highestEpoch, isHigher, isSame } from './epoch.ts';
import { holdsUnknown, knowsGeneration } from './generation.ts';
import { grantGiven, grantHeld, sameGrant } from './grant.ts';
import type { Epoch, Facts, Grant, MirrorDefinition, NodeDefinition, NodeName, NodeView, StateRecord } from './types.ts';

/** Why the word of a node is needed: what the record of `by` says. */
export interface Needed {
  because: 'in-sync' | 'unconfirmed' | 'served' | 'claimed' | 'leg-behind' | 'handed-over';
  by: NodeName;
  /** In which it was in sync or served, or which it claimed; null where the record names none. */
  epoch: Epoch | null;
}

export interface Situation {
  facts: Facts;
  self: NodeView;
  record: StateRecord;
  /** The one that holds of all definitions heard, own included. */
  definition: MirrorDefinition;
  /** Other nodes of the mirror, foreign targets left out. */
  mates: NodeName[];
  heard: NodeView[];
  /** Of those, who has said nothing since it was silent for failureTimeout. */
  unsaid: NodeName[];
  /** In service and heard; one that has been removed from the mirror counts as well: it still writes. */
  serving: NodeView | undefined;
  term: Epoch | null;
  /** The last source as this node knows it: itself, or the owner of the term it was in sync in. */
  source: NodeName | null;
  /** By the record, this node served the last epoch that it knows of. */
  servedLast: boolean;
  /** The record and TAG_last_owner both say so. */
  lastOwner: boolean;
  /** Nodes whose word is needed, own included, and why. */
  required: ReadonlyMap<NodeName, readonly Needed[]>;
  /** Nodes whose word is needed, own left out, that cannot be heard. */
  missing: NodeName[];
  /** The last source has handed the mirror over to this node. */
  granted: Grant | null;
  /** An operator is asking, so that what would be waited for is refused. */
  asked: boolean;
}

export function isForeign(d: MirrorDefinition, node: NodeName): boolean {
  return Object.hasOwn(d.nodes, node) && d.nodes[node]?.foreignUri !== undefined;
}

/** Whose word the records heard ask for. Owners count only for the newest epoch: of earlier ones the later owner has taken account. */
function requiredBy(records: StateRecord[], granted: Grant | null, contact: boolean): Map<NodeName, Needed[]> {
  const proven = highestEpoch(...records.map(provenEpoch));
  const required = new Map<NodeName, Needed[]>();
  const add = (node: NodeName, because: Needed['because'], by: NodeName, epoch: Epoch | null): void => {
    const known = required.get(node);
    if (known === undefined) required.set(node, [{ because, by, epoch }]);
    else known.push({ because, by, epoch });
  };
  if (granted === null || !contact) {
    for (const r of records) for (const n of r.inSync) add(n, 'in-sync', r.node, termOf(r));
    for (const r of records) for (const n of r.droppedUnconfirmed) add(n, 'unconfirmed', r.node, termOf(r));
  }
  for (const r of records) if (proven !== null && isSame(provenEpoch(r), proven)) add(proven.owner, 'served', r.node, proven);
  if (granted !== null) required.delete(granted.from);
  for (const r of records) {
    // Claimed, and perhaps served since: only its owner can say.
    for (const seen of [r.epochSeen, r.claim])
      if (seen !== null && !['lower', 'equal'].includes(compareEpoch(seen, proven))) add(seen.owner, 'claimed', r.node, seen);
    if (r.legBehind !== null && isSame(r.legBehind.since, proven)) add(r.legBehind.newest, 'leg-behind', r.node, proven);
    const given = grantGiven(r);
    if (given !== null) add(given.to, 'handed-over', r.node, given.epoch);
  }
  return required;
}

/** A grant that still counts, and that whoever gave it, if it can be heard, has not taken back. */
function holdsGrant(v: NodeView, heard: readonly NodeView[]): boolean {
  const held = grantHeld(v.record);
  if (held === null) return false;
  const giver = heard.find((x) => x.node === held.from);
  return giver === undefined || sameGrant(grantGiven(giver.record), held);
}

/** What it said last came before a silence, whether its own or ours. */
export function isUnsaid(facts: Pick<Facts, 'peers' | 'failureTimeoutMs'>, node: NodeName): boolean {
  const said = Object.hasOwn(facts.peers, node) ? facts.peers[node]?.saidForMs : undefined;
  return said !== undefined && said >= facts.failureTimeoutMs;
}

export function situationOf(facts: Facts): Situation {
  const self = facts.self;
  const record = self.record;
  const fresh = Object.entries(facts.peers)
    .filter(([name, p]) => name === p.view.node && name !== self.node && p.silentForMs < facts.failureTimeoutMs && sameMirror(p.view.record, record))
    .map(([, p]) => p.view);
  const { definition } = fresh.map((v) => v.record).reduce((x, y) => (definesOver(y, x) ? y : x), record);
  const mates = Object.keys(definition.nodes)
    .filter((n) => n !== self.node && !isForeign(definition, n))
    .sort();
  const heard = fresh.filter((v) => mates.includes(v.node)).sort((x, y) => (x.node < y.node ? -1 : 1));
  const granted = holdsGrant(self, heard) ? record.grant : null;
  const required = requiredBy([record, ...heard.map((v) => v.record)], granted, self.contactWithSource);
  const missing = mates.filter((n) => required.has(n) && !heard.some((v) => v.node === n));
  const term = termOf(record);
  const servedLast = term !== null && isSame(record.epochServed, term);
  return {
    facts,
    self,
    record,
    definition,
    mates,
    heard,
    unsaid: heard.map((v) => v.node).filter((n) => isUnsaid(facts, n)),
    serving: fresh.find((v) => v.inService),
    term,
    source: servedLast ? self.node : (term?.owner ?? self.flags.source),
    servedLast,
    lastOwner: servedLast && self.flags.lastOwner,
    required,
    missing,
    granted,
    asked: facts.command.kind !== 'none',
  };
}

/**
 * Another node has claimed an epoch later than all that are known to have been served: it may have served since. A claim of
 * this node itself that was never served, such as the one that is being decided on, says nothing of others.
 */
export function claimedByAnother(s: Situation): boolean {
  const seen = (r: StateRecord): (Epoch | null)[] => [r.epochSeen, r.claim];
  const proven = highestProven(s);
  return [s.record, ...s.heard.map((v) => v.record)].flatMap(seen).some((e) => e !== null && e.owner !== s.self.node && isHigher(e, proven));
}

export function isHeard(s: Situation, node: NodeName): boolean {
  return s.heard.some((v) => v.node === node);
}

export function unheard(s: Situation): NodeName[] {
  return s.mates.filter((n) => !isHeard(s, n));
}

/** Alone in the definition and without data: a mirror that was just made. */
export function brandNew(s: Situation): boolean {
  return s.term === null && s.mates.length === 0;
}

/** The highest epoch that anybody heard knows to have been served. */
export function highestProven(s: Situation): Epoch | null {
  return highestEpoch(provenEpoch(s.record), ...s.heard.map((v) => provenEpoch(v.record)));
}

/**
 * What a last source, which might go on alone, is to write down of what it hears: the highest epoch that was served, where it has not seen it.
 * Not a target: it would refuse a source that goes on for the word of a node that does not.
 */
export function unseenService(s: Situation): { epochSeen?: Epoch } {
  if (!s.servedLast) return {};
  const served = highestEpoch(...s.heard.map((v) => provenEpoch(v.record)));
  return served !== null && isHigher(served, s.record.epochSeen) ? { epochSeen: served } : {};
}

/** The highest epoch that anybody heard, or this node, has seen, served or not. */
export function highestSeen(s: Situation): Epoch | null {
  const seen = (r: StateRecord): (Epoch | null)[] => [r.epochSeen, r.claim, provenEpoch(r)];
  return highestEpoch(...seen(s.record), ...s.heard.flatMap((v) => seen(v.record)));
}

/** A node heard that contradicts this one. A node whose data is unfinished is no witness for a history. */
export function contradiction(s: Situation): { peer: NodeView; why: string } | null {
  if (!s.record.hadData || s.record.resyncingFrom !== null) return null;
  for (const peer of s.heard) {
    if (!peer.record.hadData || peer.record.resyncingFrom !== null) continue;
    // Only a source in service takes generations while its heartbeats are under way.
    const why = splitBrain(s.record, peer.record, { heartbeats: peer.inService || s.self.inService });
    if (why !== null) return { peer, why };
  }
  return null;
}

/** Why a node cannot go in service by itself, by what it says; null: it can. "One that answers `I cannot` is skipped." */
export function unfit(v: NodeView): string | null {
  const r = v.record;
  const servedLast = termOf(r) !== null && isSame(r.epochServed, termOf(r));
  if (r.resyncingFrom !== null) return `its resync from ${r.resyncingFrom.node} was cut short`;
  if (r.toldOut !== null) return `it was told that it is out (${r.toldOut.why})`;
  if (witnessesUnknown(r, r)) return 'it was told of a generation that it lacks';
  if (r.legBehind !== null) return `its own leg is behind ${r.legBehind.newest}`;
  if (!servedLast && !r.inSync.includes(v.node)) return 'it was not in sync';
  if (v.flags.dataCorrupt && !(servedLast && v.flags.lastOwner)) return 'its data_corrupt flag is set';
  return null;
}

/** `v` holds data, or knows of data, that this node lacks. */
export function isNewer(v: NodeView, s: Situation): boolean {
  const { resyncingFrom } = v.record;
  if (witnessesUnknown(v.record, s.record)) return true;
  if (resyncingFrom !== null) return !knowsGeneration(s.record, resyncingFrom.generation) && resyncingFrom.node !== s.self.node;
  if (!v.record.hadData) return false;
  if (holdsUnknown(v.record, s.record)) return true;
  return isHigher(termOf(v.record), s.term);
}

/** By the word of `witness` a source has committed a generation, or was about to, that `r` lacks, in an epoch that it knows no later one than. */
export function witnessesUnknown(witness: StateRecord, r: StateRecord): boolean {
  const w = witness.witnessed;
  return w !== undefined && !isHigher(termOf(r), w.epoch) && !knowsGeneration(r, w.generation);
}

/** Exactly as new as this node: neither has anything that the other lacks. */
function isEqual(v: NodeView, s: Situation): boolean {
  return holdsNothingMore(v.record, s.record) && !holdsUnknown(s.record, v.record) && compareEpoch(termOf(v.record), s.term) === 'equal';
}

/** Sync before async, which may lack what its queue held; then priority, then name. */
function isPrior(s: Situation, a: NodeName, b: NodeName): boolean {
  const definitionOf = (n: NodeName): NodeDefinition | undefined => (Object.hasOwn(s.definition.nodes, n) ? s.definition.nodes[n] : undefined);
  const [x, y] = [definitionOf(a), definitionOf(b)];
  if (x?.mode !== y?.mode) return x?.mode === 'sync';
  const [p, q] = [x?.priority ?? Infinity, y?.priority ?? Infinity];
  return p === q ? a < b : p < q;
}

/** A node that can go in service and comes before this one, though no newer: who was granted it, the last source, then by priority. */
export function equalAndPrior(v: NodeView, s: Situation): 'granted' | 'last source' | 'priority' | null {
  if (s.granted !== null || unfit(v) !== null || !isEqual(v, s)) return null;
  if (holdsGrant(v, [s.self, ...s.heard])) return 'granted';
  if (v.record.epochServed !== null && isSame(v.record.epochServed, s.term)) return 'last source';
  // A last source that an operator keeps out is waited for: he said what he wants. Any other that is kept out is no candidate.
  return !s.servedLast && !v.record.keepOut && isPrior(s, v.node, s.self.node) ? 'priority' : null;
}

/** Silence of a node on every path, ms; undefined: never heard since start. */
export function silenceOf(s: Situation, node: NodeName): number | undefined {
  const own = Object.hasOwn(s.self.silentForMs, node) ? s.self.silentForMs[node] : undefined;
  const said = Object.hasOwn(s.facts.peers, node) ? s.facts.peers[node]?.silentForMs : undefined;
  if (own === undefined || said === undefined) return own ?? said;
  return Math.min(own, said);
}

/** A node heard that has itself heard `node` within failureTimeout. */
export function whoHears(s: Situation, node: NodeName): NodeView | undefined {
  return s.heard.find((v) => {
    const silent = Object.hasOwn(v.silentForMs, node) ? v.silentForMs[node] : undefined;
    return silent !== undefined && silent < s.facts.failureTimeoutMs;
  });
}

/** A target's record of the epoch this node owned has the target in sync and not this node: its own leg was behind. */
export function whoSaysLegBehind(s: Situation): NodeView | undefined {
  return s.heard.find(({ node, record: r }) => {
    const sameTerm = s.record.epochServed !== null && isSame(r.epochInSync, s.record.epochServed) && isSame(r.epochSeen, r.epochInSync);
    return sameTerm && r.inSync.includes(node) && !r.inSync.includes(s.self.node);
  });
}
