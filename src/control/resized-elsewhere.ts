/** A mirror that was resized out of service is served with its new size, or not at all: the other nodes have the old one until then. */
import { ClusterError } from '../cluster/errors.ts';
import { sameMirror } from '../failover/account.ts';
import type { MirrorNode } from '../failover/node.ts';
import { ControlError } from './types.ts';
import { formatSize } from './units.ts';

/** Rejects with ControlError when a node that can be reached has resized the mirror since. */
export async function refuseOldSize(m: MirrorNode): Promise<void> {
  const { cluster } = m.env;
  const ours = m.record().definition;
  for (const n of m.others().filter((x) => cluster.connected(x))) {
    try {
      const view = await m.askView(n, ours.failureTimeoutMs);
      const theirs = view?.record.definition;
      if (view === null || theirs === undefined || !sameMirror(view.record, m.record()) || theirs.revision <= ours.revision) continue;
      if (theirs.sizeBytes === ours.sizeBytes) continue;
      throw new ControlError(
        'refused',
        `${m.tag} has ${formatSize(theirs.sizeBytes)} on ${n}, where it was resized, and ${formatSize(ours.sizeBytes)} here: take it in service on ${n} first`,
      );
    } catch (e: unknown) {
      // Whoever does not answer is judged by its silence.
      if (!(e instanceof ClusterError)) throw e;
    }
  }
}
