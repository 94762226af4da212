/**
 * A sync of a target's leg has failed: the leg can't be trusted to keep what its source has sent (M3). Whoever may be asked to
 * take over must not, and what a force would have to write again is under intent, durably, before the record says why. A disk
 * that takes neither now is tried again: until both stand there, a restart would make this node a candidate.
 *
 * What was under way when the sync failed is in the account of what it may have lost only when it has ended, if a sync that began later
 * has ended well before: so that account is written down once more, when nothing is under way.
 */
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import type { NodeContext } from './context.ts';
import { foundOut } from './membership.ts';
import type { Epoch } from './types.ts';

export interface SyncFailure {
  /** Regions that were changed since the last good sync, as far as that is known now. */
  unsynced: () => DirtyBitmap | undefined;
  /** Until the leg has done with all that it was given; it may hang. */
  quiet: Promise<void>;
  /** Of the session; null when there was none ever. */
  epoch: Epoch | null;
  /** False: the node stops, or has been given another session, whose source knows. */
  holds: () => boolean;
}

interface Step {
  /** For the log, when it could not be done. */
  failed: string;
  write: () => Promise<unknown>;
}

/** Resolves when all that is known now is durable, or does not hold any more. Never rejects. */
export async function writeDownSyncFailure(ctx: NodeContext, keeper: Pick<BitmapKeeper, 'addIntent'>, f: SyncFailure): Promise<void> {
  const keep: Step = {
    failed: 'could not write down what a failed sync may have lost',
    write: () => keeper.addIntent(f.unsynced()),
  };
  const out: Step = {
    failed: 'could not write down that this node is out',
    write: () =>
      ctx.store.update((r) => (f.epoch === null || !f.holds() ? r : foundOut(r, f.epoch, `a sync of the leg of ${ctx.env.self} has failed`))),
  };
  await writeDown(ctx, [keep, out], f.holds);
  // Nobody waits for it: whoever uses the leg in this life waits until it is quiet, and asks again what is not synced.
  void f.quiet.then(() => (f.holds() ? writeDown(ctx, [keep], f.holds) : undefined));
}

/** In this order, until each is done. */
async function writeDown(ctx: NodeContext, steps: readonly Step[], holds: () => boolean): Promise<void> {
  const { env, tag } = ctx;
  let left = steps;
  for (let tries = 1; left.length > 0; tries += 1) {
    const again: Step[] = [];
    for (const step of left) {
      try {
        await step.write();
      } catch (e: unknown) {
        again.push(step);
        if (tries === 1) env.log.error(step.failed, { tag, error: String(e) });
      }
    }
    left = again;
    if (left.length === 0 || !holds()) return;
    await new Promise<void>((resolve) => {
      env.io.clock.after(ctx.record().definition.failureTimeoutMs, resolve);
    });
    if (!holds()) return;
  }
}
