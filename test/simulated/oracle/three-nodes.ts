/**
 * Facts for `decide` with three nodes, walked whole. Each fact takes the values that the design's table can tell apart:
 *
 *   term       served last | part of another's | served before | told of a later claim | never part of one    15 of them
 *   data       who holds which generation: all one, one or two newer, or apart
 *   sets       whom each record counts as in sync
 *   heard      both peers, one of them, nobody (what a node says that is not heard is no fact: see exhaustive-three.test.ts)
 *   ownership  the last source with and without last_owner, or in service; any other in contact with its source or not
 *
 * Peers are told apart by their priority alone, as it stands to that of the node that decides: before it or after it. So where both
 * come before it, or both after, exchanging their names changes nothing (the test proves that), and of two situations that
 * differ in that alone one is walked. All other facts are as usual here; test/unit/exhaustive crosses a smaller core with what is not.
 */
import type { Facts, NodeName, NodeView } from '../../../src/failover/types.ts';
import { isSplitBrain } from './compare-oracle.ts';
import { dataOf, sessionOf, termsOf, type TermWords } from './situations.ts';
import { A, B, C, definitionOf, TIMEOUT_MS, viewOf } from './views.ts';

const NODES = [A, B, C];
const definition = definitionOf({ nodes: NODES });

/** Served, part of, told of; `O` is the node itself, `P` and `Q` the others, in the order of their names. */
const alone: readonly TermWords[] = [
  ['O1', 'O1', 'O1'],
  ['O2', 'O2', 'O2'],
  [null, null, null],
];
const withOther: readonly TermWords[] = [
  [null, 'P1', 'P1'],
  ['O1', 'P2', 'P2'],
  ['O1', 'O1', 'P2'],
  [null, 'P1', 'O2'],
  [null, 'P2', 'P2'],
  [null, 'P1', 'Q2'],
];
const exchanged = (w: TermWords): TermWords => {
  const swap = (x: string | null): string | null => x?.replace(/[PQ]/, (l) => (l === 'P' ? 'Q' : 'P')) ?? null;
  return [swap(w[0]), swap(w[1]), swap(w[2])];
};
const allTerms: readonly TermWords[] = [...alone, ...withOther, ...withOther.map(exchanged)];
/** Of the one that decides; the middle one by priority has a peer before it and one after it, which can not be exchanged. */
const ownTerms = (node: NodeName): readonly TermWords[] => (node === B ? allTerms : [...alone, ...withOther]);

const generations = { old: [1, [0]], new: [2, [1, 0]], apart: [3, [1, 0]] } as const;
type Held = keyof typeof generations;
/** Of the one that decides, and of its peers; who is apart from whom has no order. */
const held: readonly (readonly [Held, Held, Held])[] = [
  ['old', 'old', 'old'],
  ['new', 'old', 'old'],
  ['old', 'new', 'old'],
  ['old', 'old', 'new'],
  ['new', 'new', 'old'],
  ['new', 'old', 'new'],
  ['old', 'new', 'new'],
  ['new', 'apart', 'old'],
  ['old', 'new', 'apart'],
];
const heldByTwo: readonly (readonly [Held, Held])[] = [
  ['old', 'old'],
  ['new', 'old'],
  ['old', 'new'],
  ['new', 'apart'],
];

const others = (n: NodeName): NodeName[] => NODES.filter((x) => x !== n);
const subsets = NODES.reduce<NodeName[][]>((all, n) => [...all, ...all.map((s) => [...s, n])], [[]]);

interface Node {
  node: NodeName;
  words: TermWords;
  held: Held;
  inSync: readonly NodeName[];
}

const servedLast = (w: TermWords): boolean => w[0] !== null && w[0] === w[1];

const made = new Map<string, NodeView>();

function view(n: Node): NodeView {
  const key = `${n.node} ${n.words.join()} ${n.held} ${n.inSync.join()}`;
  const known = made.get(key);
  if (known !== undefined) return known;
  const v = viewOf(n.node, {
    definition,
    ...dataOf(generations[n.held]),
    ...termsOf(n.node, n.words),
    inSync: [...n.inSync],
    session: sessionOf(n.words, false),
    hadData: n.words[0] !== null || n.words[1] !== null || n.held !== 'old',
  });
  made.set(key, v);
  return v;
}

