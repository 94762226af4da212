/** Which of a node's connections are to be secured. Pure. */
import type { LinkTls } from '../cluster/context.ts';
import { type Tls, toLoopback } from '../io/tls.ts';
import type { ExportTls } from '../nbd/access.ts';
import type { NodeConfig } from './config.ts';

export interface TlsNeeds {
  links: boolean;
  exports: boolean;
}

/** A node whose own address and whose peers' are all of loopback needs none to talk to them, unless it is said to be there. */
export function tlsNeeds(c: Pick<NodeConfig, 'listen' | 'peers' | 'tls' | 'exportListen' | 'exportTlsMode'>): TlsNeeds {
  const away = c.listen !== null && [c.listen, ...Object.values(c.peers).flat()].some((a) => !toLoopback(a));
  return {
    links: c.listen !== null && (c.tls === 'required' || c.tls === 'allowed' || (c.tls === 'auto' && away)),
    exports: c.exportListen.length > 0 && c.exportTlsMode !== 'off',
  };
}

/** What the daemon's parts take. */
export function securedParts(c: NodeConfig, tls: Tls | null): { linkTls: LinkTls | null; exportTls: ExportTls | null } {
  const needs = tlsNeeds(c);
  return {
    linkTls: tls === null || !needs.links || c.tls === 'off' ? null : { tls, mode: c.tls, peersHere: Object.values(c.peers).flat().some(toLoopback) },
    exportTls: tls === null || !needs.exports || c.exportTlsMode === 'off' ? null : { tls, mode: c.exportTlsMode },
  };
}
