/** Ends a split brain on an operator's word: the node in service keeps its data, and all of the victim's is overwritten. */
import { ClusterError } from '../cluster/errors.ts';
import type { NodeContext } from './context.ts';
import type { FlagFiles } from './flags.ts';
import { lookAfresh } from './fresh-views.ts';
import { termOf } from './account.ts';
import { fullResyncOrdered } from './membership.ts';
import { decideResolve } from './decide-resolve.ts';
import { refusedLastCopy } from './retire.ts';
import type { SourceRole } from './source.ts';
import type { TargetLink } from './target-link.ts';
import type { Epoch, NodeName } from './types.ts';

/** What an operator asked of the node in service, and what it answers: a preview's lines, or that it is done. */
export interface OperatorAnswer {
  lines: string[];
  refused: string | null;
  bytesOverwritten: number;
}

interface Asked extends NodeContext {
  readonly source: SourceRole | undefined;
  readonly flags: FlagFiles;
  others(): NodeName[];
  /** No role changes until `f` is done. */
  whileRoleStays<T>(f: () => Promise<T>): Promise<T>;
}

/**
 * An operator's word: these targets are copied to in full, whatever the rules say, paused or waiting for somebody or not. Once this
 * has resolved it stands in the record, and outlives this daemon. `over`: of those that a rule refuses, and that he was shown so, the last
 * epoch that each was part of by then. What is known only later, or happens while the word is written down, it is not about (M10).
 */
export async function orderFullResync(s: SourceRole, links: readonly TargetLink[], over: ReadonlyMap<NodeName, Epoch | null>): Promise<void> {
  const refuseStopped = (): void => {
    if (s.stopped) throw new ClusterError('refused', `${s.ctx.tag} is no longer in service here`);
  };
  refuseStopped();
  const last = refusedLastCopy(
    s,
    links.map((l) => l.node),
  );
  if (last !== null) throw new ClusterError('refused', last);
  // A session that is about to join must not pass for the one that was ordered.
  endSessions(s, links);
  for (const l of links) s.marks.markAllOutOfSync(l.node);
  if (!(await s.marks.durable())) throw new ClusterError('io', 'the bitmap file can not be written');
  await s.ctx.store.update((r) =>
    fullResyncOrdered(
      r,
      links.map((l) => l.node),
      (n) => over.get(n),
    ),
  );
  refuseStopped();
  for (const l of links) {
    s.waitEndedFor.add(l.node);
    s.resyncReleased.add(l.node);
  }
  // Nor one that has begun meanwhile.
  endSessions(s, links);
  for (const l of links) l.connectNow();
  s.changed();
}

function endSessions(s: SourceRole, links: readonly TargetLink[]): void {
  for (const l of links) if (l.leg.inSession) s.device.targetFailed(l.leg, 'a full resync was ordered', false);
}

export async function answerResolve(n: Asked, p: { victim: NodeName; preview: boolean }): Promise<OperatorAnswer> {
  const view = (await lookAfresh(n)).get(p.victim);
  const d = decideResolve(n.view(), p.victim, view);
  const { sizeBytes } = n.record().definition;
  const link = n.source?.links.get(p.victim);
  const refused = d.action === 'refuse' ? d.why : link === undefined ? `${n.env.self} is not in service` : null;
  const { source } = n;
  if (refused !== null || view === undefined || link === undefined || source === undefined) {
    if (!p.preview) throw new ClusterError('refused', refused ?? d.why);
    return { lines: d.evidence, refused, bytesOverwritten: 0 };
  }
  const lines = [
    ...d.evidence,
    `split brain: ${d.why}`,
    `${n.env.self} -> ${p.victim}: all ${String(sizeBytes)} bytes on ${p.victim} are overwritten with those of ${n.env.self}; what ${p.victim} wrote apart is lost`,
  ];
  if (p.preview) return { lines, refused: null, bytesOverwritten: sizeBytes };
  await n.whileRoleStays(() => orderFullResync(source, [link], new Map([[p.victim, termOf(view.record)]])));
  n.env.emit(n.tag, 'config', `the split brain is resolved by an operator: the data of ${p.victim} is given up`, { node: p.victim });
  return { lines, refused: null, bytesOverwritten: sizeBytes };
}
