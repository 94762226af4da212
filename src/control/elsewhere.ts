/** Which other node has the mirror in service. */
import { askHeard } from '../failover/fresh-views.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { NodeName } from '../failover/types.ts';

/** Another node in service, asked now; one that does not answer is not known to be. */
export async function servingElsewhere(m: MirrorNode): Promise<NodeName | undefined> {
  const answers = await askHeard(m);
  return m.others().find((n) => answers.get(n)?.inService === true);
}
