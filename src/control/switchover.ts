/** `switchover`, typed on any node of the mirror: the one in service carries it out, and says what it would do. */
import { validateNodeName } from '../failover/paths.ts';
import type { MirrorNode } from '../failover/node.ts';
import { switchoverAnswerSchema } from '../failover/protocol.ts';
import { answerSwitchover, type SwitchoverAnswer } from '../failover/switchover-preview.ts';
import type { NodeName } from '../failover/types.ts';
import { servingElsewhere } from './elsewhere.ts';
import { type Actions, ControlError } from './types.ts';

/** In failure timeouts: draining, flushing, stopping and the answer of the new source, each of which has its own limit. */
const WAIT_MAX = 30;

async function ask(m: MirrorNode, to: NodeName, preview: boolean): Promise<{ from: NodeName; answer: SwitchoverAnswer }> {
  validateNodeName(to);
  const { cluster, self } = m.env;
  if (m.inService) return { from: self, answer: await answerSwitchover(m, { to, preview }) };
  const from = await servingElsewhere(m);
  if (from === undefined) throw new ControlError('refused', `${m.tag} is in service on no node that ${self} can reach: netraid in-service takes it in service`);
  const timeoutMs = m.record().definition.failureTimeoutMs * (preview ? 1 : WAIT_MAX);
  return { from, answer: switchoverAnswerSchema.parse(await cluster.request(from, 'switchover', { tag: m.tag, to, preview }, timeoutMs)) };
}

export async function switchover(m: MirrorNode, to: NodeName): Promise<Actions['switchover']['result']> {
  const { from } = await ask(m, to, false);
  return { tag: m.tag, from, to };
}

export async function previewSwitchover(m: MirrorNode, to: NodeName | undefined): Promise<Actions['preview']['result']> {
  if (to === undefined) throw new ControlError('bad-request', 'preview: nodes: a switchover has one node');
  const { answer } = await ask(m, to, true);
  return { ...answer, bytesOverwritten: 0, lastOwnerHere: m.flags.flags.lastOwner };
}
