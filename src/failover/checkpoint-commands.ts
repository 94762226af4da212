/** Makes and deletes checkpoints; to be called while no role changes. */
import { checkpointMap } from '../bitmap/map-names.ts';
import { ClusterError } from '../cluster/errors.ts';
import { withCheckpoint, withoutCheckpoint } from './checkpoints.ts';
import { CHECKPOINTS_MAX } from './limits.ts';
import type { NodeContext } from './context.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { SourceRole } from './source.ts';

/**
 * From the turn in which its map comes to be, every write is marked in it; what was being written then, or had not been synced, counts as
 * written since. The map is durable before the record says that there is one.
 */
export async function makeCheckpoint(s: SourceRole, name: string): Promise<void> {
  const { ctx, device } = s;
  const known = ctx.record().checkpoints ?? [];
  const twice = known.find((c) => c.name === name);
  if (twice !== undefined) {
    const state = twice.void === null ? '' : ', which is void: delete it first';
    throw new ClusterError('refused', `${ctx.tag} has a checkpoint ${name} already${state}`);
  }
  if (known.length >= CHECKPOINTS_MAX) {
    throw new ClusterError(
      'refused',
      `${ctx.tag} has ${String(known.length)} checkpoints; allowed: at most ${String(CHECKPOINTS_MAX)}, delete one first`,
    );
  }
  const leg = (): void => {
    if (device.local.state !== 'in' || device.local.syncFailed || device.losses.ownLegSettling !== undefined)
      throw new ClusterError('refused', `the local leg of ${ctx.tag} has failed: a checkpoint would not outlive a restart`);
  };
  leg();
  s.marks.addCheckpoint(name);
  try {
    if (!(await s.marks.durable())) throw new ClusterError('io', 'the bitmap file can not be written');
    await ctx.store.update((r) => {
      leg();
      return withCheckpoint(r, { name, madeAt: Math.round(ctx.env.io.clock.wallNow()), epoch: s.epoch, void: null });
    });
  } catch (e: unknown) {
    s.marks.dropCheckpoint(name);
    throw e;
  }
  s.export.contexts.offer(name);
  ctx.env.emit(ctx.tag, 'config', `checkpoint ${name} was made`, { checkpoint: name });
}

/** On any node that has it: the record first, so that nothing is offered of which the map may be gone. */
export async function deleteCheckpoint(
  n: NodeContext & { readonly source: SourceRole | undefined; readonly keeper: BitmapKeeper },
  name: string,
): Promise<void> {
  const known = (n.record().checkpoints ?? []).map((c) => c.name);
  if (!known.includes(name)) {
    throw new ClusterError(
      'refused',
      `${n.tag} has no checkpoint ${name} on ${n.env.self}; there are: ${known.length === 0 ? 'none' : known.join(', ')}`,
    );
  }
  await n.store.update((r) => withoutCheckpoint(r, name));
  const { source } = n;
  if (source === undefined) {
    n.keeper.file?.dropMap(checkpointMap(name));
  } else {
    source.export.contexts.withdraw(name);
    source.marks.dropCheckpoint(name);
    if (!(await source.marks.durable()))
      n.env.log.warn('the map of a deleted checkpoint is still in the bitmap file, which can not be written', { tag: n.tag, name });
  }
  n.env.emit(n.tag, 'config', `checkpoint ${name} was deleted`, { checkpoint: name });
}
