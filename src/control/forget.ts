/** A mirror is forgotten: its files here, and which of its other nodes have done so, and which could not be told and keep their records. */
import { ClusterError } from '../cluster/errors.ts';
import { FlagFiles } from '../failover/flags.ts';
import type { MirrorNode } from '../failover/node.ts';
import { bitmapPath, statePath } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import { isUnreachable } from './action-errors.ts';

export interface ForgottenElsewhere {
  forgotten: NodeName[];
  /** Also one of which it is not known whether it still heard it. */
  unreached: NodeName[];
}

/** Rejects with ClusterError when a node can be reached and refuses. */
export async function forgetElsewhere(m: MirrorNode): Promise<ForgottenElsewhere> {
  const { cluster } = m.env;
  const { createId, failureTimeoutMs } = m.record().definition;
  const out: ForgottenElsewhere = { forgotten: [], unreached: [] };
  for (const n of m.others()) {
    try {
      // Refused as `unreachable` at once when there is no connection.
      await cluster.request(n, 'forget', { tag: m.tag, createId }, failureTimeoutMs * 2);
      out.forgotten.push(n);
    } catch (e: unknown) {
      if (!(e instanceof ClusterError) || !isUnreachable(e)) throw e;
      out.unreached.push(n);
    }
  }
  return out;
}

/**
 * Flags, bitmap and record of a mirror, durably; those that are gone already are no error. `beforeRecord`: what must be durable once there
 * is none; it finds the room of the others. Rejects with IoError.
 */
export async function removeFiles(files: Files, root: string, tag: string, beforeRecord: () => Promise<void>): Promise<void> {
  await new FlagFiles(files, root, tag).removeAll();
  await removeIfThere(files, bitmapPath(root, tag));
  await beforeRecord();
  await removeIfThere(files, statePath(root, tag));
  await files.syncDirectory(root);
}

async function removeIfThere(files: Files, path: string): Promise<void> {
  try {
    await files.unlink(path);
  } catch (e: unknown) {
    if (!(e instanceof IoError && e.errno === Errno.ENOENT)) throw e;
  }
}
