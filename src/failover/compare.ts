/**
 * When two nodes meet: who may be copied to whom, and how much (M11).
 *
 * The table below is read from top to bottom, and the first row that matches answers. Every row is a named function of
 * two views; nothing is read but the views. What no row covers is refused.
 *
 *   blank > unrelated > inconsistent > split-brain > merge-pending > serving          what must not be, and who serves
 *     > clean > served-later > crashed-source > crashed-target > both-targets         equal generations
 *     > kept-bitmap > history                                                         one is behind
 *
 * Invariants, held by `copy`, through which every answer goes that names a direction:
 * - a node in service is never overwritten
 * - a node whose resync was cut short (M7), or whose own leg is behind, is never the origin
 * - partial needs a complete account; without one the answer is full, and says why
 * The answer does not depend on the order of the arguments.
 */
import {
  accountGap,
  existingMarks,
  holdsNothingMore,
  intentOf,
  lastServer,
  type Mark,
  outOfSync,
  sameMirror,
  splitBrain,
  termOf,
  unaccounted,
  uniqueMarks,
  unknownSession,
} from './account.ts';
import { epochText, highestEpoch, isHigher } from './epoch.ts';
import { haveCommonGeneration, heldGeneration, holdsUnknown, keepsMarksFor, knowsGeneration, sameGeneration } from './generation.ts';
import type { CompareAnswer, CompareRule, NodeName, NodeView, StateRecord } from './types.ts';

interface Pair {
  a: NodeView;
  b: NodeView;
  /** The wait for an absent node has ended, by its time or by an operator. */
  waitEnded: boolean;
}

type Answer = Omit<CompareAnswer, 'rule'>;
type Row = (p: Pair) => Answer | null;

const refuse = (why: string): Answer => ({ direction: null, kind: 'refuse', why });

function copy(from: NodeView, to: NodeView, kind: 'partial' | 'full', why: string, marks: Mark[] = []): Answer {
  if (to.inService) return refuse(`${to.node} is in service and is never overwritten; it must go out of service first (${why})`);
  const cut = from.record.resyncingFrom;
  if (cut !== null) return refuse(`${from.node} cannot be the origin: its resync from ${cut.node} was cut short (${why})`);
  const behind = from.record.legBehind;
  if (behind !== null) return refuse(`${from.node} cannot be the origin: its own leg is behind ${behind.newest} (${why})`);
  const direction = { from: from.node, to: to.node };
  return kind === 'full' ? { direction, kind, why } : { direction, kind, marks: uniqueMarks([...marks, ...existingMarks(from, to)]), why };
}

/** Partial over `marks` where the account is complete, else full. */
function partialIfAccounted(from: NodeView, to: NodeView, why: string, marks: Mark[]): Answer {
  const gap = accountGap(from, to);
  return gap === null ? copy(from, to, 'partial', why, marks) : copy(from, to, 'full', `${why}; in full, because ${gap}`);
}

function waitFor(from: NodeView, to: NodeView, whom: NodeName, why: string): Answer {
  const then = copy(from, to, 'full', why);
  return then.kind === 'refuse'
    ? then
    : { direction: then.direction, kind: 'wait', waitFor: whom, why: `${why}; when the wait ends, a full resync follows` };
}

function inService({ a, b }: Pair): { source: NodeView; other: NodeView } | null {
  if (a.inService === b.inService) return null;
  return a.inService ? { source: a, other: b } : { source: b, other: a };
}

function blank(p: Pair): Answer | null {
  const { a, b } = p;
  if (!sameMirror(a.record, b.record) || (a.record.hadData && b.record.hadData)) return null;
  if (a.record.hadData || b.record.hadData) {
    const [full, empty] = a.record.hadData ? [a, b] : [b, a];
    return copy(full, empty, 'full', `${empty.node} never had data`);
  }
  const serving = inService(p);
  if (serving !== null) return copy(serving.source, serving.other, 'full', `${serving.other.node} never had data`);
  if (a.inService) return refuse(`${a.node} and ${b.node} are both in service`);
  return { direction: null, kind: 'wait', why: `neither ${a.node} nor ${b.node} ever had data; the one that goes in service will be the origin` };
}

function unrelated({ a, b }: Pair): Answer | null {
  if (!sameMirror(a.record, b.record)) {
    return refuse(`${a.node} and ${b.node} are of two mirrors: create ids ${a.record.definition.createId} and ${b.record.definition.createId}`);
  }
  if (a.node === b.node) return refuse(`both say that they are ${a.node}`);
  if (haveCommonGeneration(a.record, b.record)) return null;
  return refuse(`no generation in common: ${a.node} holds ${heldGeneration(a.record)}, ${b.node} holds ${heldGeneration(b.record)}`);
}

