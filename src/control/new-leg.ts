/** A new leg for a target is looked at before the old one is given up: a refusal then leaves everything as it was. */
import { ClusterCode, ClusterError } from '../cluster/errors.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { NodeName } from '../failover/types.ts';

/** Rejects with ClusterError when that node says that the leg can not be one of the mirror. */
export async function checkNewLeg(m: MirrorNode, node: NodeName, leg: string): Promise<void> {
  const { definition } = m.record();
  try {
    await m.env.cluster.request(node, 'leg.check', { tag: m.tag, leg, definition }, definition.failureTimeoutMs * 2);
  } catch (e: unknown) {
    // An older node can not be asked; it looks at the leg when it takes it.
    if (!(e instanceof ClusterError && e.code === ClusterCode.NO_METHOD)) throw e;
  }
}
