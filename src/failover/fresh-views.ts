/**
 * What is read and asked anew before an operator's command is decided, or shown to him: the flag files here, and how each other
 * node that is heard sees the mirror. Last heartbeats may be of before his previous command, on whichever node he gave it.
 *
 * Also before a node claims an epoch by itself. A claim that one node refuses, since it serves by now, has been accepted by others, and
 * ends that service: so it is not begun on what was true once.
 */
import { ClusterError } from '../cluster/errors.ts';
import type { NodeContext } from './context.ts';
import type { FlagFiles } from './flags.ts';
import { isUnsaid } from './situation.ts';
import type { DecideRule, Facts, NodeName, NodeView } from './types.ts';

/** However long failureTimeout is: an operator waits, and his program for no longer than a minute. */
const ASK_MAX_MS = 5000;

interface Asker extends NodeContext {
  others(): NodeName[];
}

/** All at once, and for failureTimeout or five seconds at most (M14). A node that does not answer keeps its last view, and is judged by its silence. */
export async function askHeard(n: Asker): Promise<Map<NodeName, NodeView>> {
  return await askViews(n, n.others(), true);
}

/** The same, after the flag files, and what is being done to them. Rejects with IoError and StateError, as `FlagFiles.refresh`. */
export async function lookAfresh(n: Asker & { readonly flags: FlagFiles }): Promise<Map<NodeName, NodeView>> {
  await n.own.settled();
  await n.flags.refresh();
  return await askHeard(n);
}

/**
 * Before a node goes in service by itself, which is decided again on the answers. By evidence, all who are heard are asked: it is their records
 * that prove something. By any other rule only those who have said nothing since they were silent, so that no takeover waits for the others.
 */
export async function askBeforeClaim(n: Asker & { facts(command: Facts['command'], claiming: boolean): Facts }, rule: DecideRule): Promise<void> {
  const facts = n.facts({ kind: 'none' }, false);
  const isOld = (node: NodeName): boolean => !Object.hasOwn(facts.peers, node) || isUnsaid(facts, node);
  const heard = n.others().filter((node) => n.silentForMs(node) < facts.failureTimeoutMs);
  await askViews(n, rule === 'evidence' ? heard : heard.filter(isOld), true);
}

/** `patient`: of whoever is heard a connection to ask on is waited for: after a cut, the way there may be back later than the way here. */
export async function askViews(ctx: NodeContext, nodes: readonly NodeName[], patient: boolean): Promise<Map<NodeName, NodeView>> {
  const { cluster, io } = ctx.env;
  const { failureTimeoutMs } = ctx.record().definition;
  const most = Math.min(failureTimeoutMs, ASK_MAX_MS);
  const end = io.clock.now() + most;
  const answers = new Map<NodeName, NodeView>();
  const ask = async (node: NodeName): Promise<void> => {
    const waits = patient && ctx.silentForMs(node) < failureTimeoutMs;
    if (!(waits ? await cluster.connectedWithin(node, most) : cluster.connected(node))) return;
    try {
      const view = await ctx.askView(node, Math.max(1, end - io.clock.now()));
      if (view !== null) answers.set(node, view);
    } catch (e: unknown) {
      if (!(e instanceof ClusterError)) throw e;
      ctx.env.log.info('a node did not say how it sees the mirror', { tag: ctx.tag, node, error: e.message });
    }
  };
  await Promise.all(nodes.map(ask));
  return answers;
}
