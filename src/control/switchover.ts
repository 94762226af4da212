/** `switchover` and `resolve`, typed on any node of the mirror: the one in service carries them out, and says what it would do. */
import { ClusterError } from '../cluster/errors.ts';
import type { MirrorNode } from '../failover/node.ts';
import { validateNodeName } from '../failover/paths.ts';
import { operatorAnswerSchema } from '../failover/protocol.ts';
import { answerResolve, type OperatorAnswer } from '../failover/resolve.ts';
import { answerSwitchover } from '../failover/switchover-preview.ts';
import type { NodeName } from '../failover/types.ts';
import { mayHaveActed } from './action-errors.ts';
import { servingElsewhere } from './elsewhere.ts';
import { GRACE_MS, HOOK_TIMEOUT_MAX_MS } from './hooks.ts';
import { type Actions, ControlError } from './types.ts';

/** In failure timeouts: draining, flushing, stopping and the answer of the new source, each of which has its own limit. */
const WAIT_MAX = 30;
/** A hook for `in-service` that still runs there, and then those for `out-of-service`: each at most so long, however that node is configured. */
const HOOKS_WAIT_MAX_MS = 2 * (HOOK_TIMEOUT_MAX_MS + GRACE_MS);

interface Question {
  method: 'switchover' | 'resolve';
  node: NodeName;
  preview: boolean;
  /** Resolve: whose data was confirmed to be kept. */
  kept?: NodeName | undefined;
}

async function ask(m: MirrorNode, q: Question): Promise<{ by: NodeName; answer: OperatorAnswer }> {
  const { cluster, self } = m.env;
  const node = validateNodeName(q.node);
  const { preview } = q;
  if (m.inService) {
    refuseOther(m, q, self);
    return {
      by: self,
      answer: await (q.method === 'switchover' ? answerSwitchover(m, { to: node, preview }) : answerResolve(m, { victim: node, preview })),
    };
  }
  const by = await servingElsewhere(m);
  if (by === undefined) throw new ControlError('refused', nobodyServes(m, q));
  refuseOther(m, q, by);
  const params = q.method === 'switchover' ? { tag: m.tag, to: node, preview } : { tag: m.tag, victim: node, preview };
  const { failureTimeoutMs } = m.record().definition;
  const timeoutMs = preview ? failureTimeoutMs * 2 : failureTimeoutMs * WAIT_MAX + (q.method === 'switchover' ? HOOKS_WAIT_MAX_MS : 0);
  try {
    return { by, answer: operatorAnswerSchema.parse(await cluster.request(by, q.method, params, timeoutMs)) };
  } catch (e: unknown) {
    if (preview || !(e instanceof ClusterError) || !mayHaveActed(e)) throw e;
    // Whoever starts something on the wrong node, because this looks like a refusal, would do harm.
    throw new ControlError(
      'unreachable',
      `${by}: ${e.message}; it is not known whether the ${q.method} was carried out, and it may still be: look at netraid status ${m.tag} on both nodes`,
    );
  }
}

/** Another node has come in service since the question: its data is not what was to be kept. */
function refuseOther(m: MirrorNode, q: Question, by: NodeName): void {
  if (q.kept === undefined || q.kept === by) return;
  const why = `${by} has ${m.tag} in service now, and it was confirmed that the data of ${q.kept} is kept`;
  throw new ControlError('unconfirmed', `${why}; nothing was changed, say it again`);
}

function nobodyServes(m: MirrorNode, q: Question): string {
  // The old source has ceased, and the new one does not serve yet.
  if (m.switchovers.busy !== null) return m.switchovers.busy;
  const where = `${m.tag} is in service on no node that ${m.env.self} can reach`;
  if (q.method === 'switchover')
    return `${where}; where it was taken out of service, netraid in-service ${m.tag} takes it in service; where its source may live on out of reach, two nodes would write apart: netraid explain ${m.tag}`;
  return `${where}: first take it in service on the node whose data is kept, there with mirror_action ${m.tag} force NODE`;
}

export async function switchover(m: MirrorNode, to: NodeName): Promise<Actions['switchover']['result']> {
  const { by } = await ask(m, { method: 'switchover', node: to, preview: false });
  return { tag: m.tag, from: by, to };
}

export async function resolveSplitBrain(m: MirrorNode, victim: NodeName, kept?: NodeName): Promise<Actions['resolve']['result']> {
  const { by, answer } = await ask(m, { method: 'resolve', node: victim, preview: false, kept });
  return { tag: m.tag, kept: by, victim, bytesOverwritten: answer.bytesOverwritten };
}

export async function previewOfMove(m: MirrorNode, method: Question['method'], node: NodeName | undefined): Promise<Actions['preview']['result']> {
  if (node === undefined) throw new ControlError('bad-request', `preview: nodes: ${method} has one node`);
  const { by, answer } = await ask(m, { method, node, preview: true });
  return { ...answer, lastOwnerHere: m.flags.flags.lastOwner, confirms: [], by };
}
