/** `netraid checkpoint`: named maps of what was written since, for incremental backups. */
import type { CheckpointStatus } from '../../control/types.ts';
import { formatSize } from '../../control/units.ts';
import { validateCheckpointName } from '../../failover/paths.ts';
import { isoSecond } from '../../io/calendar.ts';
import { named } from '../args.ts';
import { ExitCode } from '../exit.ts';
import { answer } from '../output.ts';
import { checkpointText } from '../render.ts';
import type { CommandContext } from '../world.ts';

function nameOf(ctx: CommandContext): string {
  return named('NAME', ctx.args.text('NAME'), validateCheckpointName);
}

/** As the daemon has it, with the time for people. */
function shown(c: CheckpointStatus): Omit<CheckpointStatus, 'madeAt'> & { made: string } {
  const { name, madeAt, ...rest } = c;
  return { name, made: isoSecond(madeAt), ...rest };
}

export async function createCheckpoint(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const c = await ctx.client.call('checkpoint-create', { tag, name: nameOf(ctx) });
  const since = c.dirtyBytes === null || c.dirtyBytes === 0 ? '' : `; ${formatSize(c.dirtyBytes)} were not synced yet, and count as written since`;
  answer(ctx, shown(c), [`${tag}: checkpoint ${c.name} is made${since}`]);
  return ExitCode.OK;
}

export async function listCheckpoints(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const { checkpoints } = await ctx.client.call('status', { tag });
  const lines = checkpoints.map((c) => `${isoSecond(c.madeAt)}  ${checkpointText(c)}`);
  answer(ctx, checkpoints.map(shown), lines.length === 0 ? [`${tag} has no checkpoints on this node`] : lines);
  return ExitCode.OK;
}

export async function deleteCheckpoint(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const done = await ctx.client.call('checkpoint-delete', { tag, name: nameOf(ctx) });
  answer(ctx, done, [`${tag}: checkpoint ${done.deleted} is deleted`]);
  return ExitCode.OK;
}
