/** Whether a leg that is there can be one of a mirror. */
import { ClusterError } from '../cluster/errors.ts';
import { sectorRefusal, sectorSizeOf } from '../failover/sectors.ts';
import type { MirrorDefinition } from '../failover/types.ts';
import { type Engine, Errno, IoError, type LegInfo } from '../io/types.ts';

export interface LegNeeds {
  tag: string;
  sizeBytes: number;
  /** The mirror's sector size, or the largest that it may get. */
  sectorBytes: number;
}

export function needsOf(d: MirrorDefinition): LegNeeds {
  return { tag: d.tag, sizeBytes: d.sizeBytes, sectorBytes: sectorSizeOf(d) };
}

/** Throws ClusterError when the leg does not have what the mirror needs. */
export function requireFit(path: string, leg: LegInfo, needs: LegNeeds): void {
  if (leg.sizeBytes < needs.sizeBytes) {
    throw new ClusterError('leg-too-small', `${path} has ${String(leg.sizeBytes)} bytes, the mirror needs ${String(needs.sizeBytes)}`);
  }
  const refused = sectorRefusal(`${path} has sectors`, leg.blockSizeBytes, needs.tag, needs.sectorBytes);
  if (refused !== undefined) throw new ClusterError('sector-size', refused);
}

/** Looks at a leg without locking it, since it may be in use; one that is absent would be made, and fits. */
export async function lookAtLeg(engine: Engine, path: string, needs: LegNeeds): Promise<void> {
  let leg: LegInfo;
  try {
    leg = await engine.openLeg(path, { write: false, lock: false });
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) return;
    throw e;
  }
  await engine.closeLeg(leg.leg);
  requireFit(path, leg, needs);
}
