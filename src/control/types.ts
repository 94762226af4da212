/**
 * The daemon's interface for people: what a `ControlClient` may ask, and the shapes that come back. A command of the CLI
 * is a function of a `ControlClient`, so that scenarios run the same commands in the simulated world.
 */
import type { ExportTlsMode, TlsState } from '../io/tls.ts';
import type { Explained } from './explain.ts';
import type { SnapshotView } from '../failover/source-snapshots.ts';
import type { ArbiterKind, Confirmable, ConfirmDefault, Decision, FailoverMode, Flags, NodeName, NodeState, PeerState } from '../failover/types.ts';

/** Progress of something that lasts. */
export interface Progress {
  kind: 'partial' | 'full' | 'verify';
  totalBytes: number;
  doneBytes: number;
  bytesPerSec: number;
  secondsLeft: number | null;
}

export interface TargetStatus {
  node: NodeName;
  state: PeerState;
  /** "(Previous Source)" and the like, why it is out, what it waits for. */
  detail: string;
  mode: 'sync' | 'async';
  foreign: boolean;
  priority: number;
  progress: Progress | null;
  /** Regions marked out of sync for it, and in all. */
  dirtyBytes: number;
  dirtyRegions: number;
  /** What is on its way to an async target. */
  queuedWrites: number;
  queuedBytes: number;
  /** The rule of `compare` that chose kind and direction of its last session. */
  rule: string | null;
  lastResync: ResyncRecord | null;
  /** Whether what is replicated has checksums; null: there was no session yet, or it is foreign. And what did not match since this node became the source. */
  checksums: { on: boolean | null; mismatches: number };
}

/** The last finished resync to a target, as the source recorded it. */
export interface ResyncRecord {
  target: NodeName;
  kind: 'partial' | 'full';
  /** All regions it covered; a full one covers the device. */
  bytes: number;
  /** Payload that crossed the wire. */
  sent: number;
  seconds: number;
}

export interface MirrorStatus {
  tag: string;
  node: NodeName;
  state: NodeState;
  inService: boolean;
  /** Name of the source as this node knows it; null: unknown. */
  source: NodeName | null;
  sizeBytes: number;
  /** What clients write are multiples of it. */
  sectorBytes: number;
  regionBytes: number;
  regions: number;
  leg: string;
  flags: Flags;
  generation: string;
  epoch: { number: number; owner: NodeName } | null;
  /** Rule and reason of the last decision about going in service. */
  decision: Pick<Decision, 'action' | 'rule' | 'why' | 'asks'> | null;
  /** What must be resynced if this node crashed now. */
  intentBytes: number;
  localLeg: 'in' | 'out' | 'closed';
  /** As a target, since the daemon started: what came from sources that did not match its checksum, and was not written. */
  mismatchesReceived: number;
  nodes: Record<NodeName, { priority: number; mode: 'sync' | 'async'; foreign: boolean; reachable: boolean }>;
  /** Only on the node in service. */
  targets: TargetStatus[];
  verify: Progress | null;
  /** Only on the node in service. */
  snapshots: SnapshotView[];
  /** Where NBD clients connect while in service. */
  export: { socketPath: string; name: string } | null;
  failureTimeoutMs: number;
  failover: FailoverMode;
  /** Failover `confirm`: how long an operator is asked, and what follows without an answer. */
  confirm: { timeoutSec: number; default: ConfirmDefault } | null;
  takeoverAfterCleanStop: boolean;
  arbiter: ArbiterKind;
  /** An operator forced it in service without the arbiter's word, and most nodes have not been heard since. */
  arbiterOverruled: boolean;
  /** Seconds that targets wait for the bitmap of a lost source; -1: without end. */
  waitForPreviousSourceSec: number;
  /** Made on this node. */
  checkpoints: CheckpointStatus[];
  /** Not null: it is the source, and answers nothing now, reads included. */
  suspended: Suspended | null;
}

export interface CheckpointStatus {
  name: string;
  /** Milliseconds since 1970. */
  madeAt: number;
  /** `kept`: the mirror is out of service here, and when it goes in service again it is seen whether the checkpoint still holds. */
  state: 'valid' | 'kept' | 'void';
  /** Rule and reason why it is void. */
  void: { rule: string; why: string } | null;
  /** What was written since; null: it is not in service here, or void. */
  dirtyRegions: number | null;
  dirtyBytes: number | null;
  /** Under which the export shows it. */
  context: string | null;
}

export interface Suspended {
  /** `no quorum`, `claim`: another node claims a later epoch, `stalled`: this process stood still, and the others are asked. */
  for: string[];
  sinceMs: number;
  /** Until what waits is answered with errors; 0: everything is now; null: no such time is set. */
  errorsInMs: number | null;
}

