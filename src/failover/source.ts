/**
 * This node as the source: the device in service, its links to the targets, and the record that follows them.
 *
 *   device --"target lost"--> tell it, or wait for its silence --> record --> new generation --> device answers again
 *   link   --"caught up"----> device requires it --> own record --> its record --> the other targets' records
 *
 * Invariants: a reply that does without a target is given only after `targetLost` resolved (M2); a generation is offered
 * durably here, durable on every remaining in-sync target, then committed, then written under; records change only
 * through the store, one change at a time, each durable before the next step.
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import { ClusterError } from '../cluster/errors.ts';
import { Errno, type LegInfo } from '../io/types.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import { MirrorDevice } from '../mirror/device.ts';
import type { LossReason, MirrorHost } from '../mirror/host.ts';
import { MirrorExport } from '../mirror/mirror-export.ts';
import { Marks } from '../mirror/marks.ts';
import { Prover } from '../mirror/prover.ts';
import { Changes, type NodeContext } from './context.ts';
import { arbiterOf } from './arbiter.ts';
import { askAfterStall, type StallAsker } from './after-stall.ts';
import { Members, type MembersOwner } from './members.ts';
import { ruleOfLoss, targetLeft } from './membership.ts';
import { mergeAccount } from './merge-account.ts';
import { boundedWhy } from './record.ts';
import { sectorSizeOf } from './sectors.ts';
import { type LinkOwner, TargetLink } from './target-link.ts';
import { Outs } from './told-out.ts';
import { SourceSnapshots } from './source-snapshots.ts';
import type { Epoch, MirrorDefinition, NodeName, NodeView } from './types.ts';
import { endsWithin } from './within.ts';

/** Times failureTimeout that writes wait for a lost target which is alive and can't confirm that it is out. */
const UNCONFIRMED_MAX = 5;

/** Times failureTimeout that those are waited for who were in sync when the mirror was handed over. */
const EXPECTED_WAIT_MAX = 3;

export interface SourceOptions {
  epoch: Epoch;
  file: BitmapFile;
  bitmapWasDamaged: boolean;
  regions: RegionMap;
  leg: LegInfo;
  /** Who was the source before, when it was somebody else. */
  previousSource: NodeName | null;
  /** What a failed sync may have lost on the own leg could not be written again. */
  syncFailed: boolean;
  /** Whether the node's own leg was made of zeroes and never written. */
  zeroed: boolean;
}

export class SourceRole implements MirrorHost, LinkOwner, MembersOwner, StallAsker {
  readonly ctx: NodeContext;
  readonly epoch: Epoch;
  readonly device: MirrorDevice;
  readonly export: MirrorExport;
  readonly prover: Prover;
  readonly members: Members;
  readonly snapshots: SourceSnapshots;
  readonly links = new Map<NodeName, TargetLink>();
  /** Links whose resync runs now. */
  readonly resyncs = new Set<TargetLink>();
  readonly changes: Changes;
  /** Targets of which the marks were lost with a damaged bitmap file: everything is marked for them, until a full resync has begun that says so (M13). */
  readonly damagedFor = new Set<NodeName>();
  readonly previousSource: NodeName | null;
  readonly #zeroed: boolean;
  readonly #startedAt: number;
  /** Targets that are told in every heartbeat that they are out. */
  readonly outs: Outs;
  /** An operator has ended the wait for the previous source, for these or (null) for all. */
  readonly waitEndedFor = new Set<NodeName>();
  /** An operator has released their next resync (LKDR_WAIT_TO_RESYNC). */
  readonly resyncReleased = new Set<NodeName>();
  /** Until the own leg has durably what it had not synced before this term. */
  inherited: Promise<void> = Promise.resolve();
  stopped = false;
  /** See `stopClean`: that the device stops is no failure. */
  endingInOrder = false;
  /** See `grow`. */
  growing = false;
  #served = false;
  #relieving = false;

