/** Generated views: everything a record may hold, in small ranges, so that nodes often know the same things. */
import fc from 'fast-check';
import type { Epoch, Facts, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { definition, g, TIMEOUT_MS } from './build.ts';

const NODES = ['server1', 'server2', 'server3'] as const;
const node = fc.constantFrom(...NODES);
const generation = fc.integer({ min: 0, max: 4 }).map(g);
const nodes = fc.uniqueArray(node, { maxLength: 3 });
/** Mostly one owner for a number, as it should be; sometimes not. */
const epochOf: fc.Arbitrary<Epoch> = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 4 }).map((n) => ({ number: n, owner: NODES[n % 3] ?? 'server1', random: g(n) })) },
  { weight: 1, arbitrary: fc.record({ number: fc.integer({ min: 1, max: 4 }), owner: node, random: generation }) },
);
const epoch = fc.option(epochOf, { freq: 5 });
/** Mostly one line of generations, of which a node has seen a beginning. */
const line: fc.Arbitrary<{ generation: string; history: string[] }> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.integer({ min: 0, max: 4 }).map((n) => ({ generation: g(n), history: Array.from({ length: n }, (_, i) => g(n - 1 - i)) })),
  },
  { weight: 1, arbitrary: fc.record({ generation, history: fc.uniqueArray(generation, { maxLength: 4 }) }) },
);
const byNode = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> => fc.dictionary(node, value, { maxKeys: 3 });

const rarely = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: value });

export const mirrorDefinition = fc
  .record({
    members: fc.constantFrom(NODES.slice(0, 2), NODES.slice()),
    createId: fc.constantFrom(...Array.from({ length: 15 }, () => 'c000000000000001'), 'c000000000000002'),
    revision: fc.integer({ min: 1, max: 2 }),
    failover: fc.constantFrom('auto' as const, 'off' as const, 'confirm' as const),
    arbiter: fc.constantFrom('none' as const, 'none' as const, 'majority' as const),
    takeoverAfterCleanStop: fc.boolean(),
  })
  .map(({ members, ...over }) => definition(members, over));

const REQUIRED = [
  'line',
  'definition',
  'node',
  'hadData',
  'legZeroed',
  'offered',
  'absentPeers',
  'accountComplete',
  'accountGivenTo',
  'inSync',
  'droppedUnconfirmed',
  'epochSeen',
  'epochServed',
  'epochInSync',
  'claim',
  'session',
  'resyncingFrom',
  'toldOut',
  'legBehind',
  'mergePending',
  'grant',
  'stoppedOnPurpose',
  'paused',
  'keepOut',
] as const;

export const recordOf = (name: string): fc.Arbitrary<StateRecord> =>
  fc
    .record(
      {
        line,
        definition: mirrorDefinition,
        node: fc.constant(name),
        hadData: fc.constantFrom(...Array.from({ length: 9 }, () => true), false),
        legZeroed: fc.boolean(),
        offered: fc.array(fc.record({ generation, served: fc.boolean() }), { maxLength: 1 }),
        absentPeers: byNode(generation),
        accountComplete: nodes,
        accountGivenTo: rarely(node),
        inSync: nodes,
        droppedUnconfirmed: nodes,
        epochSeen: epoch,
        epochServed: fc.option(epochOf, { freq: 2 }),
        epochInSync: epoch,
        claim: rarely(epochOf),
        session: fc.record({ role: fc.constantFrom('none' as const, 'source' as const, 'target' as const), clean: fc.boolean() }),
        resyncingFrom: rarely(fc.record({ node, kind: fc.constantFrom('partial' as const, 'full' as const), generation })),
        toldOut: rarely(fc.record({ by: node, epoch: epochOf, why: fc.constant('dropped') })),
        witnessed: fc.record({ epoch: epochOf, generation }),
        legBehind: rarely(fc.record({ since: epochOf, newest: node })),
        mergePending: fc.array(fc.record({ from: node, for: nodes }), { maxLength: 2 }),
        grant: rarely(fc.record({ epoch: epochOf, from: node, to: node, synced: nodes, paused: nodes }).filter(({ from, to }) => from !== to)),
        stoppedOnPurpose: fc.boolean(),
        paused: nodes,
        keepOut: fc.boolean(),
        dataCorruptSet: fc.boolean(),
      },
      { requiredKeys: [...REQUIRED] },
    )
    .map(({ line: l, offered, ...rest }) => ({
      ...rest,
      generation: l.generation,
      // One write sets both: whoever never had data has left no generation behind, and served under no offer.
      history: rest.hadData ? l.history : [],
      offered: rest.hadData ? offered : offered.map((o) => ({ ...o, served: false })),
    }));

export const viewOf = (name: string): fc.Arbitrary<NodeView> =>
  fc.record({
    node: fc.constant(name),
    record: recordOf(name),
    flags: fc.record({ lastOwner: fc.boolean(), source: fc.option(node), dataCorrupt: fc.constantFrom(false, false, true) }),
    state: fc.constant('Waiting' as const),
    inService: fc.constantFrom(false, false, true),
    bitmapDamaged: fc.constantFrom(false, false, false, true),
    legDoubtful: fc.boolean(),
    intentBytes: fc.constantFrom(0, 65536),
    outOfSyncBytes: byNode(fc.constantFrom(0, 65536)),
    daemonStart: fc.constant('1'),
    contactWithSource: fc.boolean(),
    silentForMs: byNode(fc.constantFrom(10, TIMEOUT_MS - 1, TIMEOUT_MS, 60_000)),
  });

const peerOf = (name: string): fc.Arbitrary<Facts['peers'][string]> =>
  fc.record({ view: viewOf(name), silentForMs: fc.constantFrom(10, TIMEOUT_MS), saidForMs: fc.constantFrom(10, 10, TIMEOUT_MS) });

export const anyFacts: fc.Arbitrary<Facts> = fc
  .record({
    self: viewOf('server1'),
    second: fc.option(peerOf('server2'), { freq: 5 }),
    third: fc.option(peerOf('server3'), { freq: 3 }),
    upForMs: fc.constantFrom(10, 60_000),
    command: fc.constantFrom<Facts['command']>(
      { kind: 'none' },
      { kind: 'none' },
      { kind: 'in-service' },
      { kind: 'force', withoutLastOwner: false },
      { kind: 'force', withoutLastOwner: true },
    ),
    majority: fc.option(fc.boolean()),
    claiming: fc.boolean(),
  })
  .map(({ self, second, third, ...rest }) => ({
    self,
    peers: { ...(second === null ? {} : { server2: second }), ...(third === null ? {} : { server3: third }) },
    failureTimeoutMs: TIMEOUT_MS,
    ...rest,
  }));
