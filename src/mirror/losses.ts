/**
 * What happens when a leg can't be trusted any more (M2, M3).
 *
 *   target fails --> leaving, marks kept in the same turn --> marks durable --> host settles it --> out, replies go on
 *   own leg fails --> an in-sync target records it --> own leg out, reads and writes go on there
 *                 `-> nobody can record it --> the error is passed on; after a write or sync every target leaves,
 *                                              after a read nothing differs, and all stay
 *
 * Until such targets are out, nothing is read either: by their records they may go in service with what this leg lacks.
 */
import type { Log } from '../io/log.ts';
import { type Clock, Errno } from '../io/types.ts';
import type { Gate } from './gate.ts';
import type { LossReason, MirrorHost } from './host.ts';
import type { LocalLeg, TargetLeg } from './legs.ts';
import type { Marks } from './marks.ts';

/** What the losses need of the device. */
export interface LossOwner {
  readonly marks: Marks;
  /** Whether a write or FLUSH is in hand: then a new generation is committed before any reply. */
  writesInHand(): boolean;
  /** The marks can't be made durable: what waits is answered with an error rather than never (M14). */
  failWaitingWrites(): void;
  /** Requests that waited for the own leg's fate: it has left and a target has what they wrote. */
  ownLegLeft(): void;
  goOn(): void;
  needGeneration(): void;
  stop(errno: number): void;
}

export interface LossOptions {
  gate: Gate;
  host: MirrorHost;
  log: Log;
  clock: Clock;
  local: LocalLeg;
  targets: ReadonlyMap<string, TargetLeg>;
  /** How often a bitmap file that can't be written is tried again. */
  retryMs: number;
}

const OWN_LEG = 'own leg';

export class Losses {
  readonly #o: LossOptions;
  readonly #owner: LossOwner;
  /** The bitmap file can't be written: every write is answered with an error until it can. */
  marksFailed = false;
  /** The own leg's fate, while it is being decided. */
  #ownLeg: Promise<void> | undefined;
  /** Targets that may have what the own leg lacks are leaving. */
  #apart: Promise<void> | undefined;
  /** The losses that are being settled. */
  readonly #leaving = new Set<Promise<void>>();
  /** While that is being decided: what of a failed write or sync targets may have and the own leg may lack. */
  #lacking: string | undefined;

  constructor(o: LossOptions, owner: LossOwner) {
    this.#o = o;
    this.#owner = owner;
  }

  /** The target leaves now; it counts as absent for everything that marks from this turn on. */
  target(t: TargetLeg, why: string, syncFailed: boolean, onPurpose = false): void {
    void this.#leaves(t, why, syncFailed, onPurpose);
  }

