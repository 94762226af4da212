/** Pairs of nodes for `compare`: the core walked whole, all fields together sampled by a seed. */
import type { Epoch, NodeView, StateRecord } from '../../../src/failover/types.ts';
import type { Pick } from './pick.ts';
import { A, B, C, definitionOf, epochOf, gen, viewOf } from './views.ts';

interface Data {
  generation: StateRecord['generation'];
  history: StateRecord['history'];
  offered: StateRecord['offered'];
}

const data = (n: number, history: number[], offered: Data['offered'] = []): Data => ({ generation: gen(n), history: history.map(gen), offered });
const offer = (n: number, served: boolean): Data['offered'] => [{ generation: gen(n), served }];

/** How two data histories can stand to each other. */
const relations: readonly (readonly [string, Data, Data])[] = [
  ['equal', data(1, [0]), data(1, [0])],
  ['a newer', data(2, [1, 0]), data(1, [0])],
  ['b newer', data(1, [0]), data(2, [1, 0])],
  ['a newer by two', data(3, [2, 1, 0]), data(1, [0])],
  ['apart', data(2, [1, 0]), data(3, [1, 0])],
  ['unrelated', data(1, [0]), data(8, [9])],
  ['a offered', data(1, [0], offer(2, false)), data(1, [0])],
  ['b offered', data(1, [0]), data(1, [0], offer(2, false))],
  ['a offered, b holds it', data(1, [0], offer(2, false)), data(2, [1, 0])],
  ['b offered, a holds it', data(2, [1, 0]), data(1, [0], offer(2, false))],
  ['a served under an offer', data(1, [0], offer(2, true)), data(1, [0])],
  ['b served under an offer', data(1, [0]), data(1, [0], offer(2, true))],
  ['a served under an offer, b holds it', data(1, [0], offer(2, true)), data(2, [1, 0])],
  ['both served under offers', data(1, [0], offer(2, true)), data(1, [0], offer(3, true))],
];

/** Served, part of, told of; the node's own letter is `O`, the other's `P`. */
const terms: readonly (readonly [string | null, string | null, string | null])[] = [
  [null, null, null],
  [null, 'O1', 'O1'],
  [null, 'P1', 'P1'],
  [null, 'P2', 'P2'],
  [null, 'P1', 'P2'],
  [null, 'C2', 'C2'],
  ['O1', 'O1', 'O1'],
  ['O1', 'O1', 'P2'],
  ['O1', 'P2', 'P2'],
  ['O1', 'C2', 'C2'],
  ['O2', 'O2', 'O2'],
  ['O2', 'O2', 'C3'],
  ['O2', null, 'O2'],
];

const sessions: readonly StateRecord['session'][] = [
  { role: 'source', clean: false },
  { role: 'source', clean: true },
  { role: 'target', clean: false },
  { role: 'target', clean: true },
];

const definition = definitionOf({ nodes: [A, B, C] });
const another = definitionOf({ nodes: [A, B, C], createId: 'c000000000000002' });

interface Side {
  data: Data;
  term: (typeof terms)[number];
  session: StateRecord['session'];
  inService: boolean;
}

function side(node: string, s: Side, record: Partial<StateRecord> = {}, over: Partial<NodeView> = {}): NodeView {
  const [own, peer] = node === A ? ['A', 'B'] : ['B', 'A'];
  const epoch = (word: string | null) => epochOf(word === null ? null : word.replace('O', own).replace('P', peer));
  const other = node === A ? B : A;
  const inSync = epoch(s.term[1]);
  return viewOf(
    node,
    {
      definition,
      ...s.data,
      epochServed: epoch(s.term[0]),
      epochInSync: epoch(s.term[1]),
      epochSeen: epoch(s.term[2]),
      session: s.session,
      accountComplete: [other],
      ...record,
    },
    {
      inService: s.inService,
      state: s.inService ? 'Source' : 'Waiting',
      flags: { lastOwner: inSync?.owner === node, source: inSync?.owner ?? null, dataCorrupt: false },
      ...over,
    },
  );
}

