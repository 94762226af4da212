/** What a daemon is given, and the limits of what it serves to sources. */
import type { LinkTls } from '../cluster/context.ts';
import type { ForeignTls, NodeTunables } from '../failover/env.ts';
import type { NodeName } from '../failover/types.ts';
import type { Log } from '../io/log.ts';
import type { Address, Io } from '../io/types.ts';
import type { MirrorSettings } from '../mirror/settings.ts';
import type { ExportTls } from '../nbd/access.ts';
import { DEFAULT_HANDSHAKE_LIMITS } from '../nbd/handshake-limits.ts';
import type { NbdServerLimits } from '../nbd/server.ts';
import type { ExportRules } from './export-access.ts';
import type { ClientLimits } from './exports.ts';

export interface DaemonOptions {
  io: Io;
  root: string;
  node: NodeName;
  cluster: string;
  /** Null: a node by itself. */
  listen: Address | null;
  peers: Record<NodeName, Address[]>;
  /** TCP addresses for NBD clients, besides the unix socket below the root. */
  exportListen: Address[];
  /** Absent: whoever reaches those may read and write. */
  exportRules?: ExportRules;
  exportLimits?: ClientLimits;
  /** Ranges of addresses that nodes may connect from; absent or null: from anywhere. */
  allow?: string[] | null;
  /** Connections between nodes, and STARTTLS for NBD clients over TCP; absent: no TLS. */
  linkTls?: LinkTls | null;
  exportTls?: ExportTls | null;
  /** Connections to foreign targets; absent: none of them is secured. */
  foreignTls?: ForeignTls;
  failureTimeoutMs: number;
  settings: MirrorSettings;
  tunables: NodeTunables;
  /** NBD with extended headers is offered to clients and to sources. Default true; the simulator has nodes of a version without. */
  extendedHeaders?: boolean;
  /** For all hooks of one event; 60 s unless set. */
  hookTimeoutMs?: number;
  log: Log;
}

/** A source gives up by its own failureTimeout, once an answer, which over a slow link may be longer than strangers are given in all. */
const REPLICA_HANDSHAKE_MAX_MS = 60_000;
/** Sources have proved who they are, have a few connections for each mirror, and are watched by their failureTimeout. */
export const REPLICA_LIMITS: Partial<NbdServerLimits> = {
  connectionsMax: 2048,
  connectionsPerAddressMax: 2048,
  handshakesMax: 2048,
  // A source whose network damages what passes tries again and again, and is let in as soon as it can be.
  offenders: { misdeedsMax: Number.MAX_SAFE_INTEGER, withinMs: 10_000 },
  clients: { stalledMs: 0, idleMs: 0 },
  connection: { requestsMax: 512, bytesMax: 64 * 1024 * 1024 },
  handshake: { ...DEFAULT_HANDSHAKE_LIMITS, handshakeTimeoutMs: REPLICA_HANDSHAKE_MAX_MS },
};
