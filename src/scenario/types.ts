/** A scenario as data: what `parse` makes of a file, and what both worlds carry out. Sizes are bytes, times milliseconds. */
import type { ArbiterKind, DecideRule, FailoverMode, NodeName, NodeState, PeerState } from '../failover/types.ts';

export interface Scenario {
  file: string;
  title: string;
  mirror: ScenarioMirror;
  steps: Step[];
}

export interface ScenarioMirror {
  tag: string;
  sizeBytes: number;
  /** Null: as LKDR_CHUNK_SIZE says. */
  regionBytes: number | null;
  async: NodeName[];
  /** In the order of the file: the first is the source at the start. */
  nodes: { name: NodeName; priority: number }[];
  /** Tunables, `LKDR_…`. */
  settings: Record<string, string>;
  failureTimeoutMs: number;
  arbiter: ArbiterKind;
  failover: FailoverMode;
}

/** From 1; the line is that of the step in its file. */
export interface Step {
  number: number;
  line: number;
  action: Action;
}

/** What bytes are made from; zeroes have no seed. */
export type Seed = number | 'zero';

export interface Range {
  from: number;
  to: number;
}

export interface Comparison {
  operator: '<' | '<=' | '>' | '>=' | '==';
  bytes: number;
}

export type LegFault = 'full' | 'error read' | 'error write' | 'error sync';

export interface WriteAction {
  kind: 'write';
  at: number;
  length: number;
  seed: Seed;
  on: NodeName | null;
  withinMs: number;
  flush: boolean;
  fails: boolean;
}

export interface LoadAction {
  kind: 'load';
  name: string;
  seed: number;
  writes: number;
  length: Range;
  /** `to` is the first byte after it. */
  range: Range;
  on: NodeName | null;
}

export interface RunAction {
  kind: 'run';
  /** The command line, as words. */
  argv: string[];
  on: NodeName | null;
  exit: number;
  prints: RegExp | null;
}

/** Facts of one node; what is undefined is not asked. */
export interface NodeFacts {
  up?: boolean;
  inService?: boolean;
  last_owner?: boolean;
  data_corrupt?: boolean;
  /** Null: no TAG_source. */
  source?: NodeName | null;
  state?: NodeState;
  sees?: Record<NodeName, PeerState>;
  dirty?: Record<NodeName, Comparison>;
  rule?: DecideRule;
}

export interface ExpectAction {
  kind: 'expect';
  withinMs: number;
  forMs: number;
  nodes: Record<NodeName, NodeFacts>;
}

export type Action =
  | { kind: 'up'; nodes: NodeName[] }
  | { kind: 'down'; node: NodeName }
  | { kind: 'crash'; nodes: NodeName[] }
  | { kind: 'powerfail'; nodes: NodeName[] }
  | { kind: 'freeze'; node: NodeName }
  | { kind: 'thaw'; node: NodeName }
  | { kind: 'cut'; from: NodeName; to: NodeName; bothWays: boolean }
  /** Null: all links. */
  | { kind: 'heal'; link: [NodeName, NodeName] | null }
  | { kind: 'slow'; link: [NodeName, NodeName]; rateBytesPerSec: number | null; delayMs: number }
  | WriteAction
  | { kind: 'read'; at: number; length: number; seed: Seed; on: NodeName | null; withinMs: number }
  | { kind: 'leg'; on: NodeName; at: number; length: number; seed: Seed }
  | LoadAction
  | { kind: 'endload'; name: string }
  | { kind: 'acknowledged'; node: NodeName }
  | RunAction
  | { kind: 'damage'; on: NodeName; file: 'bitmap' | 'state' | 'leg'; at: number; length: number }
  | { kind: 'remove'; on: NodeName; file: 'bitmap' | 'state' | 'last_owner' | 'source' | 'data_corrupt' }
  | { kind: 'fault'; node: NodeName; fault: LegFault | null; word: 'diskfull' | 'diskerror' | 'diskok' }
  | { kind: 'wait'; ms: number }
  | { kind: 'identical'; nodes: NodeName[] }
  | { kind: 'resynced'; target: NodeName; type: 'partial' | 'full' | null; bytes: Comparison | null; sent: Comparison | null }
  | ExpectAction;

/** The word of the language for a step. */
export function wordOf(action: Action): string {
  return action.kind === 'fault' ? action.word : action.kind;
}
