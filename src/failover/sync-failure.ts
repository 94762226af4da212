/**
 * A sync of a target's leg has failed: the leg can't be trusted to keep what its source has sent (M3). Whoever may be asked to
 * take over must not, and what a force would have to write again is under intent, durably, before the record says why.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { NodeContext } from './context.ts';
import { foundOut } from './membership.ts';
import type { Epoch } from './types.ts';

/** `unsynced`: regions that were changed since the last good sync; `epoch`: of the session, null when there was none ever. */
export function writeDownSyncFailure(ctx: NodeContext, keeper: BitmapKeeper, unsynced: DirtyBitmap | undefined, epoch: Epoch | null): void {
  const log =
    (what: string) =>
    (e: unknown): void => {
      ctx.env.log.error(what, { tag: ctx.tag, error: String(e) });
    };
  void keeper
    .addIntent(unsynced)
    .catch(log('could not write down what a failed sync may have lost'))
    .then(() => ctx.store.update((r) => (epoch === null ? r : foundOut(r, epoch, `a sync of the leg of ${ctx.env.self} has failed`))))
    .catch(log('could not write down that this node is out'));
}
