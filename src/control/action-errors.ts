/** How what went wrong below is said to people: one line, with a code that tells refusals from failures. */
import { ClusterError } from '../cluster/errors.ts';
import { StateError } from '../failover/paths.ts';
import type { SourceRole } from '../failover/source.ts';
import { tryForeign } from '../failover/target-dial.ts';
import type { Decision, NodeName } from '../failover/types.ts';
import { IoError } from '../io/types.ts';
import { parseNbdUri } from '../nbd-client-js/uri.ts';
import { ControlError } from './types.ts';

export function refusal(tag: string, node: NodeName, d: Decision): ControlError {
  if (d.unconfirmed !== undefined)
    return new ControlError('unconfirmed', `${tag} does not go in service on ${node}: ${d.why}; give the command again`);
  const remedy = d.changesIf === undefined || d.changesIf.length === 0 ? '' : `; it changes if ${d.changesIf.join(', or ')}`;
  return new ControlError('refused', `${tag} does not go in service on ${node}: ${d.why} (rule ${d.rule})${remedy}`);
}

/** Nobody has answered: the other node may have acted, or not. A node that is in no configuration can't be reached either. */
export function isUnreachable(e: ClusterError): boolean {
  return ['unreachable', 'lost', 'timeout', 'closed', 'unknown-node'].includes(e.code);
}

/** It was sent, and no answer came: the other node may have acted, or may still. */
export function mayHaveActed(e: ClusterError): boolean {
  return e.code === 'lost' || e.code === 'timeout';
}

export function asControlError(e: unknown): Error {
  if (e instanceof ControlError) return e;
  if (e instanceof StateError) return new ControlError('bad-request', e.message);
  if (e instanceof ClusterError) {
    return new ControlError(isUnreachable(e) ? 'unreachable' : 'refused', e.from === null ? e.message : `${e.from}: ${e.message}`);
  }
  if (e instanceof IoError) return new ControlError('io', e.message);
  return e instanceof Error ? new ControlError('internal', e.message) : new ControlError('internal', String(e));
}

/** Rejects with ControlError for what is no NBD URI, and for a server that can't be a target now. */
export async function checkForeign(s: SourceRole, node: NodeName, uri: string): Promise<void> {
  try {
    parseNbdUri(uri);
  } catch (e: unknown) {
    throw e instanceof IoError ? new ControlError('bad-request', e.message) : e;
  }
  try {
    await tryForeign(s, uri);
  } catch (e: unknown) {
    if (!(e instanceof Error)) throw e;
    throw new ControlError('refused', `${node} can not be a target of ${s.ctx.tag}: ${e.message}`);
  }
}
