/** Which other node has the mirror in service. */
import { ClusterError } from '../cluster/errors.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { NodeName } from '../failover/types.ts';

/** Another node in service, asked now; one that does not answer is not known to be. */
export async function servingElsewhere(m: MirrorNode): Promise<NodeName | undefined> {
  const { cluster, self } = m.env;
  const { nodes, failureTimeoutMs } = m.record().definition;
  for (const n of Object.keys(nodes)) {
    if (n === self || !cluster.connected(n)) continue;
    try {
      if ((await m.askView(n, failureTimeoutMs))?.inService === true) return n;
    } catch (e: unknown) {
      if (!(e instanceof ClusterError)) throw e;
    }
  }
  return undefined;
}
