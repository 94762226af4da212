/** How short a silence is long enough for some mirror here: by that the daemon has to pace its heartbeats. */
import type { MirrorNode } from '../failover/node.ts';
import type { NodeName } from '../failover/types.ts';

/** ms; of the mirrors that this node shares with `peer`, or (undefined) of all. Infinity: there are none. */
export function shortestTimeout(mirrors: Iterable<Pick<MirrorNode, 'record'>>, peer: NodeName | undefined): number {
  let shortest = Infinity;
  for (const m of mirrors) {
    const { nodes, failureTimeoutMs } = m.record().definition;
    if (peer === undefined || Object.hasOwn(nodes, peer)) shortest = Math.min(shortest, failureTimeoutMs);
  }
  return shortest;
}
