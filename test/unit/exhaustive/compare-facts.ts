/**
 * Two nodes that meet: a small core of terms x data x who serves, and every other fact that `compare` may look at, with each of its
 * values. The two are `a` and `b`; a third node, C, is away.
 */
import type { Epoch, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { isPossible, isSplitBrain } from '../../simulated/oracle/compare-oracle.ts';
import { term } from '../../simulated/oracle/decide-oracle.ts';
import { sessionOf, termsOf, type TermWords } from '../../simulated/oracle/situations.ts';
import { A, B, C, definitionOf, epochOf, gen, viewOf } from '../../simulated/oracle/views.ts';
import type { Fact, Value } from './crossing.ts';

export interface Meeting {
  a: NodeView;
  b: NodeView;
  waitEnded: boolean;
}

type Data = Pick<StateRecord, 'generation' | 'history' | 'offered'>;
const data = (n: number, history: number[], offered: Data['offered'] = []): Data => ({ generation: gen(n), history: history.map(gen), offered });

const old = data(1, [0]);
const newer = data(2, [1, 0]);
const strange = data(8, [9]);
const offering = (served: boolean): Data => data(1, [0], [{ generation: gen(2), served }]);

const relations: readonly (readonly [Data, Data])[] = [
  [old, old],
  [newer, old],
  [old, newer],
  [newer, data(3, [1, 0])],
  [old, strange],
  [offering(false), old],
  [offering(false), newer],
  [offering(true), old],
];

/** Served, part of, told of; `O` is the node itself, `P` the other, `Q` the third. */
const never: TermWords = [null, null, null];
const terms: readonly TermWords[] = [
  never,
  [null, 'P1', 'P1'],
  [null, 'P2', 'P2'],
  [null, 'Q2', 'Q2'],
  ['O1', 'O1', 'O1'],
  ['O1', 'P2', 'P2'],
  ['O1', 'Q2', 'Q2'],
  ['O2', 'O2', 'O2'],
];

const definition = definitionOf({ nodes: [A, B, C] });

/** Out of service after a crash, out of service after a clean end, in service. */
function views(node: NodeName, other: NodeName, held: Data, words: TermWords): NodeView[] {
  const view = (clean: boolean, inService: boolean): NodeView =>
    viewOf(
      node,
      {
        definition,
        ...held,
        ...termsOf(node, words),
        session: sessionOf(words, clean),
        // Whoever is new in the mirror has neither.
        hadData: words !== never,
        accountComplete: words === never ? [] : [other],
        inSync: words === never ? [] : [A, B, C],
      },
      { inService, state: inService ? 'Source' : 'Waiting', flags: { lastOwner: words[0] !== null, source: null, dataCorrupt: false } },
    );
  if (words === never) return [view(true, false)];
  const out = [view(false, false), view(true, false)];
  return words[0] !== null && words[0] === words[1] ? [...out, view(false, true)] : out;
}

/** Those whose records one history can leave; out of service, they ended alike. */
export function* meetings(): Generator<Meeting> {
  for (const [da, db] of relations)
    for (const ta of terms)
      for (const tb of terms)
        for (const a of views(A, B, da, ta))
          for (const b of views(B, A, db, tb)) {
            const apart = [a, b].some((v) => v.inService || v.record.session.role === 'none');
            const alike = apart || a.record.session.clean === b.record.session.clean;
            if (alike && isPossible(a, b)) yield { a, b, waitEnded: false };
          }
}

/**
 * Of them, those that were not ended cleanly, nor contradict each other, with data as it mostly is. The answer does not depend on the order
 * of the two, which is looked at in each: so a was part of no earlier term than b.
 */
export function* usualMeetings(): Generator<Meeting> {
  for (const m of meetings()) {
    const [a, b] = [m.a.record, m.b.record];
    const plain = [a, b].every(
      (r) => r.generation !== strange.generation && r.offered.length === 0 && (!r.session.clean || r.session.role === 'none'),
    );
    const [ta, tb] = [term(a)?.number ?? 0, term(b)?.number ?? 0];
    if (plain && ta >= tb && !(m.a.inService && m.b.inService) && !isSplitBrain(a, b)) yield m;
  }
}

type Side = 'a' | 'b';
const SIDES: readonly Side[] = ['a', 'b'];
const each = (make: (s: Side) => Value<Meeting>[]): Value<Meeting>[] => SIDES.flatMap((s) => make(s));

function view(s: Side, name: string, change: (v: NodeView, peer: NodeView) => NodeView | null): Value<Meeting> {
  return {
    name: `${s} ${name}`,
    in: (m) => {
      const changed = s === 'a' ? change(m.a, m.b) : change(m.b, m.a);
      return changed === null ? null : { ...m, [s]: changed };
    },
  };
}

const record = (s: Side, name: string, change: (r: StateRecord, peer: NodeView) => Partial<StateRecord> | null): Value<Meeting> =>
  view(s, name, (v, peer) => {
    const changed = change(v.record, peer);
    return changed === null ? null : { ...v, record: { ...v.record, ...changed } };
  });

const noData: Fact<Meeting> = { name: 'no data', values: each((s) => [record(s, 'never had data', (r) => (r.hadData ? { hadData: false } : null))]) };

/**
 * To what the other holds. Whether that is a generation in common the design does not say: of two that have no other, the table may refuse, or
 * let the resync go on, in which nothing is lost that was worth keeping.
 */
function cutOnWayToPeer(s: Side, from: 'the other' | 'C', kind: 'partial' | 'full'): Value<Meeting> {
  return record(s, `was cut short, in a ${kind} resync from ${from}, on its way to what the other holds`, (r, { node, record: { generation } }) => {
    const strangers = (r.generation === strange.generation) !== (generation === strange.generation);
    return strangers ? null : { resyncingFrom: { node: from === 'C' ? C : node, kind, generation } };
  });
}

const cut: Fact<Meeting> = {
  name: 'cut short',
  values: each((s) => [
    cutOnWayToPeer(s, 'the other', 'partial'),
    cutOnWayToPeer(s, 'the other', 'full'),
    cutOnWayToPeer(s, 'C', 'partial'),
    record(s, 'was cut short, fully from C, on its way to what the other does not know', () => ({
      resyncingFrom: { node: C, kind: 'full', generation: gen(7) },
    })),
  ]),
};

const account: Fact<Meeting> = {
  name: 'account',
  values: each((s) => [
    record(s, 'has no complete account', () => ({ accountComplete: [] })),
    record(s, 'has a complete account of C alone', () => ({ accountComplete: [C] })),
    record(s, 'has given its account to the other', (_r, peer) => ({ accountGivenTo: peer.node })),
    record(s, 'has given its account to C', () => ({ accountGivenTo: C })),
  ]),
};

const kept: Fact<Meeting> = {
  name: 'kept bitmap',
  values: each((s) => [
    record(s, 'keeps marks for what the other holds', (_r, peer) => ({ absentPeers: { [peer.node]: peer.record.generation } })),
    record(s, 'keeps marks for what both held once', (_r, peer) => ({ absentPeers: { [peer.node]: gen(0) } })),
    record(s, 'keeps marks for what it holds itself', (r, peer) => ({ absentPeers: { [peer.node]: r.generation } })),
    record(s, 'keeps marks for C', () => ({ absentPeers: { [C]: gen(0) } })),
  ]),
};

const pending: Fact<Meeting> = {
  name: 'merge pending',
  values: each((s) => [
    record(s, 'waits for the marks of C for the other', (_r, peer) => ({ mergePending: [{ from: C, for: [peer.node] }] })),
    record(s, 'waits for the marks of the other for C', (_r, peer) => ({ mergePending: [{ from: peer.node, for: [C] }] })),
    record(s, 'waits for the marks of the other for itself', (_r, peer) => ({ mergePending: [{ from: peer.node, for: [peer.node] }] })),
    record(s, 'waits for the marks of both', (_r, peer) => ({
      mergePending: [
        { from: peer.node, for: [C] },
        { from: C, for: [peer.node] },
      ],
    })),
  ]),
};

const wait: Fact<Meeting> = { name: 'wait', values: [{ name: 'the wait has ended', in: (m) => ({ ...m, waitEnded: true }) }] };

const sinceTerm = (r: StateRecord): Epoch | null => r.epochServed ?? r.epochInSync;
const leg: Fact<Meeting> = {
  name: 'leg behind',
  values: each((s) => [
    record(s, 'has its leg behind the other', (r, peer) => {
      const since = sinceTerm(r);
      return since === null ? null : { legBehind: { since, newest: peer.node } };
    }),
    record(s, 'has its leg behind C', (r) => {
      const since = sinceTerm(r);
      return since === null ? null : { legBehind: { since, newest: C } };
    }),
  ]),
};

const marks: Fact<Meeting> = {
  name: 'marks',
  values: each((s) => [
    view(s, 'has intent marks', (v) => ({ ...v, intentBytes: 65_536 })),
    view(s, 'has marks for the other', (v, peer) => ({ ...v, outOfSyncBytes: { [peer.node]: 65_536 } })),
    view(s, 'has a damaged bitmap file', (v) => ({ ...v, bitmapDamaged: true })),
  ]),
};

/** The other's marks know of the term in which this one was a target last; or not. */
const sessions: Fact<Meeting> = {
  name: 'sessions',
  values: each((s) => [
    view(s, 'was a target of C, of which the other knows nothing', (v) => ({ ...v, record: { ...v.record, sessionIn: epochOf('C1'), terms: [] } })),
    record(s, 'knows all terms', () => ({ terms: ['A1', 'A2', 'B1', 'B2', 'C1', 'C2'].flatMap((w) => epochOf(w)?.random ?? []) })),
    record(s, 'knows no term', () => ({ terms: [] })),
  ]),
};

const stopped: Fact<Meeting> = {
  name: 'stopped on purpose',
  values: each((s) => [record(s, 'wrote down that the source stopped on purpose', () => ({ stoppedOnPurpose: true }))]),
};

const told: Fact<Meeting> = {
  name: 'told',
  values: each((s) => [
    record(s, 'was told that it is out', (r, peer) => {
      const epoch = sinceTerm(r);
      return epoch === null ? null : { toldOut: { by: peer.node, epoch, why: 'paused' } };
    }),
    record(s, 'was told of a claim of C', () => ({ epochSeen: epochOf('C5') })),
    // Who is in service has claimed no later epoch, and by one of another it is fenced off (M9), before any direction is asked for.
    record(s, 'was told of a claim of the other', (_r, peer) =>
      peer.inService ? null : { epochSeen: { number: 5, owner: peer.node, random: '5d' } },
    ),
    record(s, 'has claimed a later epoch itself', (r, peer) => (peer.inService ? null : { epochSeen: { number: 5, owner: r.node, random: '5e' } })),
  ]),
};

const mirror: Fact<Meeting> = {
  name: 'mirror',
  values: each((s) => [record(s, 'is of another mirror', (r) => ({ definition: { ...r.definition, createId: 'c000000000000002' } }))]),
};

/** Who may write, who is paused and what an operator ordered: says nothing of which data is where, and so decides no direction. */
const notes: Fact<Meeting> = {
  name: 'notes',
  values: each((s) => [
    record(s, 'handed the mirror over to the other', (r, peer) =>
      r.epochServed === null ? null : { grant: { epoch: r.epochServed, from: r.node, to: peer.node, synced: [A, B, C], paused: [] } },
    ),
    record(s, 'holds a grant of the other', (r, peer) =>
      r.epochInSync?.owner === peer.node ? { grant: { epoch: r.epochInSync, from: peer.node, to: r.node, synced: [A, B], paused: [] } } : null,
    ),
    record(s, 'overruled the arbiter', (r) => (r.epochServed === null ? null : { overruled: r.epochServed })),
    record(s, 'knows the other as paused', (_r, peer) => ({ paused: [peer.node] })),
    record(s, 'is kept out by an operator, with data_corrupt', () => ({ keepOut: true, dataCorruptSet: true })),
    record(s, 'holds a claim', (r) => ({ claim: { number: 5, owner: r.node, random: '5c' } })),
  ]),
};

export const NOTES = notes.name;

export const facts: readonly Fact<Meeting>[] = [noData, cut, account, kept, pending, wait, leg, marks, sessions, stopped, told, mirror, notes];

/** What one of these does to another is the most of the table; the others are walked one by one. */
export const entangled: readonly Fact<Meeting>[] = [noData, cut, account, kept, pending, wait, leg, marks];