/** As the source that served last, or as anybody else. */
function ownerships(n: Node, silentForMs: NodeView['silentForMs']): NodeView[] {
  const v = { ...view(n), silentForMs };
  const flagged = (lastOwner: boolean): NodeView => ({ ...v, flags: { ...v.flags, lastOwner } });
  if (servedLast(n.words)) return [flagged(true), flagged(false), { ...flagged(true), inService: true }];
  const was = flagged(n.words[0] !== null);
  return [was, { ...was, contactWithSource: true }];
}

const HEARD = 10;
const SILENT = 5000;

const rest = { failureTimeoutMs: TIMEOUT_MS, upForMs: 60_000, command: { kind: 'none' }, majority: null, claiming: false } as const;

/** They contradict each other, by terms and generations: whom the peers count as in sync is then not varied. */
const contradict = (v: NodeView, w: NodeView): boolean => v.record.hadData && w.record.hadData && isSplitBrain(v.record, w.record);

/** Both peers are heard, and neither is in service. */
export function* bothHeard(): Generator<Facts> {
  for (const node of NODES) {
    const [p, q] = others(node);
    if (p === undefined || q === undefined) throw new Error('three nodes');
    for (const [mine, ps, qs] of held) {
      const peers = (n: NodeName, h: Held): Facts['peers'][string][] =>
        allTerms.flatMap((words) => [NODES, [n]].map((inSync) => ({ view: view({ node: n, words, held: h, inSync }), silentForMs: HEARD })));
      const [allP, allQ] = [peers(p, ps), peers(q, qs)];
      for (const words of ownTerms(node))
        for (const inSync of [NODES, [node], others(node)])
          for (const self of ownerships({ node, words, held: mine, inSync }, { [p]: HEARD, [q]: HEARD })) {
            const split = new Set([...allP, ...allQ].filter((x) => contradict(self, x.view)));
            for (const x of allP)
              for (const y of allQ) {
                const many = x.view.record.inSync.length + y.view.record.inSync.length === 2 * NODES.length;
                if (many || !(split.has(x) || split.has(y))) yield { ...rest, self, peers: { [p]: x, [q]: y } };
              }
          }
    }
  }
}

/** One peer is heard, and the other is not: it was lost, or has not been heard since the start; the one heard hears it, or does not. */
export function* oneHeard(): Generator<Facts> {
  for (const node of NODES)
    for (const p of others(node))
      for (const q of others(node).filter((x) => x !== p))
        for (const [mine, ps] of heldByTwo) {
          const peers = allTerms.flatMap((words) =>
            [NODES, [p], [node, p]].flatMap((inSync) =>
              [SILENT, HEARD].map((ms) => ({
                view: { ...view({ node: p, words, held: ps, inSync }), silentForMs: { [q]: ms } },
                silentForMs: HEARD,
              })),
            ),
          );
          for (const words of allTerms)
            for (const inSync of subsets)
              for (const silence of [SILENT, null])
                for (const self of ownerships({ node, words, held: mine, inSync }, { [p]: HEARD, ...(silence === null ? {} : { [q]: silence }) }))
                  for (const peer of peers)
                    if (peer.view.record.inSync.length === 3 || !contradict(self, peer.view)) yield { ...rest, self, peers: { [p]: peer } };
        }
}

/** Nobody is heard: every combination of what the record, the flags and an operator can say then. */
export function* nobodyHeard(): Generator<Facts> {
  const bools = [false, true];
  for (const node of NODES) {
    const [p, q] = others(node);
    if (p === undefined || q === undefined) throw new Error('three nodes');
    for (const words of ownTerms(node))
      for (const inSync of subsets)
        for (const silentForMs of [{ [p]: SILENT, [q]: SILENT }, { [p]: SILENT }, { [q]: SILENT }, {}])
          for (const self of ownerships({ node, words, held: 'old', inSync }, silentForMs))
            for (const clean of bools)
              for (const stoppedOnPurpose of bools)
                for (const droppedUnconfirmed of [[], [p], [q]])
                  for (const corrupt of [null, true, false])
                    for (const upForMs of [60_000, 100])
                      for (const command of [{ kind: 'none' }, { kind: 'in-service' }] as const) {
                        if (self.inService && clean) continue;
                        const session = sessionOf(words, clean);
                        const record = { ...self.record, session, stoppedOnPurpose, droppedUnconfirmed, dataCorruptSet: corrupt !== null };
                        const flags = { ...self.flags, dataCorrupt: corrupt === true };
                        yield { ...rest, self: { ...self, record, flags }, peers: {}, upForMs, command };
                      }
  }
}
