/** A target is taken out of a mirror in service, for good. */
import { ClusterError } from '../cluster/errors.ts';
import type { SourceRole } from './source.ts';
import { TargetLink } from './target-link.ts';
import type { NodeName } from './types.ts';

/** Why these targets can not be done without; null: each block that was acknowledged is somewhere else, too (M2). */
export function refusedLastCopy(s: SourceRole, nodes: readonly NodeName[]): string | null {
  const { local, losses } = s.device;
  if (local.state === 'in' && losses.ownLegSettling === undefined) return null;
  const good = [...s.links.values()].filter((l) => l.leg.phase === 'in-sync' && l.leg.mode === 'sync').map((l) => l.node);
  if (!good.some((n) => nodes.includes(n)) || good.some((n) => !nodes.includes(n))) return null;
  const { env, tag } = s.ctx;
  return `the leg of ${env.self} has failed, and nobody but ${good.join(' and ')} has what was written since: take the mirror out of service here first (netraid out-of-service ${tag}), so that ${good[0] ?? ''} goes in service, or bring another node in sync`;
}

/** In failure timeouts: how long it is waited for that writes go on without it (M2). */
const SETTLE_MAX = 3;

/**
 * Its session ends, the loss is settled, its slot is free. `last`: before nothing is marked for it any more. Rejects with ClusterError
 * where the loss can't be settled, and with what `last` rejects with; then the source goes on with the target as before, and resyncs it.
 */
export async function retire(s: SourceRole, link: TargetLink, last: () => Promise<void>): Promise<void> {
  const { leg, node } = link;
  const ended = link.end();
  if (leg.inSession) s.device.targetFailed(leg, 'removed by an operator', false);
  await ended;
  try {
    await s.changes.until(
      () => s.stopped || leg.phase === 'out',
      () => s.ctx.env.io.clock.now(),
      s.timeoutMs * SETTLE_MAX,
    );
    if (leg.phase !== 'out')
      throw new ClusterError('refused', `${node} can't be removed now: ${s.stopped ? 'the source is stopping' : 'its loss is not settled yet'}`);
    await last();
  } catch (e: unknown) {
    // A link that has ended connects nobody any more: the target needs another one (M14).
    const again = new TargetLink(s, node, leg);
    s.links.set(node, again);
    if (!s.stopped) again.start();
    throw e;
  }
  s.device.sessions.remove(node);
  s.links.delete(node);
  s.outs.delete(node);
  s.members.sessionIds.delete(node);
}