function inconsistent({ a, b, waitEnded }: Pair): Answer | null {
  if (a.record.resyncingFrom === null && b.record.resyncingFrom === null) return null;
  const [cut, origin] = a.record.resyncingFrom === null ? [b, a] : [a, b];
  const resync = cut.record.resyncingFrom;
  if (resync === null || origin.record.resyncingFrom !== null) {
    return refuse(`the resyncs of ${a.node} and of ${b.node} were both cut short; neither can be the origin`);
  }
  const why = `the resync of ${cut.node} from ${resync.node} was cut short`;
  const gap =
    accountGap(origin, cut) ??
    (knowsGeneration(origin.record, resync.generation) ? null : `${origin.node} does not know generation ${resync.generation}`);
  if (gap === null) return copy(origin, cut, 'partial', why, [outOfSync(origin, cut.node), intentOf(cut)]);
  const marksAreLost = origin.bitmapDamaged || cut.bitmapDamaged;
  // Once it is in sync with the origin, what it knew has been merged, or could not be; another may still come and be merged.
  const pending = origin.record.mergePending.some((m) => m.for.includes(cut.node));
  const isBack = origin.inService && origin.record.inSync.includes(resync.node) && !pending;
  const canCome = Object.hasOwn(origin.record.definition.nodes, resync.node) && resync.node !== origin.node && !isBack;
  if (waitEnded || marksAreLost || !canCome) return copy(origin, cut, 'full', `${why}; in full, because ${gap}`);
  return waitFor(origin, cut, resync.node, why);
}

function splitBrainRow({ a, b }: Pair): Answer | null {
  const found = splitBrain(a.record, b.record);
  return found === null ? null : refuse(`split brain: ${found}`);
}

function mergePending(p: Pair): Answer | null {
  const serving = inService(p);
  if (serving === null || !holdsNothingMore(serving.other.record, serving.source.record)) return null;
  const { source, other } = serving;
  const pending = source.record.mergePending.find((m) => m.from !== other.node && m.for.includes(other.node));
  if (pending === undefined) return null;
  const why = `${source.node} has not merged the marks that ${pending.from} keeps for ${other.node}`;
  const canCome = Object.hasOwn(source.record.definition.nodes, pending.from);
  return p.waitEnded || !canCome ? copy(source, other, 'full', `${why}, and waits no longer`) : waitFor(source, other, pending.from, why);
}

function serving(p: Pair): Answer | null {
  const { a, b } = p;
  if (a.inService && b.inService) return refuse(`${a.node} and ${b.node} are both in service; the lower epoch must stop first`);
  const found = inService(p);
  if (found === null || !holdsNothingMore(found.other.record, found.source.record)) return null;
  const { source, other } = found;
  return partialIfAccounted(source, other, `${source.node} is in service, and ${other.node} has nothing that it lacks`, [
    outOfSync(source, other.node),
    intentOf(other),
  ]);
}

/** Rows for equal generations see the pair, the last server if one of the two was it, and the other. */
type EqualRow = (p: Pair, last: NodeView | null, other: NodeView) => Answer | null;

const equal =
  (row: EqualRow): Row =>
  (p) => {
    if (!sameGeneration(p.a.record, p.b.record)) return null;
    const last = lastServer(p.a, p.b);
    return row(p, last, last === p.a ? p.b : p.a);
  };

const clean = equal(({ a, b }, last, other) => {
  if (!a.record.session.clean || !b.record.session.clean) return null;
  const damaged = a.bitmapDamaged || b.bitmapDamaged;
  // A target may have been stopped for itself while its source went on: alike are those whose source ended both, and those of whom it keeps an account.
  if (last === null ? !endedAlike(a.record, b.record) : !damaged && unaccounted(last.record, other.record) !== null) return null;
  if (!damaged && existingMarks(a, b).length === 0) {
    return { direction: null, kind: 'none', why: `${a.node} and ${b.node} hold the same generation, and both ended cleanly` };
  }
  if (last === null) return null;
  return partialIfAccounted(last, other, `both ended cleanly, yet marks exist, and ${last.node} was the last source`, []);
});

/** Two targets, each ended by its source on purpose, and neither a target of somebody of whom the other knows nothing. */
function endedAlike(a: StateRecord, b: StateRecord): boolean {
  return a.stoppedOnPurpose && b.stoppedOnPurpose && unknownSession(a, b) === null && unknownSession(b, a) === null;
}