/** A mirror whose record can't be used: out of service, with a clear error (M13). */
export interface BrokenMirror {
  tag: string;
  why: string;
  /** Something else is in the way of its state, a full disk for example: another start of the daemon may find it whole. */
  maybeSound: boolean;
}

export type EventKind =
  | 'in-service'
  | 'out-of-service'
  | 'out-of-sync'
  | 'in-sync'
  | 'resync-started'
  | 'resync-done'
  | 'split-brain'
  | 'data-corrupt'
  | 'leg-failed'
  | 'bitmap-damaged'
  | 'checkpoint-void'
  | 'decision'
  | 'verify-done'
  | 'config'
  | 'snapshot-created'
  | 'snapshot-lost'
  | 'snapshot-deleted'
  | 'confirm-failover'
  | 'hook-failed';

export interface ControlEvent {
  /** Milliseconds since 1970. */
  at: number;
  tag: string;
  kind: EventKind;
  message: string;
  fields: Record<string, unknown>;
}

/** A refusal or failure that a person can act on: one line. */
export class ControlError extends Error {
  /** `unconfirmed`: it would do now what was not confirmed; nothing was changed. */
  readonly code: 'bad-request' | 'not-found' | 'refused' | 'unconfirmed' | 'conflict' | 'unreachable' | 'io' | 'internal';
  constructor(code: ControlError['code'], message: string) {
    super(message);
    this.name = 'ControlError';
    this.code = code;
  }
}

/** A connection with another node. */
export interface LinkInfo {
  /** The address dialed, `from` that of one that the peer dialed, or `replication of TAG` for all that carry its data to the peer. */
  path: string;
  /** It is in TLS, and the peer has proved who it is. */
  tls: boolean;
}

