/** Another size of a mirror: in service only larger; out of service the leg is grown or its end given up, and other nodes follow at their next session. */
import { ClusterError } from '../cluster/errors.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { NodeContext } from './context.ts';
import { grow } from './grow.ts';
import type { Replica } from './replica.ts';
import type { SourceRole } from './source.ts';

interface Resized extends NodeContext {
  readonly source: SourceRole | undefined;
  readonly replica: Replica;
  readonly keeper: BitmapKeeper;
}

/** To be called while no role changes. */
export async function resize(n: Resized, sizeBytes: number): Promise<void> {
  if (n.source !== undefined) {
    await grow(n.source, sizeBytes, (definition, fill) => n.keeper.regrown(definition.sizeBytes, fill));
    return;
  }
  await endSession(n);
  const leg = await n.replica.open();
  if (leg.sizeBytes < sizeBytes) await n.replica.grow(sizeBytes);
  // A record of a size that the leg has lost with the power would keep it out of service for good. Also if an earlier attempt has grown it.
  const larger = sizeBytes > n.record().definition.sizeBytes;
  if (larger && !n.replica.doubtful) await n.replica.syncWithin(n.record().definition.failureTimeoutMs);
  // Until the marks stand in a file of the new geometry, nobody may take them for complete.
  const { accountComplete, definition, legZeroed } = n.record();
  await n.store.update((r) => ({
    ...r,
    accountComplete: [],
    // What a leg holds behind its old end nobody has zeroed.
    legZeroed: legZeroed && sizeBytes <= definition.sizeBytes,
    definition: { ...r.definition, sizeBytes, revision: r.definition.revision + 1 },
  }));
  await n.keeper.resized(definition.sizeBytes, sizeBytes);
  await n.store.update((r) => ({ ...r, accountComplete }));
}

/** Of a source that may have begun one since it was asked who serves: what it writes would be cut off, and it would take this node for in sync (M6). */
async function endSession(n: Resized): Promise<void> {
  const { failureTimeoutMs } = n.record().definition;
  const from = n.replica.session?.from;
  if (from === undefined) return;
  const lives = n.silentForMs(from) < failureTimeoutMs && n.peerView(from)?.inService !== false;
  if (lives) throw new ClusterError('refused', `${n.tag} is in service on ${from}, which writes to this leg; run this there`);
  // Of one that is silent nothing reaches the leg from here on.
  await n.replica.endWithin(failureTimeoutMs);
  n.changed();
}
