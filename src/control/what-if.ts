/** "What if server1 lost": the facts as they would be, for the same decision function; nothing is touched. */
import { majorityIf } from '../failover/arbiter.ts';
import type { Facts, NodeName } from '../failover/types.ts';
import { ControlError } from './types.ts';

const FORMS = 'NODE lost, NODE back, in-service, force, force --without-last-owner';

export function whatIf(facts: Facts, question: string): Facts {
  const words = question.trim().split(/\s+/);
  const [first = '', second, ...more] = words;
  if (first === 'in-service' && words.length === 1) return { ...facts, command: { kind: 'in-service' } };
  if (first === 'force' && words.length === 1) return { ...facts, command: { kind: 'force', withoutLastOwner: false } };
  if (first === 'force' && second === '--without-last-owner' && more.length === 0)
    return { ...facts, command: { kind: 'force', withoutLastOwner: true } };
  const asked = `what if ${JSON.stringify(question)}`;
  if (more.length > 0 || (second !== 'lost' && second !== 'back')) throw new ControlError('bad-request', `${asked}: allowed are ${FORMS}`);
  return withSilence(facts, first, second, asked);
}

function withSilence(facts: Facts, node: NodeName, what: 'lost' | 'back', asked: string): Facts {
  const { self } = facts;
  const { definition } = self.record;
  if (node === self.node) throw new ControlError('bad-request', `${asked}: this is ${node}; ask another node what it would do then`);
  if (!Object.hasOwn(definition.nodes, node))
    throw new ControlError('not-found', `${asked}: ${node} is not a node of the mirror; nodes: ${Object.keys(definition.nodes).join(', ')}`);
  const peer = Object.hasOwn(facts.peers, node) ? facts.peers[node] : undefined;
  if (peer === undefined) {
    // Never heard is lost already.
    if (what === 'lost') return facts;
    throw new ControlError(
      'not-found',
      `${asked}: ${node} has not been heard since this daemon started, so that nobody here knows what it would say`,
    );
  }
  const silentForMs = what === 'lost' ? Math.max(facts.failureTimeoutMs, peer.silentForMs) : 0;
  const others = Object.entries(facts.peers).map(
    ([n, p]) => [n, { ...p, view: { ...p.view, silentForMs: { ...p.view.silentForMs, [node]: silentForMs } } }] as const,
  );
  const peers = { ...Object.fromEntries(others), [node]: { view: peer.view, silentForMs } };
  return {
    ...facts,
    self: { ...self, silentForMs: { ...self.silentForMs, [node]: silentForMs } },
    peers,
    majority: majorityIf(self.record, self.inService, (n) => (Object.hasOwn(peers, n) ? (peers[n]?.silentForMs ?? Infinity) : Infinity)),
  };
}
