/** Whether a leg that is there can be one of a mirror. */
import { dirname } from 'node:path';
import { ClusterError } from '../cluster/errors.ts';
import { sectorRefusal, sectorSizeOf } from '../failover/sectors.ts';
import type { MirrorDefinition } from '../failover/types.ts';
import { type Engine, Errno, type Files, IoError, type LegInfo } from '../io/types.ts';

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

/**
 * Makes the file of a leg that is absent, of zeroes; false: there is something already. Durable, its name too, once it resolves (M1: what
 * is answered later must find its file again). Rejects with IoError, and leaves no file then.
 */
export async function makeLegFile(
  files: Pick<Files, 'stat' | 'open' | 'syncDirectory' | 'unlink'>,
  path: string,
  sizeBytes: number,
): Promise<boolean> {
  try {
    await files.stat(path);
    return false;
  } catch (e: unknown) {
    if (!(e instanceof IoError && e.errno === Errno.ENOENT)) throw e;
  }
  const f = await files.open(path, { write: true, create: true, exclusive: true });
  try {
    try {
      await f.truncate(sizeBytes);
      await f.sync();
    } finally {
      await f.close();
    }
    await files.syncDirectory(dirname(path));
  } catch (e: unknown) {
    // Nobody has used any of it.
    await files.unlink(path).catch((left: unknown) => {
      throw new IoError(e instanceof IoError ? e.errno : Errno.EIO, `${String(e)}; and ${path} is left there: ${String(left)}`);
    });
    throw e;
  }
  return true;
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
