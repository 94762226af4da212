/**
 * A sync of a target's leg has failed: the leg can't be trusted to keep what its source has sent (M3). Whoever may be asked to
 * take over must not, and what a force would have to write again is under intent, durably, before the record says why. A disk
 * that takes neither now is tried again: until both stand there, a restart would make this node a candidate.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { NodeContext } from './context.ts';
import { foundOut } from './membership.ts';
import type { Epoch } from './types.ts';

export interface SyncFailure {
  /** Regions that were changed since the last good sync. */
  unsynced: DirtyBitmap | undefined;
  /** Of the session; null when there was none ever. */
  epoch: Epoch | null;
  /** False: the node stops, or has been given another session, whose source knows. */
  holds: () => boolean;
}

/** Resolves when all of it is durable, or does not hold any more. Never rejects. */
export async function writeDownSyncFailure(ctx: NodeContext, keeper: Pick<BitmapKeeper, 'addIntent'>, f: SyncFailure): Promise<void> {
  const { env, tag } = ctx;
  const steps = [
    {
      failed: 'could not write down what a failed sync may have lost',
      write: () => keeper.addIntent(f.unsynced),
    },
    {
      failed: 'could not write down that this node is out',
      write: () =>
        ctx.store.update((r) => (f.epoch === null || !f.holds() ? r : foundOut(r, f.epoch, `a sync of the leg of ${env.self} has failed`))),
    },
  ];
  let left = steps;
  for (let tries = 1; left.length > 0; tries += 1) {
    const again: typeof steps = [];
    for (const step of left) {
      try {
        await step.write();
      } catch (e: unknown) {
        again.push(step);
        if (tries === 1) env.log.error(step.failed, { tag, error: String(e) });
      }
    }
    left = again;
    if (left.length === 0 || !f.holds()) return;
    await new Promise<void>((resolve) => {
      env.io.clock.after(ctx.record().definition.failureTimeoutMs, resolve);
    });
    if (!f.holds()) return;
  }
}
