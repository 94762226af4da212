/** Going in and out of service by hand. */
import type { Confirmable } from '../../failover/types.ts';
import { confirm, requireWordWithoutLastOwner, showPreview, untilConfirmed } from '../confirm.ts';
import { ExitCode } from '../exit.ts';
import { answer } from '../output.ts';
import type { CommandContext } from '../world.ts';

/** It may come to be a force after it was asked what it would be. */
export async function inService(ctx: CommandContext): Promise<number> {
  return await untilConfirmed(() => onceInService(ctx));
}

async function onceInService(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  // Where it equals a force (data_corrupt was deleted by hand), it has the same warnings and questions.
  const { decision } = await ctx.client.call('explain', { tag, whatIf: 'in-service' });
  let confirmed: Confirmable[] = [];
  if (decision.rule === 'forced') {
    const p = await showPreview(ctx, { tag, action: 'in-service', nodes: [], source: null });
    requireWordWithoutLastOwner(ctx, p);
    await confirm(ctx, `Go in service with ${tag} on the data of this node?`);
    confirmed = p.confirms;
  }
  const s = await ctx.client.call('in-service', {
    tag,
    ...(ctx.args.flag('without-last-owner') ? { withoutLastOwner: true } : {}),
    // The daemon refuses what has come to be a force since it was asked what this would be.
    ...(confirmed.length > 0 ? { confirmed } : {}),
  });
  const where = s.export === null ? '' : `; NBD clients connect to ${s.export.name} on ${s.export.socketPath}`;
  answer(ctx, s, [`${tag} is in service on ${s.node}${where}`]);
  return ExitCode.OK;
}

export async function confirmFailover(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const go = !ctx.args.flag('no');
  const s = await ctx.client.call('confirm', { tag, go });
  answer(ctx, s, [go ? `${tag} is in service on ${s.node}` : `${tag} stays out of service on ${s.node}`]);
  return ExitCode.OK;
}

export async function outOfService(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const s = await ctx.client.call('out-of-service', { tag });
  const how = s.clean ? '' : ', not cleanly: a disk did not answer in time, or failed, and what comes next is as after a crash';
  answer(ctx, s, [`${tag} is out of service on ${s.node}${how}`]);
  return ExitCode.OK;
}
