/** Views and facts in few words: a mirror of server1, server2, server3 with priorities 1, 10, 20. */
import type { Chance } from '../../../src/io/types.ts';
import type { Epoch, Facts, Flags, MirrorDefinition, NodeDefinition, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';

export const TIMEOUT_MS = 2000;
const PRIORITIES: Record<NodeName, number> = { server1: 1, server2: 10, server3: 20 };

/** A readable generation: g(1) is sixteen digits ending in 1. */
export const g = (n: number): string => `a${String(n).padStart(15, '0')}`;

export const epoch = (number: number, owner = `server${String(number)}`, random = g(number)): Epoch => ({ number, owner, random });

/** Chance without chance. */
export function countingChance(): Chance {
  let n = 0;
  return { u32: () => (n += 1), hex64: () => (n += 1).toString(16).padStart(16, '0'), float: () => 0.5 };
}

export function definition(nodes: readonly NodeName[], over: Partial<MirrorDefinition> = {}): MirrorDefinition {
  const one = (name: NodeName): NodeDefinition => ({ priority: PRIORITIES[name] ?? 50, leg: `/legs/${name}`, mode: 'sync' });
  return {
    tag: 'datarep-ext3',
    createId: 'c000000000000001',
    revision: 1,
    sizeBytes: 64 * 1024 * 1024,
    regionSizeBytes: 65536,
    nodes: Object.fromEntries(nodes.map((n) => [n, one(n)])),
    failureTimeoutMs: TIMEOUT_MS,
    failover: 'auto',
    confirmTimeoutSec: 60,
    confirmDefault: 'stay',
    arbiter: 'none',
    waitForPreviousSourceSec: -1,
    takeoverAfterCleanStop: false,
    ...over,
  };
}

/** A mirror that is in sync under epoch 1 of server1, generation g(1); this node a running target or the running source. */
export function record(node: NodeName, nodes: readonly NodeName[], over: Partial<StateRecord> = {}): StateRecord {
  const isSource = node === 'server1';
  return {
    definition: definition(nodes),
    node,
    hadData: true,
    legZeroed: false,
    generation: g(1),
    offered: [],
    history: [g(0)],
    absentPeers: {},
    accountComplete: isSource ? nodes.filter((n) => n !== node) : [],
    accountGivenTo: null,
    inSync: [...nodes],
    droppedUnconfirmed: [],
    epochSeen: epoch(1),
    epochServed: isSource ? epoch(1) : null,
    epochInSync: epoch(1),
    claim: null,
    session: { role: isSource ? 'source' : 'target', clean: false },
    resyncingFrom: null,
    toldOut: null,
    legBehind: null,
    mergePending: [],
    grant: null,
    stoppedOnPurpose: false,
    paused: [],
    keepOut: false,
    ...over,
  };
}

export interface ViewOver extends Partial<Omit<NodeView, 'record' | 'flags' | 'node'>> {
  record?: Partial<StateRecord>;
  flags?: Partial<Flags>;
}

export function view(node: NodeName, nodes: readonly NodeName[], over: ViewOver = {}): NodeView {
  const { record: r, flags, ...rest } = over;
  return {
    node,
    record: record(node, nodes, r),
    flags: { lastOwner: node === 'server1', source: 'server1', dataCorrupt: false, ...flags },
    state: 'Waiting',
    inService: false,
    bitmapDamaged: false,
    legDoubtful: false,
    intentBytes: 0,
    outOfSyncBytes: {},
    daemonStart: `${node}-1`,
    contactWithSource: false,
    silentForMs: {},
    ...rest,
  };
}

/** server2 has taken over in epoch 2 and written: generation g(2). */
export const tookOver = (nodes: readonly NodeName[]): Partial<StateRecord> => ({
  generation: g(2),
  history: [g(1), g(0)],
  absentPeers: Object.fromEntries(nodes.filter((n) => n !== 'server2').map((n) => [n, g(1)])),
  accountComplete: ['server1'],
  inSync: ['server2'],
  droppedUnconfirmed: ['server1'],
  epochSeen: epoch(2),
  epochServed: epoch(2),
  epochInSync: epoch(2),
  session: { role: 'source', clean: false },
  mergePending: nodes.length > 2 ? [{ from: 'server1', for: nodes.filter((n) => n !== 'server1' && n !== 'server2') }] : [],
});

export interface FactsOver extends Partial<Omit<Facts, 'self' | 'peers'>> {
  /** Heard this long ago; absent: just now. */
  silent?: Record<NodeName, number>;
  /** What is known of it was said so long ago; absent: just now. */
  said?: Record<NodeName, number>;
}

export function facts(self: NodeView, peers: readonly NodeView[], over: FactsOver = {}): Facts {
  const { silent = {}, said = {}, ...rest } = over;
  return {
    self,
    peers: Object.fromEntries(peers.map((v) => [v.node, { view: v, silentForMs: silent[v.node] ?? 10, saidForMs: said[v.node] ?? 10 }])),
    failureTimeoutMs: TIMEOUT_MS,
    upForMs: 60_000,
    command: { kind: 'none' },
    majority: null,
    claiming: false,
    ...rest,
  };
}
