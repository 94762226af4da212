/** How the source's record changes when targets come and go: pure functions from record to record. */
import { unknownSession } from './account.ts';
import { definitionTold } from './definition.ts';
import { isHigher } from './epoch.ts';
import { HISTORY_MAX, OFFERED_MAX, TERMS_MAX } from './limits.ts';
import type { Membership } from './protocol.ts';
import type { DecideRule, Epoch, Generation, NodeName, StateRecord } from './types.ts';

const without = (list: readonly NodeName[], node: NodeName): NodeName[] => list.filter((n) => n !== node);
const withNode = (list: readonly NodeName[], node: NodeName): NodeName[] => (list.includes(node) ? [...list] : [...list, node]);

export function membershipOf(r: StateRecord): Membership {
  return {
    generation: r.generation,
    offered: r.offered.at(-1)?.generation ?? null,
    // Whoever has taken an older offer for committed holds it as its generation.
    history: [
      ...r.offered
        .slice(0, -1)
        .map((o) => o.generation)
        .reverse(),
      ...r.history,
    ].slice(0, HISTORY_MAX),
    inSync: r.inSync,
    absentPeers: r.absentPeers,
    droppedUnconfirmed: r.droppedUnconfirmed,
    hadData: r.hadData,
    paused: r.paused,
    definition: r.definition,
    terms: r.terms,
  };
}

/** What a record says that has no `terms`. */
export function termsOfEarlierVersion(r: StateRecord): string[] {
  return [r.epochServed, r.epochInSync].flatMap((e) => (e === null ? [] : [e.random]));
}

/** Of both, the first ones where they are too many. A record of an earlier version has none. */
export function termsUnited(a: readonly string[] = [], b: readonly string[] = []): string[] {
  return [...new Set([...a, ...b])].slice(0, TERMS_MAX);
}

/** The row of `decide` that keeps a target out from now on which has left its source. */
export function ruleOfLoss(loss: { wasInSync: boolean }): DecideRule {
  return loss.wasInSync ? 'told-out' : 'cut-short';
}

/** A target has left: marks are kept for it under the generation that it has. */
export function targetLeft(r: StateRecord, node: NodeName, o: { confirmed: boolean; foreign: boolean }): StateRecord {
  const wasIn = r.inSync.includes(node);
  return {
    ...r,
    inSync: without(r.inSync, node),
    droppedUnconfirmed:
      o.confirmed || o.foreign || !wasIn
        ? o.confirmed
          ? without(r.droppedUnconfirmed, node)
          : r.droppedUnconfirmed
        : withNode(r.droppedUnconfirmed, node),
    absentPeers: wasIn ? { ...r.absentPeers, [node]: r.generation } : r.absentPeers,
  };
}

/**
 * A target in sync has found by itself that it can't be: its source will hear of it by the error of its request. Written down late, after
 * the node has served since or joined another source, it says nothing any more: the leg was made sound first.
 */
export function foundOut(r: StateRecord, epoch: Epoch, why: string): StateRecord {
  if (!r.inSync.includes(r.node) || isHigher(r.epochInSync, epoch)) return r;
  return { ...r, toldOut: { by: r.node, epoch, why }, inSync: without(r.inSync, r.node) };
}

/** A target has caught up and counts from now on. */
export function targetJoined(r: StateRecord, node: NodeName, foreign: boolean): StateRecord {
  const absentPeers = Object.fromEntries(Object.entries(r.absentPeers).filter(([n]) => n !== node));
  return {
    ...r,
    inSync: foreign ? r.inSync : withNode(r.inSync, node),
    droppedUnconfirmed: without(r.droppedUnconfirmed, node),
    accountComplete: withNode(r.accountComplete, node),
    absentPeers,
    mergePending: r.mergePending.map((m) => ({ ...m, for: without(m.for, node) })).filter((m) => m.for.length > 0),
    seeded: without(r.seeded ?? [], node),
    // From now on two nodes share a history, even if nothing was written yet.
    hadData: true,
  };
}

/** An operator's word (M5): the marks kept from here on are the whole account of this target. */
export function seededByWord(r: StateRecord, node: NodeName): StateRecord {
  return {
    ...r,
    accountComplete: withNode(r.accountComplete, node),
    seeded: withNode(r.seeded ?? [], node),
    fullOrdered: without(r.fullOrdered ?? [], node),
  };
}

/**
 * An operator's word: these nodes are copied to in full, whatever the rules say, paused or not, and whenever it can be. `over`: of those
 * that a rule refuses, the last epoch that each was part of by then; undefined: no finding is overruled, and none that comes later.
 */
export function fullResyncOrdered(r: StateRecord, nodes: readonly NodeName[], over: (node: NodeName) => Epoch | null | undefined): StateRecord {
  const members = nodes.filter((n) => Object.hasOwn(r.definition.nodes, n));
  const others = Object.entries(r.orderedOver ?? {}).filter(([n]) => !members.includes(n));
  const known = members.flatMap((n) => {
    const epoch = over(n);
    return epoch === undefined ? [] : [[n, epoch] as const];
  });
  return {
    ...members.reduce(fullyMarked, r),
    paused: r.paused.filter((n) => !nodes.includes(n)),
    fullOrdered: [...new Set([...(r.fullOrdered ?? []), ...members])],
    orderedOver: Object.fromEntries([...others, ...known]),
  };
}

