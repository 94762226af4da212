/**
 * The words in which nodes speak about a mirror: its definition, what a node keeps in `state_TAG`, and what it says of
 * itself to others. Pure data, JSON all the way, so that a record can be read by a person at three in the morning.
 */

export type NodeName = string;
/** 16 lower-case hex digits, random: one data history. */
export type Generation = string;

/** A source's term. Ordered by `number`; two epochs of one number that differ in owner or random are two owners (M9). */
export interface Epoch {
  number: number;
  owner: NodeName;
  random: string;
}

export type FailoverMode = 'auto' | 'off' | 'confirm';
/** What a node does when it has asked whether to take over and nobody has answered. */
export type ConfirmDefault = 'go' | 'stay';
export type ArbiterKind = 'none' | 'majority';

export interface NodeDefinition {
  /** Lower goes first. */
  priority: number;
  /** Path of the local leg on that node; empty for a foreign target. */
  leg: string;
  mode: 'sync' | 'async';
  /** NBD URI of a foreign target (any NBD server): never a candidate, never required. */
  foreignUri?: string;
}

/** What all nodes of a mirror agree on; definition.ts says whose holds between nodes of one create id. */
export interface MirrorDefinition {
  tag: string;
  /** 16 hex digits made at creation. */
  createId: string;
  revision: number;
  sizeBytes: number;
  regionSizeBytes: number;
  /** What clients write are multiples of it, and no leg has larger ones; fixed at creation. Absent: 512. */
  sectorSizeBytes?: number;
  /** At most eight, the source among them. */
  nodes: Record<NodeName, NodeDefinition>;
  failureTimeoutMs: number;
  failover: FailoverMode;
  /** Failover `confirm`: how long an operator is asked, and what follows without an answer. */
  confirmTimeoutSec: number;
  confirmDefault: ConfirmDefault;
  arbiter: ArbiterKind;
  /** LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: seconds; 0 do not wait, -1 without end. */
  waitForPreviousSourceSec: number;
  /** Go in service on silence although the source stopped on purpose. */
  takeoverAfterCleanStop: boolean;
}

/** "S has not merged P's marks for these nodes yet": ended only by a durable merge or a full resync of each. */
export interface MergePending {
  from: NodeName;
  for: NodeName[];
}

/**
 * A switchover: the source of this epoch has ended it, and only `to` may go on from here. Durable on `from` before `to` hears
 * of it, and on `to` before it acts on it. It is taken back only by an epoch that `to` has accepted.
 */
export interface Grant {
  epoch: Epoch;
  from: NodeName;
  to: NodeName;
  /** Nodes whose legs were proven to hold the same data, durably, after the last write of that epoch. */
  synced: NodeName[];
  /** Targets that an operator has paused: they stay so. */
  paused: NodeName[];
}

/** Why a checkpoint is void; see checkpoints.ts. */
export const CHECKPOINT_RULES = [
  'bitmap-damaged',
  'map-missing',
  'leg-behind',
  'was-target',
  'term-missing',
  'another-served',
  'another-may-have-served',
] as const;
export type CheckpointRule = (typeof CHECKPOINT_RULES)[number];

/** A named map of what was written to the device since it was made; it belongs to the terms of the node that made it. */
export interface Checkpoint {
  name: string;
  /** Milliseconds since 1970, for people. */
  madeAt: number;
  /** The last epoch of this node in which it was kept. */
  epoch: Epoch;
  void: { rule: CheckpointRule; why: string } | null;
}

