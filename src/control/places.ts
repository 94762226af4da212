/** Where a node's daemon and the people who talk to it find each other, below the node's root. */
import { join } from 'node:path';
import { nodePaths } from '../failover/paths.ts';

export const DEFAULT_ROOT = '/var/lib/netraid';

export function configPath(root: string): string {
  return join(root, 'etc/netraid.yaml');
}

/** The unix socket of the daemon's interface for people. */
export function controlSocketPath(root: string): string {
  return join(nodePaths(root).run, 'control.sock');
}
