/** A situation that `decide` is asked about, in parts that can be changed one by one; see decide-facts.ts for what changes. */
import { majorityIf } from '../../../src/failover/arbiter.ts';
import type { Epoch, Facts, MirrorDefinition, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { isPossible, isSplitBrain } from '../../simulated/oracle/compare-oracle.ts';
import { term } from '../../simulated/oracle/decide-oracle.ts';
import { dataOf, factsOf, sessionOf, termsOf, type TermWords } from '../../simulated/oracle/situations.ts';
import { A, B, C, definitionOf, gen, TIMEOUT_MS, viewOf } from '../../simulated/oracle/views.ts';

export interface Peer {
  view: NodeView;
  /** null: never since the start. */
  silentForMs: number | null;
}

export interface Scene {
  self: NodeView;
  /** In the order of their names; also those who are not heard. */
  peers: readonly Peer[];
  over: Partial<Facts>;
  /** `majority` follows from who is heard, as between claims. */
  byVotes: boolean;
}

export const HEARD = 10;
export const SILENT = 5000;

export const isHeard = (p: Peer): boolean => p.silentForMs !== null && p.silentForMs < TIMEOUT_MS;

export function factsIn({ self, peers, over, byVotes }: Scene): Facts {
  const known = peers.flatMap(({ view, silentForMs }) => (silentForMs === null ? [] : [{ view, silentForMs }]));
  const f = factsOf(self, known, over);
  if (!byVotes) return f;
  return { ...f, majority: majorityIf(self.record, self.inService, (n) => f.self.silentForMs[n] ?? Infinity) };
}

/**
 * What a peer decides on that hears exactly those whom this node hears, nobody's command being carried out; null: it is not heard, or
 * hears others.
 */
export function factsOfPeer({ self, peers }: Scene, i: number): Facts | null {
  const peer = peers[i];
  if (peer === undefined || !isHeard(peer)) return null;
  const heard = [self, ...peers.filter((p) => p !== peer && isHeard(p)).map((p) => p.view)];
  const lost = peers.filter((p) => !isHeard(p)).map((p) => p.view.node);
  if (lost.some((n) => (peer.view.silentForMs[n] ?? SILENT) < TIMEOUT_MS)) return null;
  const silentForMs = { ...Object.fromEntries(lost.map((n) => [n, SILENT])), ...Object.fromEntries(heard.map((v) => [v.node, HEARD])) };
  return factsOf(
    { ...peer.view, silentForMs },
    heard.map((view) => ({ view, silentForMs: HEARD })),
  );
}

const generations = { old: [1, [0]], new: [2, [1, 0]], apart: [3, [1, 0]] } as const;
export type Held = keyof typeof generations;

interface NodeWords {
  node: NodeName;
  words: TermWords;
  held: Held;
}

const servedLast = (w: TermWords): boolean => w[0] !== null && w[0] === w[1];

function viewIn(definition: MirrorDefinition, { node, words, held }: NodeWords): NodeView {
  const record: Partial<StateRecord> & { definition: MirrorDefinition } = {
    definition,
    ...dataOf(generations[held]),
    ...termsOf(node, words),
    inSync: Object.keys(definition.nodes),
    session: sessionOf(words, false),
    hadData: words[0] !== null || words[1] !== null || held !== 'old',
  };
  return viewOf(node, record, { flags: { lastOwner: words[0] !== null, source: null, dataCorrupt: false } });
}

/** As the source that served last, in service or not; as anybody else, in contact with its source or not. */
function asItMayBe(v: NodeView, words: TermWords): NodeView[] {
  return servedLast(words) ? [v, { ...v, inService: true }] : [v, { ...v, contactWithSource: true }];
}

const scene = (self: NodeView, peers: readonly Peer[]): Scene => ({ self, peers, over: {}, byVotes: false });

/** Served, part of, told of; `O` is the node itself, `P` the other. */
const termsOfTwo: readonly TermWords[] = [
  ['O1', 'O1', 'O1'],
  [null, 'P1', 'P1'],
  ['O1', 'P2', 'P2'],
  ['O1', 'O1', 'P2'],
  ['O2', 'O2', 'O2'],
  [null, 'P1', 'O2'],
  [null, 'P1', 'P2'],
  [null, 'P2', 'P2'],
  [null, null, null],
];

const heldByTwo: readonly (readonly [Held, Held])[] = [
  ['old', 'old'],
  ['new', 'old'],
  ['old', 'new'],
  ['new', 'apart'],
];

/** Terms x data x heard or not, two nodes; each of them comes first by priority. */
export function* twoNodes(): Generator<Scene> {
  const two = definitionOf({ nodes: [A, B] });
  for (const [node, other] of [
    [A, B],
    [B, A],
  ] as const)
    for (const words of termsOfTwo) {
      for (const [mine, theirs] of heldByTwo)
        for (const self of asItMayBe(viewIn(two, { node, words, held: mine }), words))
          for (const peerWords of termsOfTwo)
            yield scene(self, [{ view: viewIn(two, { node: other, words: peerWords, held: theirs }), silentForMs: HEARD }]);
      for (const self of asItMayBe(viewIn(two, { node, words, held: 'old' }), words))
        for (const silentForMs of [SILENT, null])
          yield scene(self, [{ view: viewIn(two, { node: other, words: [null, null, null], held: 'old' }), silentForMs }]);
    }
}

/** Of them, those whose records one history can leave. */
export function* possibleTwo(): Generator<Scene> {
  for (const s of twoNodes()) if (s.peers.every((p) => !isHeard(p) || isPossible(s.self, p.view))) yield s;
}

/** Of these, what the documented scenarios begin with: written was in each term, and no claim has been seen. */
export function* storiesOfTwo(): Generator<Scene> {
  for (const s of possibleTwo()) {
    const views = [s.self, ...s.peers.filter(isHeard).map((p) => p.view)];
    const unseen = views.every(({ record: r }) => r.epochSeen?.random === term(r)?.random);
    if (unseen && s.self.node === A && isPlain(views)) yield s;
  }
}

/** None contradicts another; whoever was part of the later of two terms holds what was written in it; in one term all hold the same. */
function isPlain(views: readonly NodeView[]): boolean {
  if (views.some((v) => views.some((w) => v.record.hadData && w.record.hadData && isSplitBrain(v.record, w.record)))) return false;
  const numbers = views.map((v) => term(v.record)?.number ?? 0);
  const last = Math.max(...numbers);
  const written = last > 1 && numbers.some((n) => n < last);
  return views.every((v, i) => v.record.generation === (written && numbers[i] === last ? gen(2) : gen(1)));
}

/** `P` and `Q` are the others, in the order of their names. */
const termsOfThree: readonly TermWords[] = [
  ['O1', 'O1', 'O1'],
  ['O2', 'O2', 'O2'],
  [null, 'P1', 'P1'],
  [null, 'Q1', 'Q1'],
  [null, 'P2', 'P2'],
  [null, 'Q2', 'Q2'],
];

const heldByThree: readonly (readonly [Held, Held, Held])[] = [
  ['old', 'old', 'old'],
  ['new', 'old', 'old'],
  ['old', 'new', 'old'],
  ['old', 'old', 'new'],
  ['new', 'new', 'old'],
  ['new', 'old', 'new'],
  ['old', 'new', 'new'],
];

/** Three nodes whose records one history can leave, each two of those that are heard; the peers are heard both, one of them, or neither. */
export function* possibleThree(): Generator<Scene> {
  const nodes = [A, B, C];
  const three = definitionOf({ nodes });
  for (const node of nodes) {
    const [p, q] = nodes.filter((n) => n !== node);
    if (p === undefined || q === undefined) throw new Error('three nodes');
    for (const words of termsOfThree)
      for (const [mine, ps, qs] of heldByThree)
        for (const self of asItMayBe(viewIn(three, { node, words, held: mine }), words))
          for (const [silentP, silentQ] of silences) {
            // What a node holds that is not heard is no fact.
            if ((silentP === SILENT && ps !== 'old') || (silentQ === SILENT && qs !== 'old')) continue;
            const peers = (n: NodeName, held: Held, silentForMs: number, hears: Record<NodeName, number>): Peer[] =>
              (silentForMs === HEARD ? termsOfThree : termsOfThree.slice(0, 1))
                .map((w) => ({ view: { ...viewIn(three, { node: n, words: w, held }), silentForMs: hears }, silentForMs }))
                .filter((x) => silentForMs === SILENT || isPossible(self, x.view));
            const allQ = peers(q, qs, silentQ, { [node]: HEARD, [p]: silentP });
            for (const x of peers(p, ps, silentP, { [node]: HEARD, [q]: silentQ }))
              for (const y of allQ) if (silentP === SILENT || silentQ === SILENT || isPossible(x.view, y.view)) yield scene(self, [x, y]);
          }
  }
}

const silences = [
  [HEARD, HEARD],
  [HEARD, SILENT],
  [SILENT, HEARD],
  [SILENT, SILENT],
] as const;

/** Of them, what the documented scenarios begin with. */
export function* storiesOfThree(): Generator<Scene> {
  for (const s of possibleThree()) if (isPlain([s.self, ...s.peers.filter(isHeard).map((p) => p.view)])) yield s;
}

/** Highest number of an epoch that anybody heard, or this node, names. */
export function highestNumber({ self, peers }: Scene): number {
  const records = [self, ...peers.filter(isHeard).map((p) => p.view)].map((v) => v.record);
  const epochs = records.flatMap((r) => [r.epochSeen, r.epochServed, r.epochInSync, r.claim]);
  return Math.max(0, ...epochs.map((e) => e?.number ?? 0));
}

/** An epoch that was claimed, and that no record of the core names. */
export const claimOf = (node: NodeName, number: number): Epoch => ({ number, owner: node, random: `${node.slice(-1)}d${String(number)}` });
