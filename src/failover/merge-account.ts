/**
 * Carries a merge out (merge.ts plans it): the previous source's marks fetched, united, durable here; then, and only then,
 * the fact "merge pending" changes; then the previous source is told whom it has given its account to.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { ClusterError } from '../cluster/errors.ts';
import { fetchMarks } from './fetch-marks.ts';
import { termsOfEarlierVersion, termsUnited } from './membership.ts';
import { planMerge } from './merge.ts';
import type { Marks } from '../mirror/marks.ts';
import type { NodeContext } from './context.ts';
import type { Epoch, NodeName, NodeView } from './types.ts';

export interface MergeOwner {
  readonly ctx: NodeContext;
  readonly marks: Marks;
  readonly epoch: Epoch;
  /** Targets of which the marks were lost with a damaged bitmap file: what is merged is no account of them, though all is marked. */
  readonly damagedFor: ReadonlySet<NodeName>;
  readonly timeoutMs: number;
}

export async function mergeAccount(s: MergeOwner, previous: NodeName, view: NodeView): Promise<void> {
  const { ctx, marks } = s;
  const self = ctx.env.self;
  const plan = planMerge(ctx.view(), view);
  const before = ctx.record().accountComplete;
  const fetched = new Map<string, DirtyBitmap>();
  for (const { into, from } of plan.operations) {
    const map = fetched.get(from.map) ?? (await fetchMarks(s, view, from.map));
    fetched.set(from.map, map);
    marks.addOutOfSync(into.slice('oos:'.length), map);
  }
  if (!(await marks.durable())) throw new Error('the bitmap file can not be written');
  await ctx.store.update((r) => {
    // Planned on the view above; targets that have been resynced fully meanwhile are pending no more.
    const still = (x: string): boolean => r.mergePending.some((m) => m.from === previous && m.for.includes(x));
    const pending = plan.mergePending.map((m) => ({
      from: m.from,
      for: m.for.filter((x) => still(x) || r.mergePending.some((o) => o.from === m.from && o.for.includes(x))),
    }));
    const lost = before.filter((n) => !plan.accountComplete.includes(n));
    const accountComplete = [
      ...new Set([
        ...r.accountComplete.filter((n) => !lost.includes(n)),
        ...plan.accountComplete.filter((n) => !before.includes(n) && !s.damagedFor.has(n)),
      ]),
    ];
    const terms = plan.operations.length === 0 ? r.terms : termsUnited(r.terms, view.record.terms ?? termsOfEarlierVersion(view.record));
    return { ...r, mergePending: pending.filter((m) => m.for.length > 0), accountComplete, terms };
  });
  if (plan.operations.length === 0) {
    const why = `${plan.why}: full resync of ${[previous, ...plan.fullFor].join(', ')}`;
    if (plan.damaged) ctx.env.emit(ctx.tag, 'bitmap-damaged', why, { node: previous });
    else ctx.env.log.warn('the bitmap of the previous source is of no use', { tag: ctx.tag, node: previous, why });
    return;
  }
  try {
    await ctx.env.cluster.request(previous, 'marks.given', { tag: ctx.tag, to: self, epoch: s.epoch }, s.timeoutMs);
  } catch (e: unknown) {
    // It keeps its marks; asked again, it would give them to us again.
    if (!(e instanceof ClusterError)) throw e;
    ctx.env.log.warn('the previous source was not told that its marks are merged', { node: previous, error: e.message });
  }
  ctx.env.log.info('merged the bitmap of the previous source', { tag: ctx.tag, node: previous, why: plan.why });
}
