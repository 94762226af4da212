/**
 * May another node have newer data than this one? For people who are about to go in service by force, and for nothing else: `decide`
 * has its own rows. Pure.
 *
 *   heard    its record says what it has                                       has | could | can-not
 *   silent   could, unless the records prove that this node is the newest      could | can-not
 *
 * "Can not" is said of a silent node only where `decide` would let this node go by its records: nobody whose word is needed is
 * missing, and nothing speaks against this node. Everybody else could: also one that was told out and confirmed it, as long as
 * another node is missing that may have gone in service and resynced it. What an operator forced elsewhere, no record proves.
 */
import { holdsNothingMore, splitBrain, termOf } from './account.ts';
import { compare } from './compare.ts';
import { epochText } from './epoch.ts';
import { heldGeneration } from './generation.ts';
import { contradiction, isForeign, isNewer, type Needed, type Situation, unfit, witnessesUnknown } from './situation.ts';
import type { NodeName, NodeView } from './types.ts';

export interface MayBeNewer {
  node: NodeName;
  /** `has`: data that this node lacks, for certain. */
  newer: 'has' | 'could' | 'can-not';
  why: string;
}

export function mayBeNewer(s: Situation, node: NodeName): MayBeNewer {
  if (isForeign(s.definition, node)) return { node, newer: 'can-not', why: 'it is a foreign target, which is only ever copied to' };
  const heard = s.heard.find((v) => v.node === node);
  return { node, ...(heard === undefined ? ofSilent(s, node) : ofHeard(s, heard)) };
}

type Answer = Omit<MayBeNewer, 'node'>;

function ofHeard(s: Situation, v: NodeView): Answer {
  const split = v.record.hadData && s.record.hadData ? splitBrain(s.record, v.record) : null;
  if (split !== null) return { newer: 'has', why: `it wrote apart from this node: ${split}` };
  const { witnessed } = v.record;
  if (witnessed !== undefined && witnessesUnknown(v.record, s.record)) {
    const why = `${witnessed.epoch.owner} told it of generation ${witnessed.generation} in epoch ${epochText(witnessed.epoch)}, and this node lacks that`;
    return { newer: 'has', why };
  }
  if (isNewer(v, s)) {
    const cut = v.record.resyncingFrom;
    const what = cut === null ? `it holds generation ${heldGeneration(v.record)}` : `it was being resynced to generation ${cut.generation}`;
    return { newer: 'has', why: `${what}, its last epoch is ${epochText(termOf(v.record))}, and this node lacks that` };
  }
  const answer = compare(s.self, v);
  const says = `compare says ${answer.rule}: ${answer.why}`;
  const nothingMore = holdsNothingMore(v.record, s.record);
  if (answer.direction?.from === v.node) return { newer: nothingMore ? 'could' : 'has', why: says };
  if (!nothingMore || answer.kind === 'wait' || answer.kind === 'refuse') return { newer: 'could', why: says };
  if (mayLackQueue(s)) return { newer: 'could', why: QUEUE };
  return { newer: 'can-not', why: `its record, heard now, holds nothing that this node lacks (${says})` };
}

function ofSilent(s: Situation, node: NodeName): Answer {
  const needed = s.required.get(node) ?? [];
  if (needed.length > 0) return { newer: 'could', why: unique(needed.map((n) => neededText(n, node))).join('; ') };
  const others = s.missing.filter((n) => n !== node);
  if (others.length > 0) {
    const they = others.join(', ');
    return { newer: 'could', why: `${they} can not be heard either, may have gone in service, and may have resynced it since` };
  }
  const against = againstSelf(s);
  if (against !== null) return { newer: 'could', why: against };
  const why = 'by the records it is out of sync, and everybody who could have resynced it can be heard';
  return { newer: 'can-not', why: `${why}; only a force there, which no record here could know of, would change that` };
}

/** What keeps the records from proving that this node is the newest of all; null: they do. */
function againstSelf(s: Situation): string | null {
  const not = unfit(s.self);
  if (not !== null) return `this node itself may lack data: ${not}`;
  const split = contradiction(s);
  if (split !== null) return `there is a split brain with ${split.peer.node}`;
  const newer = s.heard.find((v) => isNewer(v, s));
  if (newer !== undefined) return `${newer.node} has data that this node lacks, and may have given it to it`;
  if (s.term === null) return 'nobody is known to have served';
  return mayLackQueue(s) ? QUEUE : null;
}

const QUEUE = 'this node is an async target, and may lack what the queue of its source held';

function mayLackQueue(s: Situation): boolean {
  return !s.servedLast && s.definition.nodes[s.self.node]?.mode === 'async';
}

function neededText({ because, by, epoch }: Needed, node: NodeName): string {
  const e = epochText(epoch);
  const itself = by === node;
  switch (because) {
    case 'in-sync':
      return `by the record of ${by} it was in sync in epoch ${e}, and may have gone on or taken over`;
    case 'unconfirmed':
      return `by the record of ${by} it was left behind in epoch ${e} on its silence alone, without confirming it, and may have taken over`;
    case 'served':
      return itself ? `it served epoch ${e}` : `by the record of ${by} it served epoch ${e}, the last that is known of, and may have gone on`;
    case 'claimed':
      return `by the record of ${by} it claimed epoch ${e}, and may have served it`;
    case 'leg-behind':
      return `it went on in epoch ${e} when the leg of ${by} failed`;
    case 'handed-over':
      return `${by} handed the mirror over to it after epoch ${e}`;
  }
}

function unique(list: readonly string[]): string[] {
  return [...new Set(list)];
}

/** What the records heard, and the last view of it, know of a node; in words, newest knowledge first; empty: nothing. */
export function lastKnown(s: Situation, node: NodeName, lastView: NodeView | undefined): string[] {
  const known: string[] = [];
  if (lastView !== undefined) {
    const r = lastView.record;
    known.push(
      `generation ${heldGeneration(r)}, served epoch ${epochText(r.epochServed)}, last in sync in epoch ${epochText(r.epochInSync)}${r.toldOut === null ? '' : `, told out by ${r.toldOut.by} (${r.toldOut.why})`}`,
    );
  }
  for (const r of [s.record, ...s.heard.map((v) => v.record)]) {
    const left = Object.hasOwn(r.absentPeers, node) ? r.absentPeers[node] : undefined;
    if (r.inSync.includes(node))
      known.push(`by the record of ${r.node}: in sync in epoch ${epochText(termOf(r))}, generation ${heldGeneration(r)} or later`);
    else if (left !== undefined)
      known.push(
        `by the record of ${r.node}: had generation ${left} when it left, ${r.droppedUnconfirmed.includes(node) ? 'and has not confirmed that it is out' : 'and confirmed that it is out'}`,
      );
  }
  return known;
}
