/** `mirror_action`: what is done to a mirror, in the words and order that DataKeeper's users know. */
import type { MirrorStatus } from '../../control/types.ts';
import { mirrorActions } from '../choices.ts';
import { confirm, requireWordWithoutLastOwner, showPreview, untilConfirmed } from '../confirm.ts';
import { ExitCode, RefusedError, UsageError } from '../exit.ts';
import { answer, waitInSync, waitOf } from '../output.ts';
import type { CommandContext } from '../world.ts';

export async function mirrorAction(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const tag = args.tag();
  const action = args.choice('ACTION', mirrorActions);
  const names = args.nodes('NODES');
  if (action === undefined) throw new UsageError(`ACTION is missing; allowed: ${mirrorActions.join(', ')}`);
  if (action !== 'force' && args.flag('without-last-owner'))
    throw new UsageError(`--without-last-owner means nothing with ${action}; allowed: with force`);
  const twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice !== undefined) throw new UsageError(`${twice} is named twice`);
  if (action === 'force') return await force(ctx, tag, names);
  const waitMs = waitOf(ctx);
  if (waitMs !== undefined && action === 'pause') throw new UsageError('--wait means nothing with pause; allowed: with resume and fullresync');
  const before = await ctx.client.call('status', { tag });
  const { source, targets } = whoIsWho(before, names);
  const s =
    action === 'fullresync'
      ? await untilConfirmed(() => fullResync(ctx, before, source, targets))
      : await ctx.client.call(action, { tag, nodes: targets });
  const last = waitMs === undefined ? s : await waitInSync(ctx, s, targets, waitMs);
  const shown = last.targets.filter((t) => targets.length === 0 || targets.includes(t.node));
  answer(ctx, last, [`${tag}: ${said[action]}`, ...shown.map((t) => `${last.node} -> ${t.node}: ${t.state}`)]);
  return ExitCode.OK;
}

async function fullResync(ctx: CommandContext, before: MirrorStatus, source: string | null, targets: string[]): Promise<MirrorStatus> {
  const { tag } = before;
  // Two names mean SOURCE TARGET; taking a wrong source for one more target would overwrite it.
  if (source === null && targets.length > 1 && before.source !== null) {
    throw new RefusedError(`${targets[0] ?? ''} is not the source of ${tag}: ${before.source} is; allowed: fullresync ${before.source} TARGET...`);
  }
  const p = await showPreview(ctx, { tag, action: 'fullresync', nodes: targets, source });
  await confirm(
    ctx,
    `Overwrite ${targets.length === 0 ? 'all targets' : targets.join(', ')} with the data of ${source ?? before.source ?? before.node}?`,
  );
  // As it was shown: with the same source, nobody added since, and against no rule that he was not shown.
  return await ctx.client.call('fullresync', {
    tag,
    source: source ?? before.source ?? before.node,
    nodes: targets.length === 0 ? before.targets.map((t) => t.node) : targets,
    overrules: p.overrules ?? [],
  });
}

const said = { pause: 'paused', resume: 'resumed', fullresync: 'a full resync is ordered' };

/** The first name is the source, if it is the current source; all others are targets. */
function whoIsWho(s: MirrorStatus, names: readonly string[]): { source: string | null; targets: string[] } {
  const [first, ...others] = names;
  const current = s.inService ? s.node : s.source;
  return first !== undefined && first === current ? { source: first, targets: others } : { source: null, targets: [...names] };
}

async function force(ctx: CommandContext, tag: string, names: readonly string[]): Promise<number> {
  const [named, ...others] = names;
  if (others.length > 0) throw new UsageError('force takes one NODE: the one that goes in service, which is this one');
  const info = await ctx.client.call('info', {});
  const node = named ?? info.node;
  if (node !== info.node) throw new UsageError(`force ${node}: this is ${info.node}; run it on ${node}`);
  const p = await showPreview(ctx, { tag, action: 'force', nodes: [], source: null });
  requireWordWithoutLastOwner(ctx, p);
  await confirm(ctx, `Force ${tag} in service on ${node}?`);
  const s = await ctx.client.call('force', { tag, withoutLastOwner: ctx.args.flag('without-last-owner'), confirmed: p.confirms });
  answer(ctx, s, [`${tag} is in service on ${s.node}`]);
  return ExitCode.OK;
}