  constructor(ctx: NodeContext, o: SourceOptions) {
    this.ctx = ctx;
    this.epoch = o.epoch;
    this.outs = new Outs(o.epoch);
    this.previousSource = o.previousSource;
    this.#zeroed = o.zeroed;
    const { clock } = ctx.env.io;
    this.#startedAt = clock.now();
    this.changes = new Changes((ms, f) => clock.after(ms, f));
    const marks = new Marks({ file: o.file, regions: o.regions, limits: ctx.env.settings.intent, log: ctx.env.log });
    const { definition } = ctx.record();
    this.device = new MirrorDevice({
      hub: ctx.env.hub,
      clock,
      log: ctx.env.log,
      local: { state: 'in', syncFailed: o.syncFailed, info: o.leg },
      marks,
      host: this,
      settings: ctx.env.settings,
      sizeBytes: definition.sizeBytes,
      sectorBytes: sectorSizeOf(definition),
      stallLimitMs: definition.failureTimeoutMs,
    });
    this.export = new MirrorExport(this.device, `NetRAID mirror ${ctx.tag}`);
    this.prover = new Prover(this.device);
    this.members = new Members(this);
    this.snapshots = new SourceSnapshots(this, definition.failureTimeoutMs);
    for (const [node, d] of Object.entries(definition.nodes)) if (node !== ctx.env.self) this.addLink(node, d.mode, d.foreignUri !== undefined);
    if (o.bitmapWasDamaged) for (const node of this.links.keys()) this.damagedFor.add(node);
  }

  addLink(node: NodeName, mode: 'sync' | 'async', foreign: boolean): TargetLink {
    const link = new TargetLink(this, node, this.device.sessions.add(node, mode, foreign));
    this.links.set(node, link);
    this.marks.markInHand(node);
    return link;
  }

  get marks(): Marks {
    return this.device.marks;
  }

  get timeoutMs(): number {
    return this.ctx.record().definition.failureTimeoutMs;
  }

  get retryMs(): number {
    return Math.max(50, this.timeoutMs / 5);
  }

  start(): void {
    this.prover.start();
    for (const l of this.links.values()) l.start();
  }

  /** Clients can connect. */
  get serving(): boolean {
    return this.#served && !this.stopped;
  }

  /** Clients may connect from now on. */
  serve(): void {
    this.#served = true;
  }

  /** Until every target that can be reached has joined, is being resynced, or can't be connected now; bounded. `expected`: lack nothing, and will come. */
  async connectFirst(expected: readonly NodeName[] = []): Promise<void> {
    const paused = (l: TargetLink): boolean => this.ctx.record().paused.includes(l.node);
    const settled = (l: TargetLink): boolean =>
      l.leg.inSession || l.queued || paused(l) || (l.problem !== '' && !expected.includes(l.node)) || l.answer?.kind === 'wait';
    await this.until(() => [...this.links.values()].every(settled), this.timeoutMs * (expected.length > 0 ? EXPECTED_WAIT_MAX : 1));
  }

  /** Or stopped, or so long. */
  until(holds: () => boolean, ms: number): Promise<boolean> {
    const now = (): number => this.ctx.env.io.clock.now();
    return this.changes.until(() => this.stopped || holds(), now, ms);
  }

  // -------------------------------------------------------------------------------------- what the device asks

  async targetLost(node: NodeName, reason: LossReason, newGeneration: boolean): Promise<void> {
    const foreign = this.links.get(node)?.foreign ?? false;
    this.outs.tell(node, reason.why);
    this.changes.notify();
    this.ctx.env.emit(this.ctx.tag, 'out-of-sync', `${node} has left the mirror: ${reason.why}`, { node, rule: ruleOfLoss(reason) });
    const confirmed = await this.#toldOrSilent(node, reason, foreign);
    await this.members.left(node, { confirmed, foreign }, newGeneration);
    this.changes.notify();
  }