  async #leaves(t: TargetLeg, why: string, syncFailed: boolean, onPurpose: boolean): Promise<void> {
    if (!t.inSession) return;
    t.leftOnPurpose = onPurpose;
    const wasInSync = t.phase === 'in-sync';
    t.phase = 'leaving';
    t.session += 1;
    const lost = t.client?.lostWhy();
    t.whyOut = lost === undefined || why.includes(lost) ? why : `${why} (${lost})`;
    if (syncFailed) t.rewriteAll = true;
    t.toCopy = undefined;
    this.#owner.marks.keepForAbsent(t.node);
    const hold = `lost ${t.node}`;
    if (wasInSync) this.#o.gate.beginSettling(hold);
    t.unsettled = wasInSync;
    const newGeneration = wasInSync && this.#owner.writesInHand();
    // Why the device has stopped is said by whoever stops it.
    this.#o.log[this.#isStopped() ? 'info' : 'warn']('a target has left the mirror', { node: t.node, why: t.whyOut, wasInSync });
    const { queue, client } = t;
    t.queue = undefined;
    t.client = undefined;
    queue?.end(Errno.ESHUTDOWN);
    client?.close(Errno.ESHUTDOWN);
    if (wasInSync) this.#stopWithoutCopy();
    const settled = this.#settle(t, { why: t.whyOut, syncFailed, wasInSync }, newGeneration, hold);
    this.#leaving.add(settled);
    await settled;
    this.#leaving.delete(settled);
  }

  /** The last usable copy is never told that it is out: the device ends, and the copy may go in service by itself. */
  #stopWithoutCopy(): void {
    if (this.#o.local.state === 'in') return;
    for (const t of this.#o.targets.values()) if (t.phase === 'in-sync' && t.mode === 'sync') return;
    this.#owner.stop(Errno.ESHUTDOWN);
  }

  async #settle(t: TargetLeg, reason: LossReason, newGeneration: boolean, hold: string): Promise<void> {
    const { gate, host, log } = this.#o;
    try {
      while (!(await this.#owner.marks.durable())) {
        if (this.#isStopped()) return;
        this.marksFailed = true;
        this.#owner.failWaitingWrites();
        await new Promise<void>((resolve) => {
          this.#o.clock.after(this.#o.retryMs, resolve);
        });
      }
      this.marksFailed = false;
      // Whether this one was the last copy is known only when the own leg's fate is.
      await this.#ownLeg;
      if (this.#isStopped()) return;
      await host.targetLost(t.node, reason, newGeneration);
      if (reason.wasInSync && !newGeneration) this.#owner.needGeneration();
    } catch (e: unknown) {
      log.error('the loss of a target could not be settled; the device stops answering', { node: t.node, error: String(e) });
      this.#owner.stop(Errno.ESHUTDOWN);
    } finally {
      t.phase = 'out';
      t.unsettled = false;
      if (reason.wasInSync) gate.endSettling(hold);
      this.#owner.goOn();
      host.changed();
    }
  }

  /** Targets may have what the own leg lacks, and it goes on: all leave; until they are out, and those that left before, nothing is read. */
  diverged(why: string, syncFailed: boolean): void {
    for (const t of this.#o.targets.values()) this.target(t, why, syncFailed);
    const all = Promise.all([this.#apart, ...this.#leaving]).then(() => {
      if (this.#apart !== all) return;
      this.#apart = undefined;
      this.#owner.goOn();
    });
    this.#apart = all;
  }

  #isStopped(): boolean {
    return this.#o.gate.stopped !== 0;
  }

  /** The own leg has failed, and whether it leaves is being decided; undefined: it is not. Never rejects. */
  get ownLegSettling(): Promise<void> | undefined {
    return this.#ownLeg;
  }

  /** Until this ends it is not known what may be read; undefined: it is. Never rejects. */
  get readsWait(): Promise<void> | undefined {
    return this.#ownLeg ?? this.#apart;
  }

  /** `onRead`: nothing has come to differ by it. */
  ownLeg(why: string, onRead: boolean): void {
    const { gate, local, log } = this.#o;
    if (local.state === 'out') return;
    // Also while a read is being settled, which would let every target stay.
    if (!onRead) this.#lacking ??= why;
    if (gate.held.has(OWN_LEG)) return;
    gate.beginSettling(OWN_LEG);
    log.error('the local leg has failed', { why });
    this.#ownLeg = this.#settleOwn(why, onRead);
  }

  async #settleOwn(why: string, onRead: boolean): Promise<void> {
    const { gate, host, local, log } = this.#o;
    let taken = false;
    try {
      taken = await host.localLegLost(why, onRead);
    } catch (e: unknown) {
      // A target may have recorded it all the same: neither this leg nor a mirror without that target is to be trusted (M2).
      log.error('that the local leg has failed could not be written down; the device stops answering', { error: String(e) });
      this.#owner.stop(Errno.ESHUTDOWN);
    }
    if (taken) {
      local.state = 'out';
      this.#owner.ownLegLeft();
      this.#stopWithoutCopy();
    } else if (this.#lacking !== undefined) {
      this.diverged(this.#lacking, true);
    }
    this.#lacking = undefined;
    this.#ownLeg = undefined;
    gate.endSettling(OWN_LEG);
    this.#owner.goOn();
    host.changed();
  }
}
