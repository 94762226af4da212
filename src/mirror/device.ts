/**
 * The mirror device: one application request becomes writes on every leg, and one honest answer.
 *
 *   admit -> range lock -> marks (intent; out-of-sync for absent targets) -> durable? -> gate -> legs -> count down -> reply
 *              M4              M1                                             M1        M2, gen.         M2, M3
 *
 * Invariants
 * - no leg is told to write a region whose intent is not durable (M1);
 * - while the loss of an in-sync target is being settled, no new write is issued and no reply to a write or FLUSH is
 *   given; the marks for the lost target are taken in the same turn in which it stops being written to (M2, M5);
 * - a failed sync makes the leg leave (M3);
 * - a stopped device answers ESHUTDOWN to everything, also to what the legs have completed (M9).
 * Suspension is a set of reasons, not a flag: each party takes back only its own.
 */
import { answerText } from './answer-text.ts';
import type { NodeName } from '../failover/types.ts';
import type { EngineHub, OpOwner } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import { type Clock, Errno, errnoName, type Handle, type RequestId } from '../io/types.ts';
import type { Replier } from '../nbd/device.ts';
import type { MirrorDeviceOptions } from './device-options.ts';
import { Entrance } from './entrance.ts';
import { Gate, type Suspension } from './gate.ts';
import type { MirrorHost } from './host.ts';
import { type IssueOwner, IssueQueue } from './issue-queue.ts';
import type { Keeper } from './keeper.ts';
import { LegIo } from './leg-io.ts';
import type { LocalLeg, TargetLeg } from './legs.ts';
import { Losses, type LossOwner } from './losses.ts';
import type { DurableWaiter, Marks } from './marks.ts';
import { type LockWaiter, RangeLock, WAITING } from './range-lock.ts';
import { shownRange } from './own-leg.ts';
import { OwnLegOps } from './own-leg-ops.ts';
import { Replies } from './replies.ts';
import { type MirrorRequest, type Reader, RequestKind, RequestPool, SLOTS } from './request.ts';
import { Served, type ServedOwner } from './served.ts';
import { Sessions, type SessionsOwner } from './sessions.ts';
import type { MirrorSettings } from './settings.ts';
import { StallGuard } from './stall-guard.ts';
import { provesAll, stillHeld, verdict } from './verdict.ts';

export class MirrorDevice implements OpOwner, LockWaiter, DurableWaiter, LossOwner, SessionsOwner, IssueOwner, ServedOwner {
  readonly hub: EngineHub;
  readonly clock: Clock;
  readonly log: Log;
  readonly local: LocalLeg;
  marks: Marks;
  readonly lock = new RangeLock();
  /** While there are snapshots. */
  keeper: Keeper | undefined;
  readonly settings: MirrorSettings;
  readonly sessions: Sessions;
  readonly served: Served;
  readonly #host: MirrorHost;
  /** All that was admitted and is not answered yet, at whatever stage of its way. */
  readonly pool = new RequestPool();
  sizeBytes: number;
  readonly #gate = new Gate();
  readonly #legs: LegIo;
  readonly losses: Losses;
  readonly #entrance: Entrance;
  readonly #queue: IssueQueue;
  readonly #replies: Replies;
  /** Counts for status and for "is the application busy". */
  readonly counters = { reads: 0, writes: 0, flushes: 0, readBytes: 0, writtenBytes: 0 };
  /** Requests are multiples of this. */
  readonly sectorBytes: number;
  lastRequestAt = -Infinity;
  readonly #stall: StallGuard;