  /** M2: true once the target has durably confirmed that it is out; false once it has been silent for long enough, or heeds in memory that it is. */
  async #toldOrSilent(node: NodeName, reason: LossReason, foreign: boolean): Promise<boolean> {
    if (foreign || !reason.wasInSync) return false;
    const { cluster, io } = this.ctx.env;
    const since = io.clock.now();
    let unknownThere = false;
    cluster.heartbeatNow(node);
    for (;;) {
      if (this.stopped) throw new Error('the source is stopping');
      if (cluster.connected(node)) {
        try {
          await cluster.request(node, 'session.out', { tag: this.ctx.tag, epoch: this.epoch, why: boundedWhy(reason.why) }, this.timeoutMs);
          this.device.refuseWrites(false);
          return true;
        } catch (e: unknown) {
          if (!(e instanceof ClusterError)) throw e;
          this.members.judge(e);
          // Without a sound record (M13), it can neither write this down nor ever take over.
          unknownThere = e.code === 'no-mirror';
        }
      }
      const waited = io.clock.now() - since;
      // Every heartbeat since `since` has said so (see `outs`). A daemon that runs and says nothing of the mirror is as silent.
      const silent = unknownThere || this.ctx.mirrorSilentForMs(node) >= this.timeoutMs || this.outs.isHeeded(node);
      // Cut off from most, a source may not go on without anybody: the others may have taken over by now.
      if (waited >= this.timeoutMs && silent && (await arbiterOf(this.ctx).standsBy(this.ctx, this.epoch))) {
        if (this.isStopped()) throw new Error('the source is stopping');
        this.device.refuseWrites(false);
        return false;
      }
      // Alive, and yet it does not write down that it is out: an error is an honest answer, and waiting has an end (M14).
      if (waited >= this.timeoutMs * UNCONFIRMED_MAX) this.device.refuseWrites(true);
      await this.changes.next(this.retryMs / 4);
    }
  }

  commitGeneration(): Promise<void> {
    return this.members.commitGeneration();
  }

  /** Seen is not served: who the last owner is, the records will say. */
  epochOver(why: string): void {
    this.ctx.superseded(this.epoch, why, false);
  }

  async localLegLost(why: string, onRead: boolean): Promise<boolean> {
    const { ctx } = this;
    ctx.env.emit(ctx.tag, 'leg-failed', `the local leg has failed: ${why}`, {});
    if (!(await this.members.recordLegBehind(onRead))) return false;
    this.device.needGeneration();
    return true;
  }

  /** The guard of M9: this process stood still for so long that others may have taken over. */
  stalled(): void {
    this.changes.notify();
    void askAfterStall(this);
  }

  /** `stopped` may have changed while we waited. */
  isStopped(): boolean {
    return this.stopped;
  }

  changed(): void {
    this.changes.notify();
    this.ctx.changed();
  }

  /** Too much would have to be resynced if we crashed now: what is proven lets go of its marks. */
  pressure(): void {
    if (this.#relieving) return;
    this.#relieving = true;
    void this.prover
      .prove()
      .then(async (proven) => {
        if (proven) await this.prover.makeRoom();
      })
      .finally(() => {
        this.#relieving = false;
      });
  }

  // ----------------------------------------------------------------------------------------- what links ask

  /** The target lacks nothing: from this turn on it counts. Record here, then there, then at the others. */
  async join(link: TargetLink, id: string, kind: 'none' | 'partial' | 'full'): Promise<void> {
    const { node, leg } = link;
    if (this.marks.outOfSync(node).count !== 0) throw new Error(`${node} still has marks`);
    this.device.sessions.require(leg);
    // Until it has written down that it joined, it is told of no change: the join itself carries them.
    this.members.sessionIds.delete(node);
    this.outs.delete(node);
    const { words } = this.outs;
    const { session } = leg;
    // A FLUSH answered while it was being resynced never reached it: what it vouches for must be durable there first (M3).
    if (!(await this.prover.prove())) throw new Error(`${node} could not be proven to have everything durably`);
    await this.members.join(link, { id, session, kind, words });
    this.resyncReleased.delete(node);
    this.damagedFor.delete(node);
    await this.#settleSource();
    this.ctx.env.emit(this.ctx.tag, 'in-sync', `${node} is in sync`, { node });
    this.changed();
  }

  /** TAG_source names the previous source while its marks are needed, and this node afterwards. */
  async #settleSource(): Promise<void> {
    const p = this.previousSource;
    const r = this.ctx.record();
    const needed = p !== null && r.definition.nodes[p] !== undefined && !r.inSync.includes(p);
    if (!needed || r.mergePending.length === 0) {
      if (needed && this.links.get(p)?.leg.phase !== 'in-sync') return;
      await this.ctx.own.setSource(this.ctx.env.self);
    }
  }

  /** The target has written down that it is being resynced: it is out of the in-sync set, and knows it. */
  async confirmedOut(node: NodeName, foreign: boolean): Promise<void> {
    const r = this.ctx.record();
    if (r.inSync.includes(node) || r.droppedUnconfirmed.includes(node)) {
      await this.ctx.store.update((x) => targetLeft(x, node, { confirmed: true, foreign }));
      this.device.needGeneration();
    }
  }

  isPreviousSource(node: NodeName): boolean {
    return this.ctx.record().mergePending.some((m) => m.from === node);
  }

  /** Union of the previous source's account into ours, durable before it may forget (design, "Merge"). */
  async mergeFrom(node: NodeName, view: NodeView): Promise<void> {
    if (!this.links.has(node)) return;
    await mergeAccount(this, node, view);
    this.changed();
  }

  outrank(theirs: MirrorDefinition): Promise<void> {
    return this.members.outrank(theirs);
  }

  /** Whether the wait for the previous source is over for this target. */
  waitEnded(node: NodeName): boolean {
    if (this.waitEndedFor.has(node)) return true;
    const sec = this.ctx.record().definition.waitForPreviousSourceSec;
    return sec >= 0 && this.ctx.env.io.clock.now() - this.#startedAt >= sec * 1000;
  }

  waitToResync(node: NodeName): boolean {
    return this.ctx.env.tunables.waitToResync && !this.resyncReleased.has(node);
  }

  mayResync(link: TargetLink): boolean {
    if (this.resyncs.size >= this.ctx.env.tunables.resyncsMax || this.#previousGoesFirst(link)) return false;
    const first = [...this.links.values()].filter((l) => l.queued).sort((a, b) => this.#rank(a) - this.#rank(b))[0];
    return first === link;
  }

  /** The previous source is about to be resynced itself: the others come after it. */
  #previousGoesFirst(link: TargetLink): boolean {
    const p = this.previousSource === null ? undefined : this.links.get(this.previousSource);
    if (p === undefined || p === link || p.leg.phase === 'in-sync' || this.ctx.record().paused.includes(p.node)) return false;
    return p.queued || this.resyncs.has(p) || (p.leg.phase === 'out' && p.problem === '' && this.ctx.env.cluster.connected(p.node));
  }

  #rank(l: TargetLink): number {
    return l.node === this.previousSource ? -1 : (this.ctx.record().definition.nodes[l.node]?.priority ?? Infinity);
  }

  zeroedAlike(view: NodeView): boolean {
    return this.#zeroed && this.ctx.record().legZeroed && view.record.legZeroed && !view.record.hadData && this.device.counters.writes === 0;
  }

  // -------------------------------------------------------------------------------------------------- the end

  /** Whether it has resolved within that time. */
  within(p: Promise<void>, ms: number): Promise<boolean> {
    return endsWithin(this.ctx.env.io.clock, p, ms);
  }

  /** From this turn on nothing is answered, and this node is not in service. */
  cease(): void {
    this.stopped = true;
    this.device.stop(Errno.ESHUTDOWN);
  }
}
