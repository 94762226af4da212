/**
 * The arbiter `majority`, between claims. Hearing most nodes is not enough to go on after they were not heard: meanwhile
 * they may have voted for another. So they are asked, and a vote for a higher epoch counts against us.
 */
import { ClusterError } from '../cluster/errors.ts';
import type { NodeContext } from './context.ts';
import { isHigher } from './epoch.ts';
import type { Epoch, MirrorDefinition, NodeName } from './types.ts';

/** Foreign targets have no vote. */
export function votersOf(definition: MirrorDefinition): NodeName[] {
  return Object.entries(definition.nodes)
    .filter(([, d]) => d.foreignUri === undefined)
    .map(([n]) => n);
}

/** `silentForMs`: of another node; Infinity when it was never heard. */
export function hearsMajority(definition: MirrorDefinition, self: NodeName, silentForMs: (node: NodeName) => number): boolean {
  const voters = votersOf(definition);
  const heard = voters.filter((n) => n === self || silentForMs(n) < definition.failureTimeoutMs).length;
  return heard * 2 > voters.length;
}

/** Asks now whether most nodes, this one among them, know of no epoch above ours. */
export async function majorityStandsBy(ctx: NodeContext, epoch: Epoch): Promise<boolean> {
  const { definition } = ctx.record();
  const voters = votersOf(definition);
  const answers = await Promise.all(voters.filter((n) => n !== ctx.env.self).map((n) => standsBy(ctx, n, epoch)));
  return [true, ...answers].filter((stands) => stands).length * 2 > voters.length;
}

/** Whether most nodes, this one among them, have answered a heartbeat that we sent at `since` or later. */
export function majorityHeardUsSince(ctx: NodeContext, since: number): boolean {
  const voters = votersOf(ctx.record().definition);
  const heard = voters.filter((n) => n === ctx.env.self || ctx.env.cluster.peerHeardUsSince(n, since)).length;
  return heard * 2 > voters.length;
}

/** Those that are not of `knowing` are no majority: whoever is voted for hears one of them that is. */
export function noMajorityWithout(definition: MirrorDefinition, knowing: ReadonlySet<NodeName>): boolean {
  const voters = votersOf(definition);
  return voters.filter((n) => !knowing.has(n)).length * 2 <= voters.length;
}

async function standsBy(ctx: NodeContext, node: NodeName, epoch: Epoch): Promise<boolean> {
  if (!ctx.env.cluster.connected(node)) return false;
  try {
    const view = await ctx.askView(node, ctx.record().definition.failureTimeoutMs);
    return view !== null && !isHigher(view.record.epochSeen, epoch) && !isHigher(view.record.claim, epoch);
  } catch (e: unknown) {
    if (e instanceof ClusterError) return false;
    throw e;
  }
}