  constructor(o: MirrorDeviceOptions) {
    this.hub = o.hub;
    this.clock = o.clock;
    this.log = o.log;
    this.local = o.local;
    this.marks = o.marks;
    this.#host = o.host;
    this.settings = o.settings;
    this.sizeBytes = o.sizeBytes;
    this.sectorBytes = o.sectorBytes;
    this.#stall = new StallGuard(o.clock, o.stallLimitMs, () => {
      if (this.#gate.stopped !== 0 || this.#gate.suspended.has('stalled')) return;
      this.suspend('stalled');
      this.#host.stalled();
    });
    this.#queue = new IssueQueue(this.#gate, o.host, o.log, this);
    this.#entrance = new Entrance(this.#gate, this.pool, o.settings.requestsMax);
    this.#replies = new Replies(this.#gate, this.pool, o.hub.engine, this.#stall, (m) => stillHeld(m, o.local, this.targets.values()));
    this.#replies.answered = () => {
      const next = this.#entrance.next();
      if (next !== undefined) this.#admit(next);
      this.#entrance.tellIdle();
    };
    this.sessions = new Sessions(o.hub, o.settings.async, this);
    this.served = new Served(this);
    this.#gate.shut = () => {
      this.served.look();
    };
    const { hub, clock, log, host, local } = o;
    const own = new OwnLegOps({ hub, clock, local, pool: this.pool, stopped: () => this.#gate.stopped !== 0 }, this);
    this.#legs = new LegIo(hub, this, own, local, this.sessions.targets);
    this.losses = new Losses({ gate: this.#gate, host, log, clock, local, targets: this.sessions.targets, retryMs: o.settings.marksRetryMs }, this);
  }

  // -------------------------------------------------------------------------------------------- a request's way

  /** Takes a validated request; for a WRITE the device owns one reference to `h`. Exactly one answer goes to `r`. */
  submit(kind: RequestKind, r: Replier, id: RequestId, offset: number, length: number, h: Handle, fua: boolean, punch: boolean, of?: Reader): void {
    const m = this.pool.take();
    m.asked(kind, r, id, offset, length, h, fua, punch);
    m.of = of;
    if (of === undefined) this.lastRequestAt = this.clock.now();
    this.#stall.look();
    this.served.resume();
    this.#admit(m);
  }

  #admit(m: MirrorRequest): void {
    if (this.#gate.refusal !== 0) {
      this.#settle(m, this.#gate.refusal);
    } else if (!this.#entrance.admits(m)) {
      return;
    } else if (m.kind === RequestKind.READ && this.losses.readsWait === undefined) {
      this.#issueRead(m);
    } else if (m.kind === RequestKind.READ || m.kind === RequestKind.FLUSH || m.length === 0) {
      this.#queue.enter(m);
    } else {
      const slot = this.lock.acquire(m.offset, m.offset + m.length, this, m.index);
      if (slot !== WAITING) this.onLocked(m.index, slot);
    }
  }

  onLocked(tag: number, slot: number): void {
    const m = this.pool.at(tag);
    m.lockSlot = slot;
    if (this.#gate.refusal !== 0) {
      this.#settle(m, this.#gate.refusal);
      return;
    }
    m.first = this.marks.regions.regionOf(m.offset);
    m.last = this.marks.regions.regionOf(m.offset + m.length - 1);
    for (const t of this.targets.values()) if (!t.inSession) this.marks.markOutOfSync(t.node, m.first, m.last);
    m.marked = true;
    if (this.begin(m.first, m.last)) this.marks.whenDurable(this, m.index);
    else this.#queue.enter(m);
  }

  /** Regions are being written; true: not before that is durable (M1). */
  begin(first: number, last: number): boolean {
    const { intent } = this.marks;
    const { writtenRegions } = intent;
    const mustFlush = this.marks.begin(first, last);
    if (intent.writtenRegions > writtenRegions && intent.pressure) this.#host.pressure();
    return mustFlush;
  }

  onDurable(tag: number, ok: boolean): void {
    const m = this.pool.at(tag);
    if (this.#gate.refusal !== 0) this.#settle(m, this.#gate.refusal);
    else if (!ok) this.#settle(m, Errno.EIO);
    else this.#queue.enter(m);
  }

  // What the queue asks of the device.
  hasRoom(m: MirrorRequest): boolean {
    return this.#legs.hasRoom(m);
  }

  refuse(m: MirrorRequest): void {
    this.#settle(m, Errno.EIO);
  }

  giveUp(): void {
    this.stop(Errno.ESHUTDOWN);
  }

  issue(m: MirrorRequest): void {
    if (m.kind === RequestKind.READ) this.#issueRead(m);
    else if (m.kind === RequestKind.FLUSH) this.#issueFlush(m);
    else if (m.length === 0) this.#settle(m, 0);
    else this.#issueWrite(m);
  }

  #issueWrite(m: MirrorRequest): void {
    if (this.keeper?.takes(m) === true) return;
    this.counters.writes += 1;
    this.counters.writtenBytes += m.length;
    // One more than there are legs, so that an answer that comes meanwhile does not end the count.
    m.pending = 1;
    this.#legs.write(m, this.marks);
    this.#countDown(m);
  }

  #issueFlush(m: MirrorRequest): void {
    this.counters.flushes += 1;
    m.pending = 1;
    m.seal = this.marks.seal();
    this.#legs.flush(m);
    this.#countDown(m);
  }

  #issueRead(m: MirrorRequest): void {
    if (m.of !== undefined) {
      m.of.read(m);
      return;
    }
    this.counters.reads += 1;
    this.counters.readBytes += m.length;
    if (!this.#legs.read(m)) this.#settle(m, Errno.EIO);
  }

  // ------------------------------------------------------------------------------------------- the legs' answers

  onDone(tag: number, errno: number, _length: number, h: Handle): void {
    const slot = tag % SLOTS;
    const m = this.pool.at((tag - slot) / SLOTS);
    if (m.kind === RequestKind.READ) {
      this.#readDone(m, slot, errno, h);
      return;
    }
    if (h !== 0) this.hub.engine.release(h);
    m.results[slot] = errno;
    if (errno !== 0 && slot === 0 && (m.kind === RequestKind.FLUSH || m.fua)) this.local.syncFailed = true;
    if (errno !== 0 && slot !== 0) {
      const t = this.sessions.at(slot);
      const flush = m.kind === RequestKind.FLUSH || m.fua;
      if (t !== undefined) this.targetFailed(t, `${flush ? 'flush' : 'write'} on ${t.node}: ${answerText(errno)}`, flush);
    }
    this.#countDown(m);
  }

  #readDone(m: MirrorRequest, slot: number, errno: number, h: Handle): void {
    if (errno === 0) {
      m.data = h;
      this.#settle(m, 0);
      return;
    }
    const final = m.errno !== 0 || m.of !== undefined;
    m.errno = errno;
    if (slot !== 0) {
      const t = this.sessions.at(slot);
      if (t !== undefined) this.targetFailed(t, `read on ${t.node}: ${answerText(errno)}`, false);
    }
    if (final || this.settings.localErrors === 'pass-on' || this.#legs.readableTarget() === undefined) {
      this.#settle(m, errno);
      return;
    }
    if (slot === 0 && errno !== Errno.ENOMEM) this.localFailed(`read of the local leg${shownRange(m.offset, m.length)}: ${errnoName(errno)}`, true);
    this.#queue.enter(m);
  }

  #countDown(m: MirrorRequest): void {
    m.pending -= 1;
    if (m.pending === 0) this.#legsDone(m);
  }

  #legsDone(m: MirrorRequest): void {
    const v = verdict(m, this.local, this.targets.values(), this.settings.localErrors);
    if (v.kind === 'own-leg-failed') {
      this.#park(m, v.errno);
      this.localFailed(v.why);
      return;
    }
    if (v.kind === 'diverged') this.losses.diverged(v.why, m.kind === RequestKind.FLUSH);
    if (v.kind === 'success' && provesAll(m, this.local, this.targets.values())) this.marks.intent.proven(m.seal);
    this.#settle(m, v.kind === 'success' ? 0 : v.errno);
  }

  /** The legs have done; the lock and the pending marks go, and the reply follows when it may. */
  #settle(m: MirrorRequest, errno: number): void {
    m.errno = errno;
    this.#releaseRange(m);
    this.#replies.give(m);
  }

  #park(m: MirrorRequest, errno: number): void {
    m.errno = errno;
    this.#releaseRange(m);
    this.#replies.park(m);
  }

  #releaseRange(m: MirrorRequest): void {
    if (m.marked) {
      m.marked = false;
      this.marks.intent.end(m.first, m.last);
    }
    if (m.h !== 0) {
      this.hub.engine.release(m.h);
      m.h = 0;
    }
    if (m.lockSlot >= 0) {
      const slot = m.lockSlot;
      m.lockSlot = -1;
      this.lock.release(slot);
    }
  }

  // ----------------------------------------------------------------------------------------------- losing a leg

  /** A target can't be trusted to have what it should: it leaves now, and the loss is settled (M2). `onPurpose`: see TargetLeg. */
  targetFailed(t: TargetLeg, why: string, syncFailed: boolean, onPurpose = false): void {
    this.losses.target(t, why, syncFailed, onPurpose);
  }

  localFailed(why: string, onRead = false): void {
    this.losses.ownLeg(why, onRead);
  }

  writesInHand(): boolean {
    for (const m of this.pool.active()) if (m.kind !== RequestKind.READ) return true;
    return false;
  }

  failWaitingWrites(): void {
    this.#replies.failWrites(Errno.EIO);
    for (const m of this.#queue.take(this.losses.readsWait === undefined ? 'writes' : 'all')) {
      if (m.kind === RequestKind.READ) this.#settle(m, Errno.EIO);
      else this.#park(m, Errno.EIO);
    }
    this.#replies.failWrites(Errno.EIO);
  }

  /** While a lost target is alive and can't confirm that it is out, writes are answered with an error. */
  refuseWrites(on: boolean): void {
    this.losses.marksFailed = on;
    if (!on) return;
    this.served.look();
    this.failWaitingWrites();
  }

  ownLegLeft(): void {
    // What it has not synced is proven by syncs of others from now on, and is still what its next life has to doubt (M3).
    this.marks.intent.addAll(this.marks.intent.unproven());
    this.#replies.forgiveOwnLeg();
  }

  goOn(): void {
    this.#replies.release();
    this.#queue.drain();
  }

  // --------------------------------------------------------------------------------------------- for the host

  get targets(): ReadonlyMap<NodeName, TargetLeg> {
    return this.sessions.targets;
  }

  /** What a resync or a verify takes at a time: a leg need not take a part of a sector. */
  get copyBytes(): number {
    const { copyBytes } = this.settings.resync;
    return Math.max(this.sectorBytes, copyBytes - (copyBytes % this.sectorBytes));
  }

  needGeneration(): void {
    this.#queue.needGeneration();
  }

  /** The host is alive and looks; to be called several times within the stall limit. */
  tick(): void {
    this.#stall.tick();
  }

  /** Somebody else has noticed that this process stood still. */
  stalledFor(ms: number): void {
    this.#stall.stoodStill(ms);
  }

  /** Nothing is issued or answered until every reason has been taken back. `errorsAt`: when `refuseWhileSuspended` will be said. */
  suspend(reason: string, errorsAt: number | null = null): void {
    this.#gate.suspend(reason, this.clock.now(), errorsAt);
  }

  unsuspend(reason: string): void {
    if (!this.#gate.unsuspend(reason)) return;
    this.#replies.release();
    this.#readmit();
    this.#queue.drain();
  }

  /** The suspension has lasted too long: until it ends everything is answered with `errno` (M14). */
  refuseWhileSuspended(errno: number): void {
    if (this.#gate.suspended.size === 0 || this.#gate.refusal !== 0) return;
    this.#gate.whileSuspended = errno;
    this.#refuseWaiting(errno);
  }

  #refuseWaiting(errno: number): void {
    for (const m of [...this.#entrance.takeAll(), ...this.#queue.take('all')]) this.#settle(m, errno);
    this.#replies.release();
  }

  #readmit(): void {
    for (const m of this.#entrance.takeAll()) this.#admit(m);
  }

  /** Admits nothing new; resolves when all that was admitted has been answered. */
  async closeEntrance(reason: string): Promise<void> {
    this.#gate.closed.add(reason);
    await this.idle();
  }

  openEntrance(reason: string): void {
    if (this.#gate.closed.delete(reason) && this.#gate.closed.size === 0) this.#readmit();
  }

  /** Another size, and marks that fit it; the entrance must be closed and every mark of the intent log gone. */
  setGeometry(sizeBytes: number, marks: Marks): void {
    if (this.#gate.closed.size === 0 || this.#entrance.inHand > 0 || this.served.underWay) throw new Error('the device is in use');
    this.sizeBytes = sizeBytes;
    this.marks = marks;
    this.local.info = { ...this.local.info, sizeBytes: Math.max(sizeBytes, this.local.info.sizeBytes) };
  }

  /** Whether what is known here may be told now: false while suspended, or when this process stood still (M9). */
  mayTell(): boolean {
    this.#stall.look();
    return this.#gate.stopped === 0 && this.#gate.mayReply(false);
  }

  get suspension(): Suspension | null {
    return this.#gate.suspension;
  }

  /** Answers everything with `errno` from now on, also what comes back from the legs. Sessions end; `idle` tells when the legs are done (M4). */
  stop(errno: number): void {
    if (this.#gate.stopped !== 0) return;
    this.#gate.stop(errno);
    for (const t of this.targets.values()) {
      if (t.inSession) this.targetFailed(t, 'the device was stopped', false);
    }
    this.#refuseWaiting(errno);
  }

  get stopped(): boolean {
    return this.#gate.stopped !== 0;
  }

  /** Resolves when no request is in hand but those that wait at the entrance. */
  idle(): Promise<void> {
    const idle = this.#entrance.idle();
    return this.served.underWay ? Promise.all([idle, this.served.quiet()]).then(() => undefined) : idle;
  }

  answered(): Promise<void> {
    return this.#entrance.answered();
  }

  // ------------------------------------------------------------------------- requests that the engine executes

  /** Nothing has to be decided about plain requests: there is no other node, and nobody else looks at what is written. */
  mayServe(): boolean {
    return (
      this.targets.size === 0 &&
      this.local.state === 'in' &&
      this.#gate.isOpen &&
      this.#queue.isClear &&
      this.keeper === undefined &&
      !this.marks.hasCheckpoints
    );
  }

  told(first: number, last: number): void {
    this.counters.writes += 1;
    for (const t of this.targets.values()) this.marks.markOutOfSync(t.node, first, last);
    this.marks.begin(first, last);
    this.marks.intent.end(first, last);
  }
}
