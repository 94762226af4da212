/** The files that a scenario's node starts from, the same in both worlds: its configuration and its tunables. */
import { stringify } from 'yaml';
import type { NodeName } from '../failover/types.ts';
import type { ScenarioMirror } from './types.ts';

export const CLUSTER = 'scenario';

export interface NodeAddresses {
  /** HOST:PORT. */
  listen: string;
  /** Of each other node, as this one reaches it. */
  peers: Record<NodeName, string>;
}

export function configText(node: NodeName, mirror: ScenarioMirror, addresses: NodeAddresses): string {
  return stringify({
    version: 1,
    cluster: CLUSTER,
    node,
    listen: addresses.listen,
    peers: addresses.peers,
    failureTimeout: `${String(mirror.failureTimeoutMs)}ms`,
  });
}

/** Lines of `etc/default/LifeKeeper`. */
export function tunablesText(mirror: ScenarioMirror): string {
  return Object.entries(mirror.settings)
    .map(([key, value]) => `${key}=${value}\n`)
    .join('');
}
