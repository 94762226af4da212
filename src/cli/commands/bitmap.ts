/** `bitmap`: what a bitmap file says; with `-c`, the marks for a target that was seeded by a shipped disk are cleared. */
import { basename } from 'node:path';
import { type BitmapReport, inspect } from '../../bitmap/inspect.ts';
import { validateTag } from '../../failover/paths.ts';
import { named } from '../args.ts';
import { confirm, say } from '../confirm.ts';
import { ExitCode, UsageError } from '../exit.ts';
import { answer } from '../output.ts';
import { plainTable } from '../render.ts';
import type { MirrorStatus } from '../../control/types.ts';
import { formatSize } from '../../control/units.ts';
import type { CommandContext } from '../world.ts';

const PREFIX = 'bitmap_';

export async function bitmap(ctx: CommandContext): Promise<number> {
  const file = ctx.args.text('FILE');
  if (ctx.args.flag('clear')) return await clear(ctx, file);
  if (ctx.args.optional('node') !== undefined) throw new UsageError('--node means nothing without -c');
  const report = await inspect(ctx.files, file);
  answer(ctx, report, reportLines(file, report));
  return ExitCode.OK;
}

function reportLines(file: string, r: BitmapReport): string[] {
  const maps = r.maps.map((m) => [
    m.name,
    String(m.dirtyRegions),
    formatSize(m.dirtyBytes),
    `${((100 * m.dirtyRegions) / r.regionCount).toFixed(1)}%`,
  ]);
  return [
    `${file}: version ${String(r.meta.version)}, ${r.clean ? 'closed cleanly' : 'in use, or not closed cleanly'}`,
    `  Device: ${formatSize(r.meta.deviceBytes)}, ${String(r.regionCount)} bits (chunks) of ${formatSize(r.meta.regionBytes)}`,
    `  Create Id: ${r.meta.createId}`,
    `  Generation: ${r.meta.generation}`,
    `  Sectors: ${String(r.baseSectors)} and ${String(r.journalSectors)} in the journal, ${String(r.torn)} torn`,
    ...plainTable(['MAP', 'DIRTY', 'BYTES', 'SHARE'], maps).map((l) => `  ${l}`),
  ];
}

async function clear(ctx: CommandContext, file: string): Promise<number> {
  const name = basename(file);
  if (!name.startsWith(PREFIX))
    throw new UsageError(`FILE ${JSON.stringify(file)} is not allowed; allowed with -c: ${PREFIX}TAG of a mirror of this node`);
  const tag = named('FILE', name.slice(PREFIX.length), validateTag);
  const wished = ctx.args.optional('node') === undefined ? undefined : ctx.args.node('node');
  const s = await ctx.client.call('status', { tag });
  const node = wished ?? onlyTarget(s);
  const target = s.targets.find((t) => t.node === node);
  const marked = target === undefined ? '' : `, now ${formatSize(target.dirtyBytes)} marked`;
  say(ctx, [`${tag}: on your word ${node} holds the same data as ${s.node}${marked}: nothing of it will be resynced`]);
  await confirm(ctx, `Clear the marks of ${tag} for ${node}?`);
  const result = await ctx.client.call('clear-bitmap', { tag, node });
  answer(ctx, result, [`${tag}: marks for ${formatSize(result.clearedBytes)} on ${node} are cleared`]);
  return ExitCode.OK;
}

/** Where there is one target, it is meant. */
function onlyTarget(s: MirrorStatus): string {
  const [one, ...others] = s.targets.map((t) => t.node);
  if (one !== undefined && others.length === 0) return one;
  const known = one === undefined ? '' : `; targets: ${[one, ...others].join(', ')}`;
  throw new UsageError(`--node is missing: the target whose marks are cleared${known}`);
}
