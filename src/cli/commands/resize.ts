/** `mirror_resize`: grows a mirror, or cuts it, which is asked first. */
import { formatSize } from '../../control/units.ts';
import { confirm, say, showPreview } from '../confirm.ts';
import { ExitCode, UsageError } from '../exit.ts';
import { answer } from '../output.ts';
import type { CommandContext } from '../world.ts';

export async function resize(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const tag = args.tag();
  const sizeBytes = args.size('SIZE');
  const force = args.flag('force');
  if (sizeBytes === undefined) throw new UsageError('SIZE is missing');
  const before = await ctx.client.call('status', { tag });
  if (sizeBytes < before.sizeBytes) {
    say(ctx, [
      `${tag}: ${formatSize(before.sizeBytes)} -> ${formatSize(sizeBytes)}; the last ${formatSize(before.sizeBytes - sizeBytes)} are cut off`,
    ]);
    await showPreview(ctx, { tag, action: 'resize', nodes: [], source: null, resize: { sizeBytes, force } });
    await confirm(ctx, `Cut ${tag} to ${formatSize(sizeBytes)}?`);
  }
  const s = await ctx.client.call('resize', { tag, sizeBytes, force });
  answer(ctx, s, [`${tag} has ${formatSize(s.sizeBytes)}`]);
  return ExitCode.OK;
}
