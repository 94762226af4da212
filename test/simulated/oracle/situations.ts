/** Facts for `decide`: a core of two nodes walked whole, three nodes with every field sampled by a seed. */
import type { Epoch, Facts, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { term } from './decide-oracle.ts';
import type { Pick } from './pick.ts';
import { A, B, C, definitionOf, epochOf, gen, TIMEOUT_MS, viewOf } from './views.ts';

/** Served, part of, told of; `O` is the node itself, `P` the next, `Q` the one after. */
const terms: readonly [TermWords, ...TermWords[]] = [
  ['O1', 'O1', 'O1'],
  [null, 'P1', 'P1'],
  ['O1', 'P2', 'P2'],
  ['O1', 'O1', 'P2'],
  ['O2', 'O2', 'O2'],
  [null, 'P1', 'O2'],
  [null, 'P2', 'P2'],
  [null, null, null],
];
export type TermWords = readonly [string | null, string | null, string | null];
const moreTerms: readonly [TermWords, ...TermWords[]] = [...terms, [null, 'Q1', 'Q1'], ['O1', 'Q2', 'Q2'], [null, 'Q2', 'Q2'], [null, 'Q1', 'P2']];

const ring: Readonly<Record<NodeName, readonly [string, string, string]>> = { [A]: ['A', 'B', 'C'], [B]: ['B', 'A', 'C'], [C]: ['C', 'A', 'B'] };

export function termsOf(node: NodeName, words: TermWords): Terms {
  const [o, p, q] = ring[node] ?? ['A', 'B', 'C'];
  const epoch = (word: string | null): Epoch | null => epochOf(word === null ? null : word.replace('O', o).replace('P', p).replace('Q', q));
  return { epochServed: epoch(words[0]), epochInSync: epoch(words[1]), epochSeen: epoch(words[2]) };
}
type Terms = Record<'epochServed' | 'epochInSync' | 'epochSeen', Epoch | null>;

export const sessionOf = (t: TermWords, clean: boolean): StateRecord['session'] => {
  if (t[0] !== null && (t[1] === null || t[1] === t[0])) return { role: 'source', clean };
  return t[1] === null ? { role: 'none', clean: true } : { role: 'target', clean };
};

type DataWords = readonly [generation: number, history: readonly number[]];
const relations: readonly [readonly [DataWords, DataWords], ...(readonly [DataWords, DataWords])[]] = [
  [
    [1, [0]],
    [1, [0]],
  ],
  [
    [2, [1, 0]],
    [1, [0]],
  ],
  [
    [1, [0]],
    [2, [1, 0]],
  ],
  [
    [2, [1, 0]],
    [3, [1, 0]],
  ],
];
export const dataOf = ([g, h]: DataWords): { generation: string; history: string[] } => ({ generation: gen(g), history: h.map(gen) });

export function factsOf(self: NodeView, peers: readonly Facts['peers'][string][], over: Partial<Facts> = {}): Facts {
  return {
    self: { ...self, silentForMs: { ...Object.fromEntries(peers.map((p) => [p.view.node, p.silentForMs])), ...self.silentForMs } },
    peers: Object.fromEntries(peers.map((p) => [p.view.node, p])),
    failureTimeoutMs: TIMEOUT_MS,
    upForMs: 60_000,
    command: { kind: 'none' },
    majority: null,
    claiming: false,
    ...over,
  };
}

const two = definitionOf({ nodes: [A, B] });
const cutFrom = (node: NodeName): StateRecord['resyncingFrom'] => ({ node, kind: 'partial', generation: gen(2) });

/** Two nodes that meet, or of which one is away; each with every combination of the facts that the scenarios turn on. */
export function* coreFacts(): Generator<Facts> {
  const bools = [false, true];
  for (const [node, other] of [
    [A, B],
    [B, A],
  ] as const)
    for (const own of terms)
      for (const theirs of terms)
        for (const [mine, yours] of relations)
          for (const inSync of [[A, B], [node]])
            for (const theirSet of [[A, B], [other]])
              for (const lastOwner of bools)
                for (const cut of bools)
                  for (const serving of [0, 1, 2])
                    for (const reach of [10, 5000, 'again', null, 'by heartbeats alone'] as const)
                      for (const since of bools) {
                        const self = viewOf(
                          node,
                          {
                            definition: two,
                            ...dataOf(mine),
                            ...termsOf(node, own),
                            inSync,
                            session: sessionOf(own, false),
                            resyncingFrom: cut ? cutFrom(other) : null,
                          },
                          { flags: { lastOwner, source: null, dataCorrupt: false }, inService: serving === 1, contactWithSource: since },
                        );
                        const peer = viewOf(
                          other,
                          { definition: two, ...dataOf(yours), ...termsOf(other, theirs), inSync: theirSet, session: sessionOf(theirs, false) },
                          { inService: serving === 2 },
                        );
                        if (typeof reach === 'number') yield factsOf(self, [{ view: peer, silentForMs: reach }]);
                        else if (reach === 'again') yield factsOf(self, [{ view: peer, silentForMs: 10, saidForMs: 5000 }]);
                        else yield factsOf(reach === null ? self : { ...self, silentForMs: { [other]: 10 } }, []);
                      }
}

export interface Settings {
  nodes: readonly NodeName[];
  failover: 'auto' | 'off' | 'confirm';
  confirmDefault: 'go' | 'stay';
  arbiter: 'none' | 'majority';
  takeoverAfterCleanStop: boolean;
}

/** `blank`: nobody ever wrote; otherwise only a node that was never part of a term may be without data. */
function sampledView(node: NodeName, s: Settings, p: Pick, generation: DataWords, blank: boolean): NodeView {
  const others = s.nodes.filter((n) => n !== node);
  const other = p.of([others[0] ?? node, ...others.slice(1)]);
  const words = p.of(s.nodes.length > 2 ? moreTerms : terms);
  const epochs = termsOf(node, words);
  const session = sessionOf(words, p.mostly([false, true], 3));
  const claimed = { number: 2, owner: node, random: `${node.slice(-1)}d` };
  const mayServe = session.role === 'source' && !session.clean;
  const silent = Object.fromEntries(others.flatMap((n) => p.of([[[n, 10]], [[n, 5000]], [[n, 5000]], []])));
  const dataCorruptSet = p.mostly([false, true], 8);
  return viewOf(
    node,
    {
      definition: definitionOf(s),
      ...dataOf(generation),
      ...epochs,
      session,
      hadData: blank || (words[0] === null && words[1] === null) ? !blank && p.of([true, false]) : true,
      inSync: [...p.of([s.nodes, [node], s.nodes.filter((n) => n !== other), others])],
      droppedUnconfirmed: p.mostly([[], [other]], 5),
      claim: p.mostly([null, claimed], 10),
      resyncingFrom: p.mostly([null, cutFrom(other)], 8),
      toldOut: p.mostly([null, { by: other, epoch: epochs.epochInSync ?? claimed, why: 'paused' }], 10),
      legBehind: p.mostly([null, { since: epochs.epochServed ?? claimed, newest: other }], 15),
      stoppedOnPurpose: p.mostly([false, true], 6),
      keepOut: p.mostly([false, true], 12),
      dataCorruptSet,
    },
    {
      flags: { lastOwner: p.of([false, true]), source: p.of([null, ...s.nodes]), dataCorrupt: dataCorruptSet && p.of([true, false]) },
      inService: mayServe && p.mostly([false, true], 4),
      contactWithSource: p.of([true, false]),
      silentForMs: silent,
    },
  );
}

/** All fields together, two or three nodes; the view of each, and what each hears. */
export function sampledFacts(p: Pick): Facts {
  const nodes = p.of([
    [A, B],
    [A, B, C],
  ]);
  const settings: Settings = {
    nodes,
    failover: p.mostly(['auto', 'off', 'confirm'], 6),
    confirmDefault: p.of(['stay', 'go']),
    arbiter: p.mostly(['none', 'majority'], 8),
    takeoverAfterCleanStop: p.mostly([false, true], 6),
  };
  const [mine, theirs] = p.mostly(relations, 2);
  const node = p.of([nodes[0] ?? A, ...nodes.slice(1)]);
  const blank = mine[0] === theirs[0] && p.mostly([false, true], 20);
  const self = sampledView(node, settings, p, mine, blank);
  const peers = nodes
    .filter((n) => n !== node)
    .flatMap((n) => {
      const silentForMs = p.of([10, 5000, null]);
      const saidForMs = p.mostly([10, 5000], 5);
      return silentForMs === null ? [] : [{ view: sampledView(n, settings, p, theirs, blank), silentForMs, saidForMs }];
    });
  const known = Object.fromEntries(peers.map((x) => [x.view.node, x.silentForMs]));
  return factsOf({ ...self, silentForMs: { ...self.silentForMs, ...known } }, peers, {
    upForMs: p.mostly([60_000, 100], 5),
    command: p.mostly<Facts['command']>(
      [{ kind: 'none' }, { kind: 'in-service' }, { kind: 'force', withoutLastOwner: false }, { kind: 'force', withoutLastOwner: true }],
      3,
    ),
    majority: p.of([null, true, false]),
    claiming: p.mostly([false, true], 6) && self.record.claim !== null,
    confirm: sampledAnswer(self, p),
  });
}

/** What has come of a question to the operator, or of one that was asked in another situation. */
function sampledAnswer(self: NodeView, p: Pick): Facts['confirm'] {
  const t = term(self.record);
  const about = p.of([`takeover, epoch ${String(t?.number ?? 0)} (${t?.owner ?? ''})`, 'takeover, epoch 9 (nobody)']);
  return p.of([undefined, { about, askedForMs: p.of([0, 60_000]), word: p.of([null, 'yes' as const, 'no' as const]) }]);
}

/** Nodes that all hear each other, seen from each of them. */
export function sampledCircle(p: Pick): Facts[] {
  const nodes = p.of([
    [A, B],
    [A, B, C],
  ]);
  const settings: Settings = { nodes, failover: 'auto', confirmDefault: 'stay', arbiter: 'none', takeoverAfterCleanStop: p.of([false, true]) };
  const [mine, theirs] = p.mostly(relations, 2);
  const views = nodes.map((n, i) => {
    const v = sampledView(n, settings, p, i === 0 ? mine : theirs, false);
    return { ...v, silentForMs: Object.fromEntries(nodes.filter((m) => m !== n).map((m) => [m, 10])) };
  });
  return views.map((self) =>
    factsOf(
      self,
      views.filter((v) => v !== self).map((view) => ({ view, silentForMs: 10 })),
    ),
  );
}