/** Every action: parameters and result. Sizes in bytes. `tag` is always the mirror's. */
export interface Actions {
  info: {
    params: Record<string, never>;
    result: {
      node: NodeName;
      cluster: string;
      version: string;
      /** `links`: what is open to and from it. */
      peers: Record<NodeName, { reachable: boolean; links: LinkInfo[] }>;
      mirrors: string[];
      /** Mirrors of this node whose state can't be used, which `list` does not have. */
      broken: BrokenMirror[];
      /** Connections of NBD clients, and to the address for nodes, that since the daemon started were refused something for their address, or for what they have not proved; sessions of sources whose epoch is over. */
      refused: { clients: number; nodes: number; sessions: number };
      /** Null: no connection of this node is secured. `nodes`: beyond loopback, all, or where both ends can; `expires`: when its certificate ends, ISO 8601; `kernel`: it encrypts what goes between nodes, and not Node. */
      tls: ({ nodes: 'off' | 'beyond-loopback' | 'all' | 'allowed'; clients: ExportTlsMode } & TlsState) | null;
    };
  };
  list: { params: Record<string, never>; result: MirrorStatus[] };
  status: { params: { tag: string }; result: MirrorStatus };
  /** Makes a mirror with one leg on this node; `sizeBytes` null: the leg's size. A leg file that is absent is made when a size is given. */
  create: {
    params: {
      tag: string;
      leg: string;
      sizeBytes: number | null;
      regionBytes: number | null;
      /** The smallest unit that clients may write; left out: the sector size of the leg. */
      sectorBytes?: number;
      priority: number;
      failureTimeoutMs: number | null;
      failover: FailoverMode | null;
      /** With failover `confirm`. */
      confirmTimeoutSec?: number;
      confirmDefault?: ConfirmDefault;
      arbiter: 'none' | 'majority' | null;
      waitForPreviousSourceSec: number | null;
      /** A target takes over although its source stopped in order; left out: it waits for the source. */
      takeoverAfterCleanStop?: boolean;
      /** The operator's word that the leg holds no data (new file, zeroed disk). */
      zeroed: boolean;
    };
    result: MirrorStatus;
  };
  /** Adds a target; needs the mirror in service here. `node` and `leg`, or `foreignUri` with `node` as the name it gets. */
  extend: {
    params: { tag: string; node: NodeName; leg: string | null; foreignUri: string | null; mode: 'sync' | 'async'; priority: number; zeroed: boolean };
    result: MirrorStatus;
  };
  unextend: { params: { tag: string; node: NodeName }; result: MirrorStatus };
  /** Replaces the leg of a target (a new disk): full resync. */
  replace: { params: { tag: string; node: NodeName; leg: string }; result: MirrorStatus };
  /** Forgets the mirror on every reachable node; legs keep their data. `unreached`: nodes that keep their records, as far as is known. */
  delete: { params: { tag: string }; result: { forgotten: NodeName[]; unreached: NodeName[] } };
  /** Changes settings of a mirror in service here; what is absent stays as it is. */
  set: { params: { tag: string; failover?: FailoverMode; confirmTimeoutSec?: number; confirmDefault?: ConfirmDefault }; result: MirrorStatus };
  /** The answer when this node asks whether to take over. */
  confirm: { params: { tag: string; go: boolean }; result: MirrorStatus };
  /** `withoutLastOwner`: as with force, where it equals one. `confirmed`: what a preview said is to be confirmed, and was; without, it is no force. */
  'in-service': { params: { tag: string; withoutLastOwner?: boolean; confirmed?: Confirmable[] }; result: MirrorStatus };
  /** `clean`: all that was written is on every leg in session, and the record says so; else what comes next is as after a crash. */
  'out-of-service': { params: { tag: string }; result: MirrorStatus & { clean: boolean } };
  /** Names of targets; empty: all. */
  pause: { params: { tag: string; nodes: NodeName[] }; result: MirrorStatus };
  resume: { params: { tag: string; nodes: NodeName[] }; result: MirrorStatus };
  /** `overrules`: what a preview said goes against a rule, such as a split brain, and was confirmed; nothing else is overwritten against one. */
  fullresync: { params: { tag: string; source: NodeName | null; nodes: NodeName[]; overrules?: string[] }; result: MirrorStatus };
  /** Compares all legs online; what differs is marked, and its target resynced. Starts it; status and events tell how it goes. */
  verify: { params: { tag: string }; result: { started: boolean } };
  'verify-result': {
    params: { tag: string };
    result: {
      running: boolean;
      comparedBytes: number;
      differingBytes: number;
      ranges: { offset: number; length: number; node: NodeName }[];
      /** Targets of which not all was compared; known when it has ended. */
      notCompared: { node: NodeName; bytes: number; why: string }[];
    } | null;
  };
  /** What the mirror holds at a moment, read-only under an export of its own, until it is deleted, lost, or the mirror leaves service. `spaceBytes`: what it may keep; null: a tenth of the mirror. `checkpoint`: one of that name is made, of the same moment. */
  'snapshot-create': { params: { tag: string; name: string; spaceBytes: number | null; checkpoint?: string }; result: SnapshotView };
  'snapshot-list': { params: { tag: string }; result: SnapshotView[] };
  'snapshot-delete': { params: { tag: string; name: string }; result: { deleted: string } };
  resize: { params: { tag: string; sizeBytes: number; force: boolean }; result: MirrorStatus };
  /** A named map of what is written from now on; of the node in service. */
  'checkpoint-create': { params: { tag: string; name: string }; result: CheckpointStatus };
  'checkpoint-delete': { params: { tag: string; name: string }; result: { deleted: string } };
  /** Moves the source to that node; carried out by the node in service, wherever it is asked for. */
  switchover: { params: { tag: string; node: NodeName }; result: { tag: string; from: NodeName; to: NodeName } };
  /** Ends a split brain: the data of the victim is given up for that of the node in service. `kept`: whose data was confirmed to be kept. */
  resolve: {
    params: { tag: string; victim: NodeName; kept?: NodeName };
    result: { tag: string; kept: NodeName; victim: NodeName; bytesOverwritten: number };
  };
  /** `confirmed`: as with in-service; the word force is a yes to itself alone. */
  force: { params: { tag: string; withoutLastOwner: boolean; confirmed?: Confirmable[] }; result: MirrorStatus };
  /** What a destructive command would do, before anybody is asked. */
  preview: {
    params: {
      tag: string;
      action: 'force' | 'fullresync' | 'in-service' | 'delete' | 'unextend' | 'replace' | 'resize' | 'extend' | 'switchover' | 'resolve';
      nodes: NodeName[];
      source: NodeName | null;
      /** Of `resize`: what will be asked for. */
      resize?: { sizeBytes: number; force: boolean };
    };
    result: {
      lines: string[];
      bytesOverwritten: number;
      lastOwnerHere: boolean;
      refused: string | null;
      /** What the lines say that is not done without a yes to it. */
      confirms: Confirmable[];
      /** Of a full resync: the same of each finding that it goes against, as words for `overrules`. */
      overrules?: string[];
      /** The node that will carry it out: its data is what is kept. */
      by: NodeName;
    };
  };
  /** Clears the marks for a target that was seeded by a shipped disk: the operator's recorded word. */
  'clear-bitmap': { params: { tag: string; node: NodeName }; result: { clearedBytes: number } };
  explain: {
    params: { tag: string; whatIf: string | null };
    result: Explained;
  };
}

export type ActionName = keyof Actions;

export interface ControlClient {
  call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']>;
  /** Events from now on, until `stop` of the result is called. `onEnd`: no more will come, because the daemon or the way to it is gone. */
  events(onEvent: (e: ControlEvent) => void, onEnd?: (why: ControlError) => void): Promise<{ stop(): void }>;
}