export interface Pair {
  a: NodeView;
  b: NodeView;
  waitEnded: boolean;
  of: string;
}

/** Relation of the data, terms, sessions and who serves: every combination. */
export function* corePairs(): Generator<Pair> {
  for (const [of, da, db] of relations) {
    for (const ta of terms) {
      for (const tb of terms) {
        for (const sa of sessions) {
          for (const sb of sessions) {
            for (let serving = 0; serving < 4; serving += 1) {
              const a = side(A, { data: da, term: ta, session: sa, inService: (serving & 1) !== 0 });
              const b = side(B, { data: db, term: tb, session: sb, inService: (serving & 2) !== 0 });
              yield { a, b, waitEnded: false, of };
            }
          }
        }
      }
    }
  }
}

function otherFields(node: string, data: Data, peer: Data, p: Pick): [Partial<StateRecord>, Partial<NodeView>] {
  const other = node === A ? B : A;
  const cut = (from: string, kind: 'partial' | 'full'): StateRecord['resyncingFrom'] => ({ node: from, kind, generation: gen(2) });
  const kept = p.mostly([peer.generation, gen(0), data.generation, null], 2);
  const [own, away] = node === A ? ['A', 'B'] : ['B', 'A'];
  const someTerm = (): Epoch | null => epochOf(p.of([null, `${away}1`, `${away}2`, 'C2']));
  // Of an earlier version, or such that either knows of any number of the other's sessions.
  const sessions: Partial<StateRecord> = p.mostly([true, false], 6)
    ? {
        sessionIn: someTerm(),
        terms: [...new Set([`${own}1`, `${own}2`, `${away}1`, `${away}2`, 'C2'].filter(() => p.of([true, true, true, false])))].flatMap(
          (w) => epochOf(w)?.random ?? [],
        ),
      }
    : {};
  const record: Partial<StateRecord> = {
    ...data,
    ...sessions,
    hadData: p.mostly([true, false], 20),
    absentPeers: kept === null ? {} : { [other]: kept },
    accountComplete: p.mostly([[other], [], [other, C], [C]], 4),
    accountGivenTo: p.mostly([null, other, C], 6),
    resyncingFrom: p.mostly([null, cut(other, 'partial'), cut(other, 'full'), cut(C, 'partial'), cut(C, 'full')], 6),
    mergePending: p.mostly([[], [{ from: C, for: [other] }], [{ from: C, for: [A, B] }], [{ from: other, for: [C] }]], 5),
    legBehind: p.mostly([null, { since: { number: 1, owner: A, random: gen(7) }, newest: other }], 12),
    toldOut: p.mostly([null, { by: other, epoch: { number: 1, owner: other, random: gen(7) }, why: 'paused' }], 8),
    inSync: p.of([[], [A, B], [A, B, C], [node]]),
    definition: p.mostly([definition, another], 40),
  };
  const over: Partial<NodeView> = {
    bitmapDamaged: p.mostly([false, true], 10),
    intentBytes: p.mostly([0, 65536], 3),
    outOfSyncBytes: p.mostly([{}, { [other]: 65536 }], 3),
  };
  return [record, over];
}

/** All fields together. */
export function sampledPair(p: Pick): Pair {
  const [of, da, db] = p.mostly([...relations] as [(typeof relations)[number], ...(typeof relations)[number][]], 2);
  const [ra, oa] = otherFields(A, da, db, p);
  const [rb, ob] = otherFields(B, db, da, p);
  const term = () => p.of([...terms] as [(typeof terms)[number], ...(typeof terms)[number][]]);
  const session = () => p.of([...sessions] as [StateRecord['session'], ...StateRecord['session'][]]);
  const a = side(A, { data: da, term: term(), session: session(), inService: p.mostly([false, true], 3) }, ra, oa);
  const b = side(B, { data: db, term: term(), session: session(), inService: p.mostly([false, true], 3) }, rb, ob);
  return { a, b, waitEnded: p.of([false, true]), of };
}
