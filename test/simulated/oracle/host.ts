/** One node of the tiny world: what is on its disk, and what only its daemon knows; and what can happen to it. */
import type { NodeName, StateRecord } from '../../../src/failover/types.ts';
import { definitionOf, epochOf, gen, viewOf } from './views.ts';

export interface Host {
  up: boolean;
  record: StateRecord;
  lastOwner: boolean;
  source: NodeName | null;
  corrupt: boolean;
  data: number;
  intent: number;
  oos: Record<NodeName, number>;
  /** What only the running daemon knows. */
  serving: boolean;
  contact: boolean;
  heard: readonly NodeName[];
  generationDue: boolean;
  links: Record<NodeName, 'resync' | 'in-sync'>;
}

export type Event =
  | { kind: 'crash' | 'return' | 'write' | 'force' | 'torn'; node: NodeName }
  | { kind: 'torn-on-target'; node: NodeName }
  | { kind: 'cut' | 'heal'; a: NodeName; b: NodeName }
  | { kind: 'resynced'; node: NodeName; target: NodeName };

export const eventText = (e: Event): string =>
  'a' in e ? `${e.kind} ${e.a}-${e.b}` : e.kind === 'resynced' ? `resynced ${e.node}->${e.target}` : `${e.kind} ${e.node}`;

/** A node of a mirror that is in sync with the first of its nodes, which has written once. */
export function hostInSync(n: NodeName, names: readonly NodeName[]): Host {
  const source = names[0] ?? '';
  const term = epochOf('A1');
  const others = names.filter((x) => x !== n);
  const isSource = n === source;
  const { record } = viewOf(n, {
    definition: definitionOf({ nodes: names }),
    generation: gen(1),
    inSync: [...names],
    epochSeen: term,
    epochServed: isSource ? term : null,
    epochInSync: term,
    sessionIn: isSource ? null : term,
    terms: term === null ? [] : [term.random],
    session: { role: isSource ? 'source' : 'target', clean: false },
    accountComplete: isSource ? others : [],
  });
  return {
    up: true,
    record,
    lastOwner: isSource,
    source,
    corrupt: false,
    data: 1,
    intent: 0,
    oos: Object.fromEntries(others.map((x) => [x, 0])),
    serving: isSource,
    contact: !isSource,
    heard: others,
    generationDue: false,
    links: isSource ? Object.fromEntries(others.map((x) => [x, 'in-sync'])) : {},
  };
}

const recordKeys = new WeakMap<StateRecord, string>();

/** Equal for nodes that behave alike. Records are never changed in place, so that each is written down once. */
export function hostKey(h: Host): string {
  const { record, ...rest } = h;
  let key = recordKeys.get(record);
  if (key === undefined) {
    key = JSON.stringify({ ...record, definition: null });
    recordKeys.set(record, key);
  }
  return JSON.stringify(rest) + key;
}

/** For the one who reads a violation. */
export function hostText(n: NodeName, h: Host): string {
  const record = JSON.stringify(h.record, (k, v: unknown) => (k === 'definition' ? undefined : v));
  const [data, intent] = [h.data.toString(2), h.intent.toString(2)];
  const rest = JSON.stringify({ data, intent, oos: h.oos, links: h.links, lastOwner: h.lastOwner, corrupt: h.corrupt });
  return `  ${n} ${h.up ? 'up' : 'down'}${h.serving ? ', serving' : ''} ${rest} ${record}`;
}
