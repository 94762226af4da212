/**
 * What requests ask of the own leg. An operation that ends for want of memory is asked again for a while: the machine is short of it, and
 * the leg is as good as before. To drop it would cost the mirror a copy, until all that was written since has been copied back.
 *
 * Invariants
 * - only what may be done twice is: a read, and a write that need not be durable by itself, of the same bytes and under the range lock that
 *   it holds (M4). Of a FLUSH, or a write with FUA, nobody knows whether it is a sync that has failed, which is never asked again (M3)
 * - nothing is answered before the leg has done it, or has failed for good
 * - of a device that has stopped, or a leg that has left, nothing is asked again (M9)
 */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import { type Clock, type EngineValue, Errno, type Handle } from '../io/types.ts';
import type { LocalLeg } from './legs.ts';
import { type MirrorRequest, RequestKind, type RequestPool, SLOTS } from './request.ts';

/** How often, and after how long. */
export const SHORTAGE_TRIES_MAX = 20;
export const SHORTAGE_RETRY_MS = 50;

export interface OwnLegOptions {
  hub: EngineHub;
  clock: Clock;
  local: LocalLeg;
  pool: RequestPool;
  stopped: () => boolean;
}

export class OwnLegOps implements OpOwner {
  readonly #o: OwnLegOptions;
  readonly #owner: OpOwner;

  /** `owner`: is told how each ended, by the request's index and slot 0. */
  constructor(o: OwnLegOptions, owner: OpOwner) {
    this.#o = o;
    this.#owner = owner;
  }

  begin(m: MirrorRequest): void {
    const { hub, local } = this.#o;
    const op = hub.start(this, m.index * SLOTS);
    const { leg } = local.info;
    if (m.kind === RequestKind.READ) hub.engine.read(op, leg, m.offset, m.length);
    else if (m.kind === RequestKind.WRITE) hub.engine.write(op, leg, m.offset, m.h, 0, m.length, m.fua);
    else if (m.kind === RequestKind.FLUSH) hub.engine.sync(op, leg);
    else hub.engine.zero(op, leg, m.offset, m.length, m.mayPunch, m.fua);
  }

  onDone(tag: number, errno: number, length: number, h: Handle, value: EngineValue | undefined): void {
    if (errno === Errno.ENOMEM && this.#again(this.#o.pool.at(tag / SLOTS))) return;
    this.#owner.onDone(tag, errno, length, h, value);
  }

  #again(m: MirrorRequest): boolean {
    if (m.kind === RequestKind.FLUSH || m.fua || m.shortages >= SHORTAGE_TRIES_MAX || this.#over()) return false;
    m.shortages += 1;
    this.#o.clock.after(SHORTAGE_RETRY_MS, () => {
      if (this.#over()) this.#owner.onDone(m.index * SLOTS, Errno.ENOMEM, 0, 0, undefined);
      else this.begin(m);
    });
    return true;
  }

  #over(): boolean {
    return this.#o.stopped() || this.#o.local.state !== 'in';
  }
}
