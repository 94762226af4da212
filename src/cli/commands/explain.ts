/** `netraid explain`: what this node knows, what it decides from that, by which rule, and what would change it. */
import type { CompareAnswer, NodeView } from '../../failover/types.ts';
import { ExitCode, oneLine, UsageError } from '../exit.ts';
import { formatSize } from '../../control/units.ts';
import { answer } from '../output.ts';
import { askedLines, plainTable } from '../render.ts';
import type { CommandContext } from '../world.ts';

export async function explain(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const whatIf = ctx.args.optional('what-if') ?? null;
  if (whatIf?.trim() === '') throw new UsageError('--what-if is empty; allowed: "NODE lost", "NODE back", "in-service", "force"');
  const e = await ctx.client.call('explain', { tag, whatIf });
  const { decision } = e;
  const rows = [e.facts, ...Object.values(e.peers)].map(viewRow);
  answer(ctx, e, [
    `${tag} on ${e.facts.node}${whatIf === null ? '' : `, if ${oneLine(whatIf)}`}: ${decision.action}`,
    `  Rule: ${decision.rule}`,
    `  Why: ${oneLine(decision.why)}`,
    ...askedLines(tag, decision.asks).map((l) => `  ${l}`),
    ...(decision.changesIf ?? []).map((c) => `  Changes If: ${oneLine(c)}`),
    'Facts:',
    ...plainTable(['NODE', 'STATE', 'GENERATION', 'EPOCH SERVED', 'FLAGS', 'MARKED'], rows).map((l) => `  ${l}`),
    ...(e.compares.length === 0 ? [] : ['Compare:']),
    ...e.compares.map((c) => `  ${compareLine(c)}`),
  ]);
  return ExitCode.OK;
}

function viewRow(v: NodeView): string[] {
  const { epochServed, generation } = v.record;
  const marked = v.intentBytes + Object.values(v.outOfSyncBytes).reduce((a, b) => a + b, 0);
  const flags = [
    ...(v.flags.lastOwner ? ['last_owner'] : []),
    ...(v.flags.dataCorrupt ? ['data_corrupt'] : []),
    ...(v.flags.source === null ? [] : [`source ${v.flags.source}`]),
  ];
  return [
    v.node,
    v.inService ? `${v.state}, in service` : v.state,
    generation,
    epochServed === null ? 'none' : `${String(epochServed.number)} of ${epochServed.owner}`,
    flags.length === 0 ? 'none' : flags.join(', '),
    formatSize(marked),
  ];
}

function compareLine(c: CompareAnswer): string {
  const direction = c.direction === null ? '' : ` ${c.direction.from} -> ${c.direction.to}`;
  const wait = c.waitFor === undefined ? '' : `, waits for ${c.waitFor}`;
  return `${c.rule}: ${c.kind}${direction}${wait}: ${oneLine(c.why)}`;
}
