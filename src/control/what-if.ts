/** "What if server1 lost": the facts as they would be, for the same decision function; nothing is touched. */
import type { Facts } from '../failover/types.ts';
import { ControlError } from './types.ts';

const FORMS = 'NODE lost, NODE back, in-service, force';

export function whatIf(facts: Facts, question: string): Facts {
  const words = question.trim().split(/\s+/);
  const [first, second] = words;
  if (first === 'in-service' && words.length === 1) return { ...facts, command: { kind: 'in-service' } };
  if (first === 'force' && words.length === 1) return { ...facts, command: { kind: 'force', withoutLastOwner: true } };
  const peer = first === undefined || !Object.hasOwn(facts.peers, first) ? undefined : facts.peers[first];
  if (words.length !== 2 || first === undefined || (second !== 'lost' && second !== 'back')) {
    throw new ControlError('bad-request', `what if ${JSON.stringify(question)}: allowed are ${FORMS}`);
  }
  if (peer === undefined)
    throw new ControlError(
      'not-found',
      `what if ${JSON.stringify(question)}: nothing is known of ${first}; heard so far: ${Object.keys(facts.peers).join(', ') || 'nobody'}`,
    );
  const silentForMs = second === 'lost' ? facts.failureTimeoutMs : 0;
  const others = Object.entries(facts.peers).map(
    ([n, p]) => [n, { ...p, view: { ...p.view, silentForMs: { ...p.view.silentForMs, [first]: silentForMs } } }] as const,
  );
  return {
    ...facts,
    self: { ...facts.self, silentForMs: { ...facts.self.silentForMs, [first]: silentForMs } },
    peers: { ...Object.fromEntries(others), [first]: { view: peer.view, silentForMs } },
  };
}
