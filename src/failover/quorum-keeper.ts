/**
 * A source under arbiter `majority` (rule no-quorum): without most nodes in hearing it answers nothing, after a while it
 * answers errors (M14), and when they are heard again it goes on only if most of them still stand by its epoch (M10). A term that
 * was forced without them goes on alone until then.
 */
import type { MirrorDevice } from '../mirror/device.ts';
import { Errno } from '../io/types.ts';
import type { NodeContext } from './context.ts';
import { arbiterOf, isOverruled, namedArbiter } from './arbiter.ts';
import type { Epoch } from './types.ts';

/** In failure timeouts: how long requests wait for a majority to come back before they are answered with an error. */
export const QUORUM_WAIT_MAX = 2;

/** Why the device is suspended then. */
export const NO_QUORUM = 'no quorum';

export interface Serving {
  readonly epoch: Epoch;
  readonly device: Pick<MirrorDevice, 'suspend' | 'unsuspend' | 'refuseWhileSuspended' | 'needGeneration'>;
}

export class QuorumKeeper {
  readonly #ctx: NodeContext;
  readonly #inService: () => boolean;
  #missingSince: number | undefined;
  #obeying = false;
  #asking = false;

  constructor(ctx: NodeContext, inService: () => boolean) {
    this.#ctx = ctx;
    this.#inService = inService;
  }

  /** `Facts.majority`: in service, whether most nodes can be heard now. Else null: not asked yet; whom nobody hears can not vote. */
  heard(): boolean | null {
    return arbiterOf(this.#ctx).heard(this.#ctx, this.#inService());
  }

  /** Another term begins. */
  begin(): void {
    this.#missingSince = undefined;
  }

  /** To be called again and again; `missing`: no majority is heard now. */
  keep(source: Serving, missing: boolean): void {
    if (isOverruled(this.#ctx.record()) && namedArbiter(this.#ctx).heard(this.#ctx, true) === true) void this.#obeyAgain(source);
    const now = this.#ctx.env.io.clock.now();
    if (missing) this.#missingSince ??= now;
    if (this.#missingSince === undefined) return;
    const errorsAt = this.#missingSince + this.#ctx.record().definition.failureTimeoutMs * QUORUM_WAIT_MAX;
    if (missing) source.device.suspend(NO_QUORUM, errorsAt);
    if (now >= errorsAt) source.device.refuseWhileSuspended(Errno.EIO);
    if (!missing && !this.#asking) void this.#ask(source);
  }

  /** Most nodes are heard, and stand by this epoch: from now on the arbiter has its word again. One that has lost its record stands by nobody. */
  async #obeyAgain(source: Serving): Promise<void> {
    const { env, store, tag } = this.#ctx;
    if (this.#obeying) return;
    this.#obeying = true;
    try {
      if (!(await namedArbiter(this.#ctx).standsBy(this.#ctx, source.epoch))) return;
      await store.update((r) => ({ ...r, overruled: null }));
      // Of those that were made meanwhile, it knows nothing.
      source.device.needGeneration();
    } catch (e: unknown) {
      // The next look tries again.
      env.log.warn('could not write down that the arbiter is asked again', { tag, error: String(e) });
    } finally {
      this.#obeying = false;
    }
  }

  /** Those who are heard again may have voted for another meanwhile. */
  async #ask(source: Serving): Promise<void> {
    this.#asking = true;
    try {
      if (!(await arbiterOf(this.#ctx).standsBy(this.#ctx, source.epoch)) || this.heard() === false) return;
      this.#missingSince = undefined;
      source.device.unsuspend(NO_QUORUM);
    } catch (e: unknown) {
      this.#ctx.env.log.error('the majority could not be asked', { tag: this.#ctx.tag, error: String(e) });
    } finally {
      this.#asking = false;
    }
  }
}
