/**
 * Every fact that `decide` may look at and that is as usual in the cores of scene.ts, with each of its other values. `P` is the first
 * of the other nodes, `Q` the second, where there is one.
 */
import type { Epoch, Facts, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { term } from '../../simulated/oracle/decide-oracle.ts';
import type { Fact, Value } from './crossing.ts';
import { claims, grants } from './decide-grants.ts';
import { claimOf, HEARD, isHeard, type Peer, type Scene } from './scene.ts';
import { ALL, each, firstPeer, given, nameOf, PEERS, records, says, set, withRecord, WORD } from './scene-changes.ts';

// ------------------------------------------------------------------------------------------------ what the records say

/**
 * Whoever joins shares the history from then on, and its source has written down before that there is one; and only who is alone in a mirror
 * begins without data. So a node that was part of a term is without data only as long as nobody has any.
 */
function canBeBlank(v: NodeView, s: Scene): boolean {
  const others = [s.self, ...s.peers.filter(isHeard).map((p) => p.view)].filter((x) => x !== v);
  return term(v.record) === null || (v.record.epochInSync?.owner === v.node && others.every((x) => !x.record.hadData));
}

const noData: Fact<Scene> = {
  name: 'no data',
  values: each(ALL, (w) => [says(w, 'never had data', (v, s) => (canBeBlank(v, s) ? withRecord(v, { hadData: false }) : null))]),
};

const sets: Fact<Scene> = {
  name: 'in-sync sets',
  values: each(ALL, (w) => [
    records(w, 'has itself alone in sync', (r) => ({ inSync: [r.node] })),
    records(w, 'has all but itself in sync', (r) => ({ inSync: r.inSync.filter((n) => n !== r.node) })),
    says(w, 'has itself and the first other in sync', (v, s) =>
      s.peers.length === 1 ? null : withRecord(v, { inSync: [v.node, firstPeer(s, v)].sort() }),
    ),
    records(w, 'has nobody in sync', () => ({ inSync: [] })),
  ]),
};

const dropped: Fact<Scene> = {
  name: 'dropped unconfirmed',
  values: each(ALL, (w) => [
    says(w, 'dropped one on its silence alone', (v, s) => withRecord(v, { droppedUnconfirmed: [firstPeer(s, v)], inSync: [v.node] })),
  ]),
};

const clean: Fact<Scene> = {
  name: 'clean',
  values: each(ALL, (w) => [
    says(w, 'ended cleanly', (v) => (v.inService ? null : withRecord(v, { session: { ...v.record.session, clean: true } }))),
    says(w, 'ended cleanly, and the source had said so', (v) =>
      v.inService ? null : withRecord(v, { session: { ...v.record.session, clean: true }, stoppedOnPurpose: true }),
    ),
  ]),
};

const afterStop: Fact<Scene> = { name: 'takeoverAfterCleanStop', values: [set('takeover after a clean stop', { takeoverAfterCleanStop: true })] };

const cut: Fact<Scene> = {
  name: 'cut short',
  values: each(ALL, (w) => [
    says(w, 'was cut short', (v, s) => withRecord(v, { resyncingFrom: { node: firstPeer(s, v), kind: 'partial', generation: v.record.generation } })),
    says(w, 'was cut short on its way to another generation', (v, s) =>
      withRecord(v, { resyncingFrom: { node: firstPeer(s, v), kind: 'full', generation: 'f000000000000001' } }),
    ),
  ]),
};

const later = (v: NodeView, owner: NodeName): Epoch => ({ number: (term(v.record)?.number ?? 0) + 1, owner, random: `${owner.slice(-1)}e` });

const told: Fact<Scene> = {
  name: 'told out',
  values: each(ALL, (w) => [
    says(w, 'was told out in its own term', (v, s) => {
      const epoch = term(v.record);
      return epoch === null ? null : withRecord(v, { toldOut: { by: firstPeer(s, v), epoch, why: 'paused' } });
    }),
    says(w, 'was told out in a later term', (v, s) => {
      const by = firstPeer(s, v);
      return withRecord(v, { toldOut: { by, epoch: later(v, by), why: 'dropped' }, epochSeen: later(v, by) });
    }),
    says(w, 'found that it is out', (v) => {
      const epoch = term(v.record);
      return epoch === null ? null : withRecord(v, { toldOut: { by: v.node, epoch, why: 'behind' } });
    }),
  ]),
};

const leg: Fact<Scene> = {
  name: 'leg behind',
  values: each(ALL, (w) => [
    says(w, 'has its leg behind the first other', (v, s) => {
      const since = term(v.record);
      return since === null ? null : withRecord(v, { legBehind: { since, newest: firstPeer(s, v) } });
    }),
    says(w, 'has its leg behind the second other', (v, s) => {
      const since = term(v.record);
      const newest = nameOf(s, w === 1 ? 0 : 1);
      return since === null || newest === null ? null : withRecord(v, { legBehind: { since, newest } });
    }),
    says(w, 'has its leg behind in a later term', (v, s) => {
      const newest = firstPeer(s, v);
      return withRecord(v, { legBehind: { since: later(v, newest), newest } });
    }),
  ]),
};

const kept: Fact<Scene> = { name: 'kept out', values: each(ALL, (w) => [records(w, 'is kept out by an operator', () => ({ keepOut: true }))]) };

// ------------------------------------------------------------------------------------------------ flags, service, contact

const flagged = (v: NodeView, flags: Partial<NodeView['flags']>, r: Partial<StateRecord> = {}): NodeView => ({
  ...withRecord(v, r),
  flags: { ...v.flags, ...flags },
});

const corrupt: Fact<Scene> = {
  name: 'data_corrupt',
  values: each(ALL, (w) => [
    says(w, 'has data_corrupt', (v) => flagged(v, { dataCorrupt: true }, { dataCorruptSet: true })),
    says(w, 'had data_corrupt deleted by hand', (v) => flagged(v, {}, { dataCorruptSet: true })),
    says(w, 'had data_corrupt set by hand', (v) => flagged(v, { dataCorrupt: true })),
  ]),
};

const owner: Fact<Scene> = {
  name: 'last_owner',
  values: each(ALL, (w) => [says(w, 'has last_owner the other way round', (v) => flagged(v, { lastOwner: !v.flags.lastOwner }))]),
};

const service: Fact<Scene> = {
  name: 'in service',
  values: each(PEERS, (w) => [
    says(w, 'is in service', (v) => {
      const { epochServed, session } = v.record;
      return epochServed === null || epochServed !== term(v.record) || session.role !== 'source' ? null : { ...v, inService: true };
    }),
  ]),
};

const contact: Fact<Scene> = {
  name: 'contact',
  values: [
    ...each(PEERS, (w) => [says(w, 'is in contact with its source', (v) => ({ ...v, contactWithSource: true }))]),
    ...each(PEERS, (w) => [
      says(w, 'hears the one that is silent here', (v, s) => {
        const lost = s.peers.find((p) => !isHeard(p))?.view.node;
        return lost === undefined ? null : { ...v, silentForMs: { ...v.silentForMs, [lost]: HEARD } };
      }),
    ]),
    ...([0, 1] as const).map(
      (i): Value<Scene> => ({
        name: `${WORD[i]} has not been heard since the start`,
        in: (s) => {
          const peer = s.peers[i];
          if (peer === undefined || isHeard(peer) || peer.silentForMs === null) return null;
          return { ...s, peers: s.peers.map((p): Peer => (p === peer ? { ...p, silentForMs: null } : p)) };
        },
      }),
    ),
  ],
};

// ------------------------------------------------------------------------------------------------ operator, arbiter, time

const about = (s: Scene): string => {
  const t = term(s.self.record);
  return `takeover, epoch ${String(t?.number ?? 0)} (${t?.owner ?? ''})`;
};

const asks = (name: string, then: 'go' | 'stay', confirm: (s: Scene) => Facts['confirm']): Value<Scene> => ({
  name: `failover confirm, ${name}`,
  in: (s) => set('', { failover: 'confirm', confirmDefault: then }, { confirm: confirm(s) }, s.byVotes).in(s),
});

const failover: Fact<Scene> = {
  name: 'failover',
  values: [
    { name: 'failover off', in: (s) => set('', { failover: 'off' }, {}, s.byVotes).in(s) },
    asks('nobody was asked', 'stay', () => undefined),
    asks('just asked', 'go', (s) => ({ about: about(s), askedForMs: 0, word: null })),
    asks('no answer, so it stays', 'stay', (s) => ({ about: about(s), askedForMs: 60_000, word: null })),
    asks('no answer, so it goes', 'go', (s) => ({ about: about(s), askedForMs: 60_000, word: null })),
    asks('yes', 'stay', (s) => ({ about: about(s), askedForMs: 0, word: 'yes' })),
    asks('no', 'go', (s) => ({ about: about(s), askedForMs: 60_000, word: 'no' })),
    asks('yes to another question', 'stay', () => ({ about: 'takeover, epoch 9 (nobody)', askedForMs: 0, word: 'yes' })),
  ],
};

const arbiter: Fact<Scene> = {
  name: 'arbiter',
  values: [
    set('a majority is to be asked', { arbiter: 'majority' }),
    set('a majority has voted', { arbiter: 'majority' }, { majority: true }),
    set('no majority', { arbiter: 'majority' }, { majority: false }),
    set('a majority, by who is heard', { arbiter: 'majority' }, {}, true),
    set('no arbiter, and no majority', {}, { majority: false }),
  ],
};

const overruled: Fact<Scene> = {
  name: 'overruled',
  values: [
    records('self', 'overruled the arbiter in the epoch that it served', ({ epochServed }) =>
      epochServed === null ? null : { overruled: epochServed },
    ),
    records('self', 'overruled the arbiter in another epoch', (r) => ({ overruled: claimOf(r.node, 7) })),
    records('self', 'overrules no arbiter any more', () => ({ overruled: null })),
    ...each(PEERS, (w) => [
      records(w, 'overruled the arbiter in the epoch that it served', ({ epochServed }) =>
        epochServed === null ? null : { overruled: epochServed },
      ),
    ]),
  ],
};

const paused: Fact<Scene> = {
  name: 'paused',
  values: each(ALL, (w) => [
    says(w, 'knows the first other as paused', (v, s) => withRecord(v, { paused: [firstPeer(s, v)] })),
    records(w, 'knows itself as paused', (r) => ({ paused: [r.node] })),
  ]),
};

const justStarted: Fact<Scene> = { name: 'just started', values: [given('just started', () => ({ upForMs: 100 }))] };

const command: Fact<Scene> = {
  name: 'command',
  values: [
    given('in-service is said', () => ({ command: { kind: 'in-service' } })),
    given('in-service without last_owner is said', () => ({ command: { kind: 'in-service', withoutLastOwner: true } })),
    given('force is said', () => ({ command: { kind: 'force', withoutLastOwner: false } })),
    given('force without last_owner is said', () => ({ command: { kind: 'force', withoutLastOwner: true } })),
  ],
};

/** What a node may note down, and what decides nothing by itself: who is out was told so, and who is asked is the arbiter's matter. */
export const NOTES: readonly string[] = ['overruled', 'paused'];

/** In an order in which each may look at those before it. */
export const facts: readonly Fact<Scene>[] = [
  noData,
  sets,
  dropped,
  clean,
  afterStop,
  cut,
  told,
  leg,
  kept,
  corrupt,
  owner,
  service,
  contact,
  grants,
  claims,
  failover,
  arbiter,
  justStarted,
  command,
  overruled,
  paused,
];

/** Those that the cores of simulated/oracle, which are walked whole, have as usual: what one of these does to another is met here alone. */
export const entangled: readonly Fact<Scene>[] = [
  clean,
  afterStop,
  cut,
  told,
  leg,
  kept,
  corrupt,
  grants,
  claims,
  failover,
  arbiter,
  justStarted,
  command,
];

/** Whose word is asked for, and in which term it is not. */
export const votes: readonly Fact<Scene>[] = [arbiter, justStarted, command, overruled];
