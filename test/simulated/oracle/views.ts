/** Views of nodes from a few words each, for oracles: every field is said here, none is taken from the code under test. */
import type { Epoch, FailoverMode, MirrorDefinition, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';

export const TIMEOUT_MS = 1000;
export const A = 'server1';
export const B = 'server2';
export const C = 'server3';

export const gen = (n: number): string => `a${String(n).padStart(15, '0')}`;

/** `A2`: epoch 2 of server1. */
export function epochOf(word: string | null): Epoch | null {
  if (word === null) return null;
  const owner = { A, B, C }[word.charAt(0)];
  if (owner === undefined) throw new Error(`no node ${word}`);
  return { number: Number(word.slice(1)), owner, random: `${word.charAt(0).toLowerCase()}${word.slice(1).padStart(15, '0')}` };
}

const definitions = new Map<string, MirrorDefinition>();

export interface DefinitionWords {
  nodes: readonly NodeName[];
  createId?: string;
  failover?: FailoverMode;
  confirmDefault?: 'go' | 'stay';
  arbiter?: 'none' | 'majority';
  takeoverAfterCleanStop?: boolean;
}

const PRIORITIES: Readonly<Record<NodeName, number>> = { [A]: 1, [B]: 10, [C]: 20 };

export function definitionOf(w: DefinitionWords): MirrorDefinition {
  const key = JSON.stringify(w);
  const known = definitions.get(key);
  if (known !== undefined) return known;
  const made: MirrorDefinition = {
    tag: 'datarep-ext3',
    createId: w.createId ?? 'c000000000000001',
    revision: 1,
    sizeBytes: 1 << 26,
    regionSizeBytes: 1 << 16,
    nodes: Object.fromEntries(w.nodes.map((n) => [n, { priority: PRIORITIES[n] ?? 50, leg: `/legs/${n}`, mode: 'sync' }])),
    failureTimeoutMs: TIMEOUT_MS,
    failover: w.failover ?? 'auto',
    confirmTimeoutSec: 60,
    confirmDefault: w.confirmDefault ?? 'stay',
    arbiter: w.arbiter ?? 'none',
    waitForPreviousSourceSec: -1,
    takeoverAfterCleanStop: w.takeoverAfterCleanStop ?? false,
  };
  definitions.set(key, made);
  return made;
}

export function viewOf(node: NodeName, record: Partial<StateRecord> & { definition: MirrorDefinition }, over: Partial<NodeView> = {}): NodeView {
  return {
    node,
    record: {
      node,
      hadData: true,
      generation: gen(1),
      offered: [],
      history: [gen(0)],
      absentPeers: {},
      accountComplete: [],
      accountGivenTo: null,
      inSync: [],
      droppedUnconfirmed: [],
      epochSeen: null,
      epochServed: null,
      epochInSync: null,
      claim: null,
      session: { role: 'none', clean: true },
      resyncingFrom: null,
      toldOut: null,
      legBehind: null,
      mergePending: [],
      grant: null,
      stoppedOnPurpose: false,
      paused: [],
      legZeroed: false,
      keepOut: false,
      ...record,
    },
    flags: { lastOwner: false, source: null, dataCorrupt: false },
    state: 'Waiting',
    inService: false,
    bitmapDamaged: false,
    legDoubtful: false,
    intentBytes: 0,
    outOfSyncBytes: {},
    daemonStart: `${node}-1`,
    contactWithSource: false,
    silentForMs: {},
    ...over,
  };
}

/** What differs from a view that says nothing: a person reads this. */
export function shown(v: NodeView): string {
  const plain = viewOf(v.node, { definition: v.record.definition });
  const words: string[] = [];
  const tell = (fields: object, usual: object): void => {
    const other = new Map<string, unknown>(Object.entries(usual));
    for (const [key, value] of Object.entries(fields)) {
      const text = JSON.stringify(value, (k, x: unknown) => (k === 'random' ? undefined : x));
      if (key !== 'definition' && key !== 'record' && JSON.stringify(value) !== JSON.stringify(other.get(key))) words.push(`${key}=${text}`);
    }
  };
  tell(v.record, plain.record);
  tell(v.flags, plain.flags);
  tell({ ...v, flags: null }, { ...plain, flags: null });
  const d = v.record.definition;
  words.push(
    `${d.failover}${d.confirmDefault === 'go' ? ' go' : ''}${d.arbiter === 'majority' ? ' majority' : ''}${d.takeoverAfterCleanStop ? ' takeoverAfterCleanStop' : ''}`,
  );
  return `${v.node}: ${words.join(' ').replaceAll('a00000000000000', 'g').replaceAll('"', '')}`;
}
