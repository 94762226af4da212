/** What `netraid explain` says: all that a decision is made from, the decision, and what would change it. Pure. */
import { type Votes, votesHeard } from '../failover/arbiter.ts';
import { compare } from '../failover/compare.ts';
import { decide } from '../failover/decide.ts';
import type { SwitchoverFacts } from '../failover/decide-switchover.ts';
import { endsOfService } from '../failover/ends-of-service.ts';
import { isForeign } from '../failover/situation.ts';
import type { CompareAnswer, Decision, Facts, NodeName, NodeView } from '../failover/types.ts';

/** How a node of the mirror is heard, as `decide` takes it. */
export interface Heard {
  /**
   * `here`: this node. `silent`: for failureTimeout or longer, so that what it said last is no word of now. `never`: not since this daemon
   * started. `mute`: its daemon runs, and says nothing of this mirror, which its record may be damaged or missing for. `foreign`: not
   * one of ours, and never asked.
   */
  how: 'here' | 'heard' | 'silent' | 'never' | 'mute' | 'foreign';
  /** Since it was last heard, ms; null: never, or not asked. */
  silentForMs: number | null;
}

/** With a node that is silent: with the last that it said, as though it were out of service. */
export interface ExplainedCompare extends CompareAnswer {
  with: NodeName;
  heard: Heard;
}

export interface Explained {
  /** What this node says of itself. */
  facts: NodeView;
  /** What each other node said last, which is no word of now where `heard` says so. */
  peers: Record<NodeName, NodeView>;
  /** Every node of the mirror. */
  heard: Record<NodeName, Heard>;
  failureTimeoutMs: number;
  arbiter: Votes;
  decision: Decision;
  compares: ExplainedCompare[];
}

export interface ExplainOptions {
  /** As in a switchover; null: this node is not the source. */
  source: SwitchoverFacts['source'];
  /** Other nodes whose daemon is heard, whether or not it says anything of this mirror. */
  reachable: ReadonlySet<NodeName>;
}

export function explain(facts: Facts, o: ExplainOptions): Explained {
  const { self } = facts;
  const { definition } = self.record;
  // A vote needs a daemon, and nothing of what it says.
  const silence = (n: NodeName): number => (o.reachable.has(n) ? 0 : (silentFor(facts, n) ?? Infinity));
  const heard = Object.fromEntries(
    [...new Set([self.node, ...Object.keys(definition.nodes), ...Object.keys(facts.peers)])].map((n) => [n, heardOf(facts, n, o)]),
  );
  const peers = Object.fromEntries(Object.entries(facts.peers).map(([n, p]) => [n, p.view]));
  const d = decide(facts);
  const changesIf = [...(d.changesIf ?? []), ...(d.action === 'stay-in-service' ? endsOfService(facts, o.source) : [])];
  return {
    facts: self,
    peers,
    heard,
    failureTimeoutMs: facts.failureTimeoutMs,
    arbiter: votesHeard(self.record, silence),
    decision: changesIf.length === 0 ? d : { ...d, changesIf },
    compares: Object.values(peers).map((v) => compared(self, v, heardOf(facts, v.node, o))),
  };
}

function compared(self: NodeView, other: NodeView, heard: Heard): ExplainedCompare {
  // Nobody knows whether it serves now: what is asked is what follows when it comes back with what it had.
  const as = heard.how === 'heard' ? other : { ...other, inService: false };
  return { ...compare(self, as), with: other.node, heard };
}

function silentFor(facts: Facts, node: NodeName): number | undefined {
  const peer = Object.hasOwn(facts.peers, node) ? facts.peers[node] : undefined;
  return peer?.silentForMs ?? (Object.hasOwn(facts.self.silentForMs, node) ? facts.self.silentForMs[node] : undefined);
}

function heardOf(facts: Facts, node: NodeName, o: ExplainOptions): Heard {
  if (node === facts.self.node) return { how: 'here', silentForMs: null };
  if (isForeign(facts.self.record.definition, node)) return { how: 'foreign', silentForMs: null };
  const ms = silentFor(facts, node);
  const silentForMs = ms === undefined ? null : Math.floor(ms);
  if (Object.hasOwn(facts.peers, node) && ms !== undefined && ms < facts.failureTimeoutMs) return { how: 'heard', silentForMs };
  if (o.reachable.has(node)) return { how: 'mute', silentForMs };
  return { how: silentForMs === null ? 'never' : 'silent', silentForMs };
}
