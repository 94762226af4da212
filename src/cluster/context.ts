/** What the parts of this room share: who we are, the outside world, and the limits. */
import type { AddressRanges } from '../io/address-ranges.ts';
import type { LinkTlsMode, Tls } from '../io/tls.ts';
import type { Address, Chance, Clock, Net } from '../io/types.ts';
import { encodeFrame, FrameError } from './frame.ts';
import type { LimitedLog } from '../io/limited-log.ts';
import type { ProtocolRange } from './messages.ts';

export interface ClusterLimits {
  /** Requests to one peer that wait for their answer, and requests of one peer that are being carried out. */
  requestsMax: number;
  /** Bytes queued on one connection, above which it is closed: its peer does not read. */
  unsentMaxBytes: number;
  /** Connections one peer may have open to us. */
  inboundPerPeerMax: number;
  /** Connections that have not said a valid hello yet; one more pushes the oldest of the most crowded address out. */
  handshakesMax: number;
}

export const DEFAULT_LIMITS: ClusterLimits = {
  requestsMax: 64,
  unsentMaxBytes: 16 * 1024 * 1024,
  inboundPerPeerMax: 16,
  handshakesMax: 64,
};

/** Heartbeats within the shortest failure timeout. */
export const HEARTBEATS = 5;

/** No handshake may take longer, however patient `failureTimeout` is. */
export const HANDSHAKE_MAX_MS = 5000;

/** How connections between nodes are secured. */
export interface LinkTls {
  tls: Tls;
  /** `required`: those over loopback as well. */
  mode: Exclude<LinkTlsMode, 'off'>;
  /** Some peer is reached over loopback: from there a connection in clear is taken with `auto`. */
  peersHere: boolean;
}

export interface ClusterContext {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly net: Net;
  readonly self: string;
  readonly clusterName: string;
  readonly daemonStart: string;
  readonly protocol: ProtocolRange;
  /** The daemon's own. */
  readonly failureTimeoutMs: number;
  readonly handshakeTimeoutMs: number;
  readonly limits: ClusterLimits;
  /** Where nodes may connect from; null: from anywhere. */
  readonly allow: AddressRanges | null;
  /** Null: they are not. */
  readonly linkTls: LinkTls | null;
  /** Ways to and from peers that are in clear and have been told of: see `tellOfClear`. */
  readonly inClear: Set<string>;
  readonly log: LimitedLog;
  /** The shortest silence from which anybody here takes that peer, or without one any peer, for lost; at most the daemon's own. */
  timeoutOf(peer?: string): number;
  factsFor(peer: string): unknown;
  onFacts(peer: string, facts: unknown, path: string, askedAt: number | undefined): void;
  checkStall(): void;
}

/** How a path is called in logs and status. */
export function pathName(a: Address): string {
  if (a.kind === 'unix') return `unix:${a.path}`;
  return a.host.includes(':') ? `[${a.host}]:${String(a.port)}` : `${a.host}:${String(a.port)}`;
}

/** A ping or pong with our facts, a ping with when the next one is due; facts that do not fit are left out, said aloud, rather than silence the heartbeat. */
export function encodeHeartbeat(ctx: ClusterContext, peer: string, type: 'ping' | 'pong', id: number): Uint8Array {
  const due = type === 'ping' ? { everyMs: ctx.timeoutOf() / HEARTBEATS } : {};
  try {
    return encodeFrame({ type, id, ...due, facts: ctx.factsFor(peer) ?? null });
  } catch (e: unknown) {
    if (!(e instanceof FrameError)) throw e;
    ctx.log.warn(`facts ${peer}`, 'facts do not fit into a heartbeat and were left out', { peer, why: e.message });
    return encodeFrame({ type, id, ...due, facts: null });
  }
}