/** Durable state of one mirror on one node. A damaged or missing record means out of service (M13). */
export interface StateRecord {
  definition: MirrorDefinition;
  /** This node's own name: a record carried to another node by mistake is refused. */
  node: NodeName;
  /** False until the first resync or write: `blank` in compare. */
  hadData: boolean;
  generation: Generation;
  /** Offered and neither committed nor withdrawn, oldest first. `served`: a write was answered under it. */
  offered: { generation: Generation; served: boolean }[];
  /** Earlier generations, newest first, bounded. */
  history: Generation[];
  /** The generation an absent peer has, for which this node keeps marks ("kept-bitmap"). */
  absentPeers: Record<NodeName, Generation>;
  /** Peers for which this node's marks are a complete account: kept since both were in sync, or merged. */
  accountComplete: NodeName[];
  /** P forgets only towards S: this node's marks were handed over to that node; anybody else treats them as incomplete. */
  accountGivenTo: NodeName | null;
  /** In-sync set as this node last knew it, itself included while it belongs to it. */
  inSync: NodeName[];
  /** Members dropped by silence alone, without having confirmed that they are out: still required. */
  droppedUnconfirmed: NodeName[];
  epochSeen: Epoch | null;
  epochServed: Epoch | null;
  /** The last epoch this node served, or was in sync in. */
  epochInSync: Epoch | null;
  /** The last epoch in which a source opened a session on this node: durable before the first byte of it. Absent in records of earlier versions. */
  sessionIn?: Epoch | null;
  /**
   * Epochs (by their `random`, newest first, bounded) that this node's marks know of: it served them, was in sync in them, or has merged the
   * marks of a node that was. Of what was copied to somebody in another epoch they say nothing. Absent in records of earlier versions.
   */
  terms?: string[] | undefined;
  /** A claim that was begun and neither served nor given up. */
  claim: Epoch | null;
  /** Last session: as what, and whether it was stopped cleanly. `role` source/target with clean=false while running. */
  session: { role: 'none' | 'source' | 'target'; clean: boolean };
  /** Boot of the machine in which that session began; absent in records of earlier versions. */
  sessionBoot?: string;
  /** Boot in which a leg of this node, perhaps this one, was left in doubt by a mirror that was forgotten since (M3). */
  legInDoubt?: string;
  /** A resync onto this node was begun and not finished (M7). */
  resyncingFrom: { node: NodeName; kind: 'partial' | 'full'; generation: Generation } | null;
  /** Written down before it was confirmed to the source. */
  toldOut: { by: NodeName; epoch: Epoch; why: string } | null;
  /**
   * A source asked this node, which has no part in it, to know of a generation that it was about to commit: a member that left in silence
   * does not (M2). Absent in records of earlier versions.
   */
  witnessed?: { epoch: Epoch; generation: Generation };
  /** Own leg failed while a target went on: not the newest, whatever the flags say. */
  legBehind: { since: Epoch; newest: NodeName } | null;
  mergePending: MergePending[];
  /** Of a switchover: given by this node, or to it. */
  grant: Grant | null;
  /** The source stopped on purpose and said so: no takeover on silence. */
  stoppedOnPurpose: boolean;
  /** Targets that an operator paused, on the source; on its targets, so that whoever takes over knows. */
  paused: NodeName[];
  /** The leg was made of zeroes (or the operator gave his word for it) and never held data. */
  legZeroed: boolean;
  /** An operator took the mirror out of service here: this node does nothing by itself until a command says so. */
  keepOut: boolean;
  /** Targets that an operator's word calls seeded: their first copy covers only what is marked, as long as the account is complete. */
  seeded?: NodeName[];
  /** Targets that an operator has ordered to be copied to in full, on the source, until that is done. */
  fullOrdered?: NodeName[];
  /** Of nodes in `fullOrdered` that a rule refused, as he was shown: the last epoch that it was part of then. What came since is not given up. */
  orderedOver?: Record<NodeName, Epoch | null>;
  /** An epoch that an operator forced while its arbiter gave no word: in it nobody is asked until most nodes are heard again. */
  overruled?: Epoch | null;
  /** Checkpoints that were made on this node, void ones included; absent: none. */
  checkpoints?: Checkpoint[];
  /** NetRAID itself set TAG_data_corrupt. Gone while this is true: an operator deleted it by hand, and `in-service` then equals `force`. */
  dataCorruptSet?: boolean;
}

export interface Flags {
  lastOwner: boolean;
  /** Content of TAG_source, null when absent. */
  source: NodeName | null;
  dataCorrupt: boolean;
}

export type NodeState = 'Source' | 'Target' | 'Resyncing' | 'Paused' | 'Out of Sync' | 'Inconsistent' | 'Waiting' | 'Data Corrupt' | 'Split Brain';

export type PeerState =
  | 'Target'
  | 'Resyncing'
  | 'Paused'
  | 'Out of Sync'
  | 'Out of Sync (Wait for Previous Source)'
  | 'Out of Sync (Previous Source)'
  | 'Refused'
  | 'Unknown'
  | 'Split Brain';

/** What a node says of itself about one mirror: its record and flags, and what only the running daemon knows. */
export interface NodeView {
  node: NodeName;
  record: StateRecord;
  flags: Flags;
  state: NodeState;
  /** Serving the device now. */
  inService: boolean;
  /** The bitmap file could not be trusted at start: its marks mean nothing, a full resync follows. */
  bitmapDamaged: boolean;
  /**
   * A sync of the leg has failed, or may have in a life that ended uncleanly: no block of it may be taken as equal until all
   * that was written since its last good sync has been rewritten (M3).
   */
  legDoubtful: boolean;
  /** Bytes under intent marks, and marked out of sync for each peer. */
  intentBytes: number;
  outOfSyncBytes: Record<NodeName, number>;
  /** Changes with each daemon start. */
  daemonStart: string;
  /** When it said so, ms on its own monotonic clock; absent: an older version does not say. */
  saidAtMs?: number;
  /**
   * Has heard from its source since its own start, has not itself been stalled for failureTimeout since, and the source was not alive for
   * failureTimeout after the last of its heartbeats that could be read.
   */
  contactWithSource: boolean;
  /** Milliseconds since each other node was last heard on any path; absent: never since start. */
  silentForMs: Record<NodeName, number>;
}

