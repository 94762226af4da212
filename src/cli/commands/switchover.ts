/** `switchover`: the source moves to another node. `resolve`: the end of a split brain. */
import { nodePaths } from '../../failover/paths.ts';
import { confirm, say, showPreview } from '../confirm.ts';
import { ExitCode, RefusedError } from '../exit.ts';
import { answer, waitInSync, waitOf } from '../output.ts';
import type { CommandContext } from '../world.ts';

export async function switchover(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const node = ctx.args.node('NODE');
  await showPreview(ctx, { tag, action: 'switchover', nodes: [node], source: null });
  const takeAway = await attachedHere(ctx, tag);
  await confirm(ctx, `Move the source of ${tag} to ${node}?`);
  await takeAway?.();
  const done = await ctx.client.call('switchover', { tag, node });
  answer(ctx, done, [`${tag} is in service on ${done.to}; ${done.from} is a target now`]);
  return ExitCode.OK;
}

/** What takes the block device of the source away, when there is one and this is the source. Throws RefusedError without `--detach`. */
async function attachedHere(ctx: CommandContext, tag: string): Promise<(() => Promise<void>) | undefined> {
  if (ctx.devices === null || !(await ctx.client.call('status', { tag })).inService) return undefined;
  const devices = await ctx.devices();
  const runDir = nodePaths(ctx.place.root).run;
  const known = (await devices.status({ runDir })).find((a) => a.tag === tag);
  if (known === undefined) return undefined;
  const where = known.mountPoints.length === 0 ? '' : `, mounted on ${known.mountPoints.join(', ')}`;
  const what = `${tag} is attached here as ${known.devices.join(', ') || 'a device that is gone'}${where}`;
  if (!ctx.args.flag('detach')) throw new RefusedError(`${what}: end what uses it and add --detach, or say netraid umount ${tag} --detach first`);
  say(ctx, [`${what}: it is unmounted and detached first`]);
  return async () => {
    // The newest first: it may lie upon an older one.
    for (const dir of [...known.mountPoints].reverse()) await devices.unmount({ dir });
    const { forced } = await devices.detach({ runDir, tag });
    say(ctx, [`${tag} is detached`, ...forced.map((f) => `by force: ${f}`)]);
  };
}

export async function resolve(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const victim = ctx.args.node('victim');
  const waitMs = waitOf(ctx);
  const p = await showPreview(ctx, { tag, action: 'resolve', nodes: [victim], source: null });
  await confirm(ctx, `Give up the data that ${victim} has of ${tag}?`);
  const done = await ctx.client.call('resolve', { tag, victim, kept: p.by });
  if (waitMs !== undefined) {
    const s = await ctx.client.call('status', { tag });
    if (!s.inService) throw new RefusedError(`a full resync of ${victim} is ordered on ${done.kept}; --wait follows it only there`);
    await waitInSync(ctx, s, [victim], waitMs);
  }
  answer(ctx, done, [`${tag}: the data of ${done.kept} is kept; ${victim} is resynced from it, fully`]);
  return ExitCode.OK;
}
