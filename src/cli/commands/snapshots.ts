/** `netraid snapshot`: what a mirror held at one moment, for whoever takes a backup. */
import { formatSize, parseSize, SIZE_ALLOWED } from '../../control/units.ts';
import type { MirrorStatus } from '../../control/types.ts';
import { validateCheckpointName, validateSnapshotName } from '../../failover/paths.ts';
import { isoSecond } from '../../io/calendar.ts';
import { named } from '../args.ts';
import { ExitCode, oneLine, UsageError } from '../exit.ts';
import { answer } from '../output.ts';
import { plainTable, snapshotText } from '../render.ts';
import type { CommandContext } from '../world.ts';

const nameOf = (ctx: CommandContext): string => named('NAME', ctx.args.text('NAME'), validateSnapshotName);

/** Bytes, or what share of the mirror. Throws UsageError. */
export function parseSpace(text: string): { bytes: number } | { percent: number } {
  const percent = /^(\d{1,3}(?:\.\d{1,3})?) ?%$/.exec(text)?.[1];
  if (percent !== undefined && Number(percent) > 0 && Number(percent) <= 100) return { percent: Number(percent) };
  const bytes = parseSize(text);
  if (bytes !== undefined && bytes > 0) return { bytes };
  throw new UsageError(`--space ${JSON.stringify(text)} is not allowed; allowed: more than 0% and at most 100%, or ${SIZE_ALLOWED}`);
}

export async function create(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const name = nameOf(ctx);
  const text = ctx.args.optional('space');
  const spaceBytes = text === undefined ? null : await spaceOf(ctx, tag, parseSpace(text));
  const checkpoint =
    ctx.args.optional('checkpoint') === undefined ? undefined : named('checkpoint', ctx.args.text('checkpoint'), validateCheckpointName);
  const s = await ctx.client.call('snapshot-create', { tag, name, spaceBytes, ...(checkpoint === undefined ? {} : { checkpoint }) });
  answer(ctx, s, [
    `${s.export} holds ${formatSize(s.sizeBytes)}, as of ${isoSecond(s.createdAt)}; it may keep ${formatSize(s.spaceBytes)} of what is overwritten`,
  ]);
  return ExitCode.OK;
}

async function spaceOf(ctx: CommandContext, tag: string, space: ReturnType<typeof parseSpace>): Promise<number> {
  if ('bytes' in space) return space.bytes;
  const { sizeBytes }: MirrorStatus = await ctx.client.call('status', { tag });
  return Math.max(1, Math.ceil((sizeBytes * space.percent) / 100));
}

export async function list(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const all = await ctx.client.call('snapshot-list', { tag });
  const rows = all.map((s) => [s.export, isoSecond(s.createdAt), formatSize(s.sizeBytes), snapshotText(s), String(s.clients)]);
  answer(ctx, all, all.length === 0 ? [`${tag} has no snapshots`] : plainTable(['EXPORT', 'AS OF', 'SIZE', 'STATE', 'CLIENTS'], rows).map(oneLine));
  return ExitCode.OK;
}

export async function remove(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const result = await ctx.client.call('snapshot-delete', { tag, name: nameOf(ctx) });
  answer(ctx, result, [`snapshot ${result.deleted} of ${tag} is deleted`]);
  return ExitCode.OK;
}
