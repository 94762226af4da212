/** The legs of a mirror: what state each is in, and what only that state needs. */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { NodeName } from '../failover/types.ts';
import type { LegInfo } from '../io/types.ts';
import type { AsyncQueue } from './async-queue.ts';
import type { TargetClient } from './target-client.ts';

/** The node's own copy. `out`: it failed while a target went on; nothing is read from it or written to it any more. */
export interface LocalLeg {
  state: 'in' | 'out';
  /** A sync of it failed while no target could go on alone: nothing on it is called durable any more (M3). */
  syncFailed: boolean;
  info: LegInfo;
}

export type TargetMode = 'sync' | 'async';

/**
 * A target's copy, as the source sees it.
 *
 *   out --session opened--> resyncing --no marks left, joined--> in-sync
 *    ^                          |                                   |
 *    +---- host has settled ----+------------- leaving <------------+
 *
 * `leaving` counts as out for everything that marks, and holds replies back until the host has settled the loss (M2).
 */
export type TargetPhase = 'out' | 'resyncing' | 'in-sync' | 'leaving';

export interface ResyncProgress {
  kind: 'partial' | 'full';
  /** Bytes of all regions this resync covers, and of those already copied. */
  totalBytes: number;
  doneBytes: number;
  /** Payload that crossed the wire. */
  sentBytes: number;
  startedAt: number;
  bytesPerSec: number;
}

export class TargetLeg {
  readonly node: NodeName;
  readonly slot: number;
  readonly foreign: boolean;
  readonly mode: TargetMode;
  phase: TargetPhase = 'out';
  client: TargetClient | undefined;
  /** Grows with each session, so that what a late answer belongs to can be told. */
  session = 0;
  queue: AsyncQueue | undefined;
  /** Regions that the running resync has not begun to copy. */
  toCopy: DirtyBitmap | undefined;
  progress: ResyncProgress | undefined;
  /** Equal blocks must not be skipped in the next resync: a sync of the target failed (M3). */
  rewriteAll = false;
  /** It was in sync when it was lost, and has neither confirmed that it is out nor been silent for long enough (M2). */
  unsettled = false;
  whyOut = '';
  /** It left by our own doing, to be connected again at once: no sign that its connection is bad. */
  leftOnPurpose = false;

  constructor(node: NodeName, slot: number, mode: TargetMode, foreign: boolean) {
    this.node = node;
    this.slot = slot;
    this.mode = mode;
    this.foreign = foreign;
  }

  get inSession(): boolean {
    return this.phase === 'resyncing' || this.phase === 'in-sync';
  }
}