/** Rows of `compare`; README.md says of each what it means. */
export const compareRules = [
  'blank',
  'unrelated',
  'inconsistent',
  'split-brain',
  'merge-pending',
  'serving',
  'clean',
  'served-later',
  'crashed-source',
  'crashed-target',
  'both-targets',
  'kept-bitmap',
  'history',
] as const;
export type CompareRule = (typeof compareRules)[number];

export interface CompareAnswer {
  rule: CompareRule;
  /** Origin and target of the copy; null when there is none (kind none, refuse, or both wait). */
  direction: { from: NodeName; to: NodeName } | null;
  kind: 'none' | 'partial' | 'full' | 'wait' | 'refuse';
  /** wait: for whom, and what follows when the wait ends. */
  waitFor?: NodeName;
  /** Which marks a partial resync covers, each the named node's map; for the union to be taken by the origin. */
  marks?: ({ of: NodeName; map: 'intent' } | { of: NodeName; map: 'out-of-sync'; for: NodeName })[];
  why: string;
}

/** Rows of `decide`; README.md says of each what it means. */
export const decideRules = [
  'split-brain',
  'superseded',
  'cut-short',
  'told-out',
  'leg-behind',
  'stopped-on-purpose',
  'takeover',
  'better-candidate',
  'target-alone',
  'source-alone',
  'source-alone-agreed',
  'evidence',
  'no-quorum',
  'forced',
] as const;
export type DecideRule = (typeof decideRules)[number];

/** What an operator is asked before a failover. */
export interface Asked {
  /** Names the situation: what was asked in another one is no answer to this. */
  about: string;
  /** The source that is lost, whose return settles it; null: none. */
  lost: NodeName | null;
  /** Until the default is taken; null: it was answered, or the default was taken. */
  leftMs: number | null;
  then: ConfirmDefault;
}

/** What has come of the question. */
export interface Confirm {
  about: string;
  askedForMs: number;
  word: 'yes' | 'no' | null;
}

/** Everything `decide` may look at. */
export interface Facts {
  self: NodeView;
  /**
   * What each other node last said of itself, and for how long it has been silent, on this node's monotonic clock; absent: it has said nothing
   * since start. `saidForMs`: since it said so. A hello breaks a silence and says nothing: what was said before it may no longer hold.
   */
  peers: Record<NodeName, { view: NodeView; silentForMs: number; saidForMs?: number }>;
  /** failureTimeout, ms: silence from which a node counts as lost. */
  failureTimeoutMs: number;
  /** Milliseconds since this daemon started (a node that has just started has heard nobody yet). */
  upForMs: number;
  /** Operator's word that is being carried out now. */
  command:
    | { kind: 'none' }
    | { kind: 'in-service'; withoutLastOwner?: boolean; confirmed?: readonly Confirmable[] }
    | { kind: 'force'; withoutLastOwner: boolean; confirmed?: readonly Confirmable[] };
  /** The arbiter's word (see `Arbiter`): whether a majority has voted durably for this node's claim; null: not asked yet, or nobody is asked. */
  majority: boolean | null;
  /** The next step of a claim decides again: rows that only begin a claim are read as "go on". */
  claiming: boolean;
  /** The question before a failover; absent: nothing has been asked. */
  confirm?: Confirm | undefined;
}

/** What an operator is asked before a command is carried out: `force` goes against the evidence, `no-majority` without the arbiter's word. */
export type Confirmable = 'force' | 'no-majority';

export interface Decision {
  action: 'go-in-service' | 'stay-in-service' | 'stay-out' | 'wait' | 'demote' | 'suspend' | 'refuse';
  rule: DecideRule;
  why: string;
  setFlags?: Partial<{ lastOwner: boolean; dataCorrupt: boolean }>;
  /** Heard to have been served: written down, so that its owner is asked for also by a node that has forgotten what it heard. */
  epochSeen?: Epoch;
  /** What would change the answer, for `netraid explain`. */
  changesIf?: string[];
  /** Failover `confirm`: what an operator may answer now. */
  asks?: Asked;
  /** Refused for want of a yes to these, and for nothing else. */
  unconfirmed?: Confirmable[];
}
