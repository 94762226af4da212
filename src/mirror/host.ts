/**
 * What the mirror device asks of whoever keeps the state record and talks to the other nodes. The device does no
 * decision about ownership; it stops answering until the host has made things durable.
 */
import type { NodeName } from '../failover/types.ts';

export interface LossReason {
  why: string;
  /** A sync of the target failed: what was written since its last good sync must be rewritten, not skipped as equal (M3). */
  syncFailed: boolean;
  /** The target had been in sync: M2 and the generation apply. */
  wasInSync: boolean;
}

export interface MirrorHost {
  /**
   * A target has left. Its out-of-sync marks are already durable. Resolves when replies may be given without it (M2): it
   * has durably confirmed that it is out, or has been silent on every path for failureTimeout; the record no longer
   * counts it; and, with `newGeneration`, a new generation is committed. A rejection means the device must stop answering.
   */
  targetLost(node: NodeName, reason: LossReason, newGeneration: boolean): Promise<void>;
  /** The first write since a target was lost or the node went in service without one: a new generation is committed. */
  commitGeneration(): Promise<void>;
  /**
   * Own leg failed. True when an in-sync target has durably recorded that this leg is behind (M2); false: answer EIO. `onRead`:
   * targets stay then, also those that were asked.
   */
  localLegLost(why: string, onRead: boolean): Promise<boolean>;
  /** This process stood still for so long that another may have taken over: the device is suspended for 'stalled' until the host has asked around (M9). */
  stalled(): void;
  /** More regions are marked than should ever have to be resynced after a crash: a proof is due now. */
  pressure(): void;
  /** Something that people should see. */
  changed(): void;
}
