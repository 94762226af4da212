/** What an operator says about the failover of a mirror: how it shall go, and the answer when one is asked. */
import { CONFIRM_DEFAULT, CONFIRM_TIMEOUT_SEC } from '../failover/limits.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { SourceRole } from '../failover/source.ts';
import type { ConfirmDefault, FailoverMode, MirrorDefinition } from '../failover/types.ts';
import { refusal } from './action-errors.ts';
import { ControlError } from './types.ts';

/** As the command line and other programs say it: what is absent stays as it is, or takes its default. */
export interface FailoverWishes {
  failover?: FailoverMode | null;
  confirmTimeoutSec?: number;
  confirmDefault?: ConfirmDefault;
}

export type FailoverSettings = Pick<MirrorDefinition, 'failover' | 'confirmTimeoutSec' | 'confirmDefault'>;

const NEW: FailoverSettings = { failover: 'auto', confirmTimeoutSec: CONFIRM_TIMEOUT_SEC, confirmDefault: CONFIRM_DEFAULT };

/** Throws ControlError where a wish would mean nothing. */
export function failoverSettings(p: FailoverWishes, before: FailoverSettings = NEW): FailoverSettings {
  const failover = p.failover ?? before.failover;
  const named = [
    ...(p.confirmTimeoutSec === undefined ? [] : ['--confirm-timeout']),
    ...(p.confirmDefault === undefined ? [] : ['--confirm-default']),
  ];
  if (failover !== 'confirm' && named.length > 0)
    throw new ControlError('bad-request', `${named.join(', ')}: allowed with failover confirm; it is ${failover}`);
  return {
    failover,
    confirmTimeoutSec: p.confirmTimeoutSec ?? before.confirmTimeoutSec,
    confirmDefault: p.confirmDefault ?? before.confirmDefault,
  };
}

/** On the source, and from there on all others. */
export async function setFailover(m: MirrorNode, s: SourceRole, p: FailoverWishes): Promise<void> {
  if (p.failover === undefined && p.confirmTimeoutSec === undefined && p.confirmDefault === undefined)
    throw new ControlError('bad-request', 'nothing to set; allowed: --failover, --confirm-timeout, --confirm-default');
  const wanted = failoverSettings(p, m.record().definition);
  await m.store.update((r) => ({ ...r, definition: { ...r.definition, ...wanted, revision: r.definition.revision + 1 } }));
  await s.members.announce();
  m.env.emit(m.tag, 'config', `failover is ${wanted.failover}`, { ...wanted });
}

/** The answer to what this node asks. Rejects with ControlError when it asks nothing, or does not go in service for another reason. */
export async function confirmFailover(m: MirrorNode, go: boolean): Promise<MirrorNode> {
  const { self } = m.env;
  const d = await m.confirm(go);
  if (d === null) {
    const now = m.inService ? 'it is in service' : `it decides: ${m.decision?.why ?? 'nothing yet'}`;
    throw new ControlError('refused', `mirror ${m.tag} on ${self} asks nothing now; ${now}`);
  }
  m.env.emit(m.tag, 'config', go ? 'an operator has confirmed the failover' : 'an operator has said no to the failover', { go });
  if (go && d.action !== 'go-in-service' && d.action !== 'stay-in-service') throw refusal(m.tag, self, d);
  return m;
}
