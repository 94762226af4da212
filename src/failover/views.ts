/** The words people see: a node's own state, and how the source sees another (design.md, "States"). Total functions. */
import type { Decision, Flags, NodeName, NodeState, NodeView, PeerState, StateRecord } from './types.ts';

/** How an operator's pause begins the reason that a target writes down. */
export const PAUSED_WHY = 'paused';

/**
 * How a node sees itself. `decision`: its last one. `session`: the one that its source has open on it now, and whether
 * it has joined the in-sync set in it.
 */
export function ownState(
  self: Pick<NodeView, 'record' | 'flags' | 'inService'>,
  decision: Pick<Decision, 'rule'> | undefined,
  session: { joined: boolean } | undefined,
): NodeState {
  const { record, flags } = self;
  if (decision?.rule === 'split-brain') return 'Split Brain';
  if (self.inService) return 'Source';
  if (session !== undefined && record.resyncingFrom !== null) return 'Resyncing';
  if (flags.dataCorrupt) return 'Data Corrupt';
  if (record.resyncingFrom !== null) return 'Inconsistent';
  if (record.toldOut !== null) return record.toldOut.why.startsWith(PAUSED_WHY) ? 'Paused' : 'Out of Sync';
  // M6: without its session nobody is in sync, whatever it was.
  return session?.joined === true && record.inSync.includes(record.node) ? 'Target' : 'Waiting';
}

/** What only the running source knows of another node. */
export interface PeerLive {
  /** Neither its node nor, for a foreign target, its server can be heard. */
  silent: boolean;
  splitBrain: boolean;
  /** A foreign target that answers, and can not be one. */
  refused: boolean;
  /** Its session: none, copying to it, or joined and counted. */
  session: 'none' | 'resyncing' | 'in-sync';
  /** Bytes marked out of sync for it. */
  outOfSyncBytes: number;
}

export function peerState(record: StateRecord, flags: Flags, peer: NodeName, live: PeerLive): PeerState {
  if (live.silent) return 'Unknown';
  if (live.splitBrain) return 'Split Brain';
  if (record.paused.includes(peer)) return 'Paused';
  if (live.refused) return 'Refused';
  if (live.session === 'resyncing') return 'Resyncing';
  if (live.session === 'in-sync' && live.outOfSyncBytes === 0) return 'Target';
  if (record.mergePending.some((m) => m.for.includes(peer))) return 'Out of Sync (Wait for Previous Source)';
  const previous = flags.source === peer && peer !== record.node;
  return previous ? 'Out of Sync (Previous Source)' : 'Out of Sync';
}
