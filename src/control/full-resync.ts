/** A full resync as an operator orders it: what it would overwrite against a rule is done only as he was shown it, and said yes to (M10). */
import { findFullResync } from '../failover/decide-full-resync.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { TargetLink } from '../failover/target-link.ts';
import type { Epoch, NodeName, NodeView } from '../failover/types.ts';
import { ControlError } from './types.ts';

/** What that node said last, if it is heard: one that may serve unheard is not judged by what it was. */
export function heardView(m: MirrorNode, node: NodeName): NodeView | undefined {
  return m.silentForMs(node) < m.record().definition.failureTimeoutMs ? m.peerView(node) : undefined;
}

/** What is given up on which node. Throws ControlError `unconfirmed` when a rule refuses one now, and he has not said yes to that. */
export function confirmedOver(m: MirrorNode, links: readonly TargetLink[], confirmed: readonly string[]): Map<NodeName, Epoch | null> {
  const found = links.flatMap((l) => {
    const { overrules } = findFullResync(m.view(), l.node, heardView(m, l.node));
    return overrules === null ? [] : [{ ...overrules, node: l.node }];
  });
  const missing = found.filter((f) => !confirmed.includes(f.word));
  if (missing.length > 0) {
    const what = missing.map((f) => f.why).join('; and ');
    throw new ControlError(
      'unconfirmed',
      `no full resync of ${m.tag} is ordered: what is found now was not confirmed: ${what}; give the command again`,
    );
  }
  return new Map(found.map((f) => [f.node, f.over]));
}