const servedLater = equal((_p, last, other) => {
  if (last === null || !isHigher(last.record.epochServed, termOf(other.record))) return null;
  const why = `same generation, and ${last.node} served the higher epoch ${epochText(last.record.epochServed)}`;
  return partialIfAccounted(last, other, why, [intentOf(last), intentOf(other)]);
});

const crashedSource = equal((_p, last, other) => {
  if (last === null || last.record.session.clean) return null;
  return partialIfAccounted(last, other, `same generation, and ${last.node}, the last source, crashed`, [intentOf(last)]);
});

const crashedTarget = equal((_p, last, other) => {
  if (last === null) return null;
  const why = `same generation, ${last.node} was the last source, and ${other.node} crashed or its link broke`;
  return partialIfAccounted(last, other, why, [outOfSync(last, other.node), intentOf(last)]);
});

const bothTargets = equal(({ a, b, waitEnded }) => {
  const term = highestEpoch(termOf(a.record), termOf(b.record));
  const source = term?.owner ?? a.flags.source ?? b.flags.source;
  if (source === null || source === a.node || source === b.node) {
    return refuse(`same generation, but neither ${a.node} nor ${b.node} says that it was the last source, and no other is known`);
  }
  const why = `same generation, and ${source}, the last source, is neither ${a.node} nor ${b.node}`;
  const found = inService({ a, b, waitEnded });
  const [from, to] = found !== null ? [found.source, found.other] : prior(a, b) ? [a, b] : [b, a];
  return waitEnded ? copy(from, to, 'full', `${why}, and the wait for it ended`) : waitFor(from, to, source, why);
});

/** Of two equal targets: the later term, then priority, then name. */
function prior(a: NodeView, b: NodeView): boolean {
  if (isHigher(termOf(a.record), termOf(b.record))) return true;
  if (isHigher(termOf(b.record), termOf(a.record))) return false;
  const rank = (v: NodeView): number => v.record.definition.nodes[v.node]?.priority ?? Number.MAX_SAFE_INTEGER;
  return rank(a) === rank(b) ? a.node < b.node : rank(a) < rank(b);
}

/** Who is ahead and who is behind, when one holds a generation unknown to the other; null: each knows the other's. */
function ahead({ a, b }: Pair): { newer: NodeView; older: NodeView } | null {
  const aHolds = holdsUnknown(a.record, b.record);
  if (aHolds === holdsUnknown(b.record, a.record)) return null;
  return aHolds ? { newer: a, older: b } : { newer: b, older: a };
}

function keptBitmap(p: Pair): Answer | null {
  const order = ahead(p);
  if (order === null || !keepsMarksFor(order.newer.record, order.older.record)) return null;
  const { newer, older } = order;
  const why = `${newer.node} keeps marks for generation ${heldGeneration(older.record)}, which ${older.node} has`;
  return partialIfAccounted(newer, older, why, [outOfSync(newer, older.node), intentOf(older)]);
}

function history(p: Pair): Answer | null {
  const order = ahead(p);
  if (order === null) return null;
  const { newer, older } = order;
  return copy(newer, older, 'full', `generation ${heldGeneration(older.record)} of ${older.node} is only in the history of ${newer.node}`);
}

const TABLE: readonly (readonly [CompareRule, Row])[] = [
  ['blank', blank],
  ['unrelated', unrelated],
  ['inconsistent', inconsistent],
  ['split-brain', splitBrainRow],
  ['merge-pending', mergePending],
  ['serving', serving],
  ['clean', clean],
  ['served-later', servedLater],
  ['crashed-source', crashedSource],
  ['crashed-target', crashedTarget],
  ['both-targets', bothTargets],
  ['kept-bitmap', keptBitmap],
  ['history', history],
];

/**
 * The first row of design.md "Generations and direction" that matches. Total; the order of the arguments does not matter.
 * `wait.ended`: the wait for an absent node has ended.
 */
export function compare(a: NodeView, b: NodeView, wait?: { ended: boolean }): CompareAnswer {
  const [first, second] = a.node <= b.node ? [a, b] : [b, a];
  const pair: Pair = { a: first, b: second, waitEnded: wait?.ended ?? false };
  for (const [rule, row] of TABLE) {
    const answer = row(pair);
    if (answer !== null) return { rule, ...answer };
  }
  return {
    rule: 'history',
    ...refuse(`the records contradict each other: ${first.node} and ${second.node} each hold a generation that is in the other's past`),
  };
}