/** It has been done. */
export function fullResyncDone(r: StateRecord, node: NodeName): StateRecord {
  return r.fullOrdered?.includes(node) === true ? { ...r, fullOrdered: without(r.fullOrdered, node) } : r;
}

/** Another node has claimed an epoch since this one served: it may have served too. */
export function claimedSince(r: StateRecord, seen: readonly Epoch[]): boolean {
  return seen.some((e) => e.owner !== r.node && e.number > (r.epochServed?.number ?? 0));
}

/**
 * What of it a node that goes in service again may still carry out. The word was given on the data of that time: once another node
 * may have served since, an operator has to decide again.
 */
export function ordersThatHold(r: StateRecord, seen: readonly Epoch[]): NodeName[] {
  return claimedSince(r, seen) ? [] : (r.fullOrdered ?? []);
}

/** Nothing is known of what the word was given for once the account of the target is not complete any more, or another source has copied there (M7). */
export function isSeeded(r: StateRecord, target: StateRecord): boolean {
  return r.seeded?.includes(target.node) === true && r.accountComplete.includes(target.node) && unknownSession(r, target) === null;
}

/** Every region is marked for the node, durably: no account is more complete, whoever else had one. */
export function fullyMarked(r: StateRecord, node: NodeName): StateRecord {
  if (r.accountComplete.includes(node) && !r.mergePending.some((m) => m.for.includes(node))) return r;
  return {
    ...r,
    accountComplete: withNode(r.accountComplete, node),
    mergePending: r.mergePending.map((m) => ({ ...m, for: without(m.for, node) })).filter((m) => m.for.length > 0),
  };
}

/** Offers of crashed commits pile up; the oldest of too many is from then on only known, not held. */
export function generationOffered(r: StateRecord, generation: Generation): StateRecord {
  const all = [...r.offered, { generation, served: false }];
  const kept = all.slice(-OFFERED_MAX);
  const older = all.slice(0, -OFFERED_MAX).map((o) => o.generation);
  if (older.length === 0) return { ...r, offered: kept };
  return { ...r, offered: kept, history: [...older.reverse(), ...r.history].slice(0, HISTORY_MAX) };
}

/** The newest offer becomes the generation; what it followed, older offers too, enters the history. */
export function generationCommitted(r: StateRecord, generation: Generation): StateRecord {
  const older = r.offered.filter((o) => o.generation !== generation).map((o) => o.generation);
  return {
    ...r,
    generation,
    offered: [],
    hadData: true,
    legZeroed: false,
    history: [...older.reverse(), r.generation, ...r.history].filter((g, i, all) => g !== generation && all.indexOf(g) === i).slice(0, HISTORY_MAX),
  };
}

/** What a target writes down when it joins, or hears of a change. */
export function membershipTaken(r: StateRecord, m: Membership, epoch: Epoch): StateRecord {
  return {
    ...r,
    terms: m.terms,
    generation: m.generation,
    offered: m.offered === null ? [] : [{ generation: m.offered, served: false }],
    history: m.history.slice(0, HISTORY_MAX),
    inSync: m.inSync,
    absentPeers: m.absentPeers,
    droppedUnconfirmed: m.droppedUnconfirmed,
    hadData: r.hadData || m.hadData,
    // Whoever takes over leaves alone what an operator has paused.
    paused: without(m.paused, r.node),
    definition: definitionTold(r.definition, m.definition),
    epochInSync: epoch,
  };
}

/** An earlier version, which knows of no such thing, can read it again. */
export function withoutWitness(r: StateRecord): StateRecord {
  const rest = { ...r };
  delete rest.witnessed;
  return rest;
}

/** The node is no longer part of the mirror. */
export function withoutNode(r: StateRecord, node: NodeName): StateRecord {
  const other = ([n]: [string, unknown]): boolean => n !== node;
  const nodes = Object.fromEntries(Object.entries(r.definition.nodes).filter(other));
  const absentPeers = Object.fromEntries(Object.entries(r.absentPeers).filter(other));
  const not = (list: readonly NodeName[]): NodeName[] => list.filter((n) => n !== node);
  return {
    ...r,
    definition: { ...r.definition, revision: r.definition.revision + 1, nodes },
    absentPeers,
    inSync: not(r.inSync),
    droppedUnconfirmed: not(r.droppedUnconfirmed),
    accountComplete: not(r.accountComplete),
    paused: not(r.paused),
    seeded: not(r.seeded ?? []),
    fullOrdered: not(r.fullOrdered ?? []),
    orderedOver: Object.fromEntries(Object.entries(r.orderedOver ?? {}).filter(other)),
    mergePending: r.mergePending
      .filter((x) => x.from !== node)
      .map((x) => ({ ...x, for: not(x.for) }))
      .filter((x) => x.for.length > 0),
  };
}
