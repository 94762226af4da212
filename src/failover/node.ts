/**
 * One mirror on one node: its record, its flags, its role, and the carrying out of what `decide` says.
 *
 *        idle --- claim: epoch durable, told, decided again, last_owner, served ---> source
 *          ^                                                                           |
 *          +--- session.open: target of another's epoch (Replica, TargetRole) <--------+ superseded, stopped
 *
 * Invariants: one change of role at a time; ownership is durable before the first answer (M8); whoever has served or seen
 * a higher epoch ends ours at once (M9); nothing goes in service without a rule that says so (M11).
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import { ClusterError } from '../cluster/errors.ts';
import { type Timer } from '../io/types.ts';
import { provenEpoch, termOf } from './account.ts';
import { BitmapKeeper } from './bitmap-keeper.ts';
import { bitmapDamaged } from './checkpoints.ts';
import { type Claimant, Claims } from './claim.ts';
import { decide } from './decide.ts';
import { definitionHeard } from './definition.ts';
import { endNode, endTerm, stopClean } from './end-of-term.ts';
import type { NodeEnv } from './env.ts';
import { compareEpoch, isHigher } from './epoch.ts';
import type { FlagFiles } from './flags.ts';
import { askBeforeClaim, lookAfresh } from './fresh-views.ts';
import { grantAfterClaim } from './grant.ts';
import type { HeartbeatFacts } from './heartbeat-facts.ts';
import { Mutex } from './mutex.ts';
import { PeerViews } from './peer-views.ts';
import { Question } from './question.ts';
import { QuorumKeeper } from './quorum-keeper.ts';
import { resize } from './resize.ts';
import { writeDownSyncFailure } from './sync-failure.ts';
import { endedInDoubt, type RecordStore, viewSchema } from './record.ts';
import { Replica, type ReplicaSession } from './replica.ts';
import { type SourceRole } from './source.ts';
import { TargetRole } from './target.ts';
import { ToldOut } from './told-out.ts';
import type { Decision, Epoch, Facts, NodeName, NodeView, StateRecord } from './types.ts';
import { Switchovers } from './switchover.ts';
import { OwnFlags } from './own-flags.ts';
import { ownView } from './own-view.ts';

type Command = Facts['command'];

export class MirrorNode implements Claimant {
  readonly env: NodeEnv;
  readonly tag: string;
  readonly store: RecordStore;
  readonly flags: FlagFiles;
  readonly own: OwnFlags;
  readonly replica: Replica;
  readonly target: TargetRole;
  readonly switchovers: Switchovers;
  readonly toldOut: ToldOut;
  readonly #claims: Claims;
  readonly #roles = new Mutex();
  readonly #question = new Question();
  readonly #views: PeerViews;
  readonly #startedAt: number;
  readonly #onChanged: () => void;
  readonly #bitmap: BitmapKeeper;
  #source: SourceRole | undefined;
  #decision: Decision | undefined;
  #contact = false;
  #stalls = 0;
  #timer: Timer | undefined;
  #stopped = false;
  /** Nothing goes in or out of service, and no session begins, until `f` is done. */
  readonly whileRoleStays = <T>(f: () => Promise<T>): Promise<T> => this.#roles.run(f);
  /** Until the last failed sync of the replica is written down, or the record need not say so any more. */
  syncFailureWritten: Promise<void> = Promise.resolve();
  #demoting = false;
  /** Set while another node's claim is undecided: we answer nothing (M9). */
  #claimedBy: NodeName | undefined;
  readonly quorum: QuorumKeeper;

  constructor(env: NodeEnv, store: RecordStore, flags: FlagFiles, onChanged: () => void) {
    this.env = env;
    this.store = store;
    this.flags = flags;
    this.own = new OwnFlags(flags, store);
    this.tag = store.record.definition.tag;
    this.#onChanged = onChanged;
    this.#startedAt = env.io.clock.now();
    this.replica = new Replica(this, store.record.definition.nodes[env.self]?.leg ?? '', {
      ...endedInDoubt(store.record, env.io.bootId),
      regions: () => this.#bitmap.regions(),
      onSyncFailed: (s, quiet) => {
        this.#replicaSyncFailed(s, quiet);
      },
    });
    this.#claims = new Claims(this);
    this.#views = new PeerViews({ now: () => env.io.clock.now(), silentForMs: (n) => env.cluster.silentForMs(n) });
    this.quorum = new QuorumKeeper(this, () => this.inService);
    this.switchovers = new Switchovers(this, this.#claims, this.#roles);
    this.toldOut = new ToldOut(this);
    this.#bitmap = new BitmapKeeper(env.io.files, env.root, () => this.record());
    this.target = new TargetRole({
      ctx: this,
      replica: this.replica,
      bitmap: () => this.#bitmap.file,
      resetBitmap: (geometryChanged) => this.#bitmap.reset(geometryChanged ?? false),
      keepUnsynced: () => this.#bitmap.addIntent(this.replica.unsynced()),
    });
  }

  /** Opens the bitmap file; a damaged one is said aloud and stays as it is until a full account replaces it (M13). */
  async open(): Promise<void> {
    await this.flags.refresh();
    const damage = await this.#bitmap.open();
    if (damage !== '') {
      this.env.log.error('the bitmap file is damaged: a full resync follows', { tag: this.tag, why: damage });
      this.env.emit(this.tag, 'bitmap-damaged', `the bitmap file is damaged (${damage}): a full resync follows`, {});
      await this.store.update((r) => bitmapDamaged(r, damage));
    }
    // A claim of an earlier life was not served; others would wait for it.
    if (this.record().claim !== null) await this.store.update((r) => ({ ...r, claim: null }));
  }

  start(): void {
    const period = Math.max(20, this.record().definition.failureTimeoutMs / 5);
    const next = (): void => {
      this.#timer = this.env.io.clock.after(period, () => {
        void this.#tick().finally(() => {
          if (!this.#stopped) next();
        });
      });
    };
    next();
  }

  // ------------------------------------------------------------------------------------------- what others see

  record(): StateRecord {
    return this.store.record;
  }

  get source(): SourceRole | undefined {
    return this.#source;
  }

  get bitmap(): BitmapFile | undefined {
    return this.#bitmap.file;
  }

  get keeper(): BitmapKeeper {
    return this.#bitmap;
  }

  get stopped(): boolean {
    return this.#stopped;
  }

  get stalls(): number {
    return this.#stalls;
  }

  views(): NodeView[] {
    return this.#views.all().map(([, v]) => v);
  }

  /** The claim has been carried through: this is the source now. */
  becomes(source: SourceRole): void {
    this.#source = source;
    this.quorum.begin();
    for (const [n, v] of this.#views.all()) this.#judgePeer(n, v);
  }

  get decision(): Decision | undefined {
    return this.#decision;
  }

  get inService(): boolean {
    return this.#source !== undefined && !this.#source.stopped;
  }

  view(): NodeView {
    return ownView({
      env: this.env,
      record: this.record(),
      flags: this.flags.flags,
      others: this.others(),
      silentForMs: (n) => this.#views.silentForMs(n),
      file: this.#bitmap.file,
      bitmapDamaged: this.#bitmap.damaged,
      legDoubtful: this.replica.doubtful,
      inService: this.inService,
      contact: this.#contact && !this.#mayBeLeftOut(),
      decision: this.#decision,
      session: this.#liveSession(),
    });
  }

  /** A session ends with its source, also when nobody is there to end it. */
  #liveSession(): { joined: boolean } | undefined {
    const { session } = this.replica;
    if (session === undefined || this.peerView(session.from)?.inService === false) return undefined;
    return this.silentForMs(session.from) < this.record().definition.failureTimeoutMs ? session : undefined;
  }

  peerView(node: NodeName): NodeView | undefined {
    return this.#views.get(node);
  }

  silentForMs(node: NodeName): number {
    return this.env.cluster.silentForMs(node) ?? Infinity;
  }

  mirrorSilentForMs(node: NodeName): number {
    return this.#views.silentForMs(node) ?? Infinity;
  }

  async askView(node: NodeName, timeoutMs: number): Promise<NodeView | null> {
    const raw = await this.env.cluster.request(node, 'view', { tag: this.tag }, timeoutMs);
    const view = raw === null ? undefined : viewSchema.parse(raw);
    this.heard(node, view);
    return view ?? null;
  }

  /** A peer has spoken of this mirror; undefined: of others only. */
  heard(node: NodeName, view: NodeView | undefined): void {
    if (!this.#views.heard(node, view) || view === undefined) return;
    if (view.node !== node || view.record.definition.createId !== this.record().definition.createId) return;
    // Somebody has served after our source: when that falls silent, nobody is to take over from it any more.
    if (isHigher(provenEpoch(view.record), termOf(this.record()))) this.#contact = false;
    this.#judgePeer(node, view);
    this.#takeDefinition(view);
    this.#source?.changes.notify();
  }

  /** A heartbeat of a peer. Only these bring contact with a source: with its view comes its word that we are out, if there is one. */
  heartbeat(peer: NodeName, f: HeartbeatFacts[string] | undefined): void {
    const r = f?.view.node === peer && f.view.inService ? f.view.record : undefined;
    // A source that does not count us as in sync is no evidence that we are.
    const ours = r?.definition.createId === this.record().definition.createId && this.flags.flags.source === peer;
    if (r !== undefined && ours && r.inSync.includes(this.env.self)) this.#inContact();
    this.heard(peer, f?.view);
    if (f === undefined) return;
    if (f.out !== null && this.toldOut.heard(f.out)) this.#contact = false;
    this.#source?.outs.heard(peer, f.heeds);
  }

  /** No candidate is made of a node whose leg may lack what a failed sync gave up: a join ends that doubt, and brings the contact (M3). */
  #inContact(): void {
    this.#contact = !this.replica.doubtful && this.toldOut.heeds === null;
  }

  /** Our source lived for longer than it waits for us, and nothing came through that would say that we are out: it may have gone on (M2). */
  #mayBeLeftOut(): boolean {
    const source = termOf(this.record())?.owner;
    return source !== undefined && this.env.cluster.mumblingForMs(source) >= this.record().definition.failureTimeoutMs;
  }

  /** What heartbeats to `peer` say of this mirror. */
  factsFor(peer: NodeName): HeartbeatFacts[string] {
    return { view: this.view(), out: this.#source?.outs.wordFor(peer) ?? null, heeds: this.toldOut.heeds };
  }

  changed(): void {
    this.#onChanged();
  }

  others(): NodeName[] {
    return Object.entries(this.record().definition.nodes)
      .filter(([n, d]) => n !== this.env.self && d.foreignUri === undefined)
      .map(([n]) => n);
  }

  #takeDefinition(view: NodeView): void {
    // In a session, its source says what holds.
    const other = this.#liveSession() !== undefined && this.replica.session?.from !== view.node;
    if (other || this.inService || definitionHeard(this.record(), view) === null) return;
    this.store
      .update((r) => ({ ...r, definition: definitionHeard(r, view) ?? r.definition }))
      .catch((e: unknown) => {
        this.env.log.error('a change of the mirror could not be written down', { tag: this.tag, error: String(e) });
      });
  }

  // ---------------------------------------------------------------------------------------------------- fencing

  #judgePeer(node: NodeName, view: NodeView): void {
    const source = this.#source;
    if (source === undefined || source.stopped) return;
    const served = view.record.epochServed;
    if (served !== null && compareEpoch(served, source.epoch) === 'higher') {
      this.superseded(served, `${node} knows epoch ${String(served.number)} of ${served.owner} as served`);
      return;
    }
    const claim = view.record.claim;
    if (claim !== null && compareEpoch(claim, source.epoch) === 'higher') {
      this.#claimedBy = node;
      source.device.suspend('claim');
    }
    // A claim that was given up still leaves its epoch seen: `decide` ends this term then, and a higher one begins.
  }

  superseded(by: Epoch, why: string, dropOwnership = true): void {
    const source = this.#source;
    if (source === undefined || this.#demoting) return;
    this.#demoting = true;
    this.env.log.warn('superseded: this node stops answering', { tag: this.tag, epoch: by.number, owner: by.owner, why });
    source.stopped = true;
    source.device.stop(108);
    this.own.seenSoon(by, this.env.log);
    void this.#roles.run(async () => {
      try {
        await this.leaveService(false, dropOwnership);
        this.note({ action: 'demote', rule: 'superseded', why });
      } catch (e: unknown) {
        this.env.log.error('the mirror could not be taken out of service in order', { tag: this.tag, error: String(e) });
      } finally {
        this.#demoting = false;
      }
    });
  }

  /** This process stood still: who was heard before it may have been given up by now. */
  stalled(ms: number): void {
    if (ms < this.record().definition.failureTimeoutMs) return;
    this.#stalls += 1;
    this.#contact = false;
    this.#source?.device.stalledFor(ms);
  }

  // --------------------------------------------------------------------------------------------------- deciding

  facts(command: Command, claiming: boolean): Facts {
    const peers = this.#views.facts(this.others());
    const { failureTimeoutMs } = this.record().definition;
    const now = this.env.io.clock.now();
    return {
      self: this.view(),
      peers,
      failureTimeoutMs,
      upForMs: now - this.#startedAt,
      confirm: this.#question.facts(now, { peers, failureTimeoutMs }, this.inService),
      command,
      majority: this.quorum.heard(),
      claiming,
    };
  }

  async #tick(): Promise<void> {
    try {
      await this.#look();
    } catch (e: unknown) {
      this.env.log.error('a decision could not be carried out', { tag: this.tag, error: String(e) });
    }
  }

  async #look(): Promise<void> {
    const source = this.#source;
    // What a later life of the source says tells nothing of what it did before: only one that counts us as in sync ends this.
    if (this.#mayBeLeftOut()) this.#contact = false;
    if (source !== undefined) {
      if (source.device.stopped && !source.stopped && !source.endingInOrder) {
        this.superseded(source.epoch, 'the device stopped answering after a failure', false);
        return;
      }
      source.device.tick();
      if (this.quorum.heard() !== null) this.quorum.keep(source, this.quorum.heard() === false); // Whatever keeps us from deciding (M10).
      this.#forgetClaim(source);
      source.changes.notify();
    }
    if (this.#stopped || this.switchovers.roleIsHeld()) return;
    // Whatever made it, a claim not being carried out holds all others up.
    if (this.record().claim !== null) await this.store.update((r) => ({ ...r, claim: null }));
    await this.flags.refresh();
    if (this.stopped) return;
    const d = decide(this.facts({ kind: 'none' }, false));
    this.note(d);
    if (source !== undefined) {
      if (d.action === 'demote') this.superseded(d.epochSeen ?? source.epoch, d.why, d.setFlags?.lastOwner === false);
      this.quorum.keep(source, d.action === 'suspend');
      return;
    }
    if (d.action === 'go-in-service') await askBeforeClaim(this, d.rule);
    if (d.action !== 'go-in-service')
      await this.own.apply(d, () => {
        this.env.emit(this.tag, 'data-corrupt', d.why, { rule: d.rule });
      });
    else if (!this.switchovers.roleIsHeld()) await this.#roles.run(() => this.#claims.run({ kind: 'none' }));
  }

  /** Another's claim holds us back until it is lost, as it is where its mirror was deleted, or has nothing higher to show than our epoch. */
  #forgetClaim(source: SourceRole): void {
    const by = this.#claimedBy;
    if (by === undefined) return;
    const r = this.#views.get(by)?.record;
    const higher = r === undefined || [r.claim, r.epochSeen, r.epochServed].some((e) => !['lower', 'equal'].includes(compareEpoch(e, source.epoch)));
    if (higher && this.mirrorSilentForMs(by) < this.record().definition.failureTimeoutMs) return;
    this.#claimedBy = undefined;
    source.device.unsuspend('claim');
  }

  note(d: Decision): void {
    if (this.#question.decided(d, this.env.io.clock.now()))
      this.env.emit(this.tag, 'confirm-failover', d.why, { rule: d.rule, node: d.asks?.lost ?? null });
    const before = this.#decision;
    // Going on in service is no new decision: what brought the node there stays to be seen.
    if (d.action === 'stay-in-service' && d.rule !== 'split-brain' && before?.action === 'go-in-service') return;
    this.#decision = d;
    if (before?.rule === d.rule && before.action === d.action) return;
    this.env.log.info('decision', { tag: this.tag, action: d.action, rule: d.rule, why: d.why });
    this.env.emit(this.tag, d.rule === 'split-brain' ? 'split-brain' : 'decision', `${d.action}: ${d.why}`, { rule: d.rule, action: d.action });
    this.changed();
  }

  /** An operator's command to go in service; the decision says whether it was done, and by which rule. */
  async goInService(command: Command): Promise<Decision> {
    if (this.switchovers.underWay) return { action: 'wait', rule: 'better-candidate', why: 'a switchover is under way' };
    // Asked before roles are held: whoever waits for them, such as our source, waits for no third node.
    if (!this.inService) await lookAfresh(this);
    return await this.#roles.run(async () => {
      if (this.inService) return { action: 'stay-in-service', rule: 'evidence', why: 'the mirror is in service here already' };
      await this.flags.refresh();
      return await this.#claims.run(command);
    });
  }

  /** An operator's answer to the question whether to take over; null: nothing is asked. */
  async confirm(yes: boolean): Promise<Decision | null> {
    if (!this.#question.answer(yes ? 'yes' : 'no')) return null;
    await lookAfresh(this);
    return await this.#roles.run(() => this.#claims.run({ kind: 'none' }));
  }

  // ------------------------------------------------------------------------------------------- out of service

  /** Takes the mirror out of service in order. `byOperator`: it stays out until a command says otherwise. */
  async goOutOfService(byOperator: boolean): Promise<void> {
    if (this.inService)
      await this.env.hooks.before('out-of-service', this.tag, { why: 'the mirror is taken out of service', rule: 'stopped-on-purpose' });
    await this.#roles.run(async () => {
      if (this.#source !== undefined) await this.leaveService(true, false);
      if (!byOperator) return;
      await this.store.update((r) => ({ ...r, keepOut: true }));
      this.note(decide(this.facts({ kind: 'none' }, false)));
    });
  }

  /** `handedOver`: it has ceased already, with everything proven, and tells nobody to wait for it. */
  async leaveService(clean: boolean, dropOwnership: boolean, handedOver = false): Promise<void> {
    const source = this.#source;
    if (source === undefined) return;
    await Promise.all([this.env.exports.remove(this.tag, source.export, clean ? 5000 : 200), source.snapshots.end()]);
    let end: { clean: boolean; told: readonly NodeName[] | null } = { clean: handedOver, told: null };
    try {
      if (clean && !handedOver) end = await stopClean(source);
      end.clean = (await endTerm(source, this.replica)) && end.clean;
      const { told } = end;
      await this.store.update((r) => {
        const agreed = told !== null && r.inSync.every((n) => n === r.node || told.includes(n));
        return { ...r, session: { role: 'source', clean: end.clean }, stoppedOnPurpose: end.clean && agreed };
      });
      if (dropOwnership) await this.own.setLastOwner(false);
    } finally {
      // Out of service it is, whether or not the disk took note: an unclean end is what the record says already.
      source.stopped = true;
      this.#source = undefined;
      if (source.device.local.syncFailed) this.replica.doubtful = true;
      this.#claimedBy = undefined;
    }
    const rule = clean ? 'stopped-on-purpose' : 'superseded';
    this.env.emit(this.tag, 'out-of-service', `out of service on ${this.env.self}${end.clean ? '' : ' (not cleanly)'}`, { clean: end.clean, rule });
    this.changed();
  }

  /** Another node's claim: written down, with our in-sync marks for the old source and for ourselves cleared, before it is answered. */
  async claimed(peer: NodeName, epoch: Epoch): Promise<{ accepted: boolean; why: string; view: NodeView }> {
    const no = (why: string): { accepted: boolean; why: string; view: NodeView } => ({ accepted: false, why, view: this.view() });
    if (epoch.owner !== peer) return no(`${peer} claims an epoch of ${epoch.owner}`);
    const source = this.#source;
    if (source !== undefined && this.inService) {
      if (!['lower', 'equal'].includes(compareEpoch(epoch, source.epoch))) {
        this.#claimedBy = peer;
        source.device.suspend('claim');
      }
      return no(`${this.env.self} is in service`);
    }
    if (this.#stopped) return no(`${this.env.self} is stopping`);
    if (this.#claims.entering) return no(`${this.env.self} is going in service`);
    const own = this.record().claim;
    if (own !== null) return no(`${this.env.self} has a claim of its own, epoch ${String(own.number)}`);
    let accepted = false as boolean;
    await this.store.update((r) => {
      const order = compareEpoch(epoch, r.epochSeen);
      accepted = (order === 'higher' || order === 'equal') && r.claim === null && !this.inService && !this.#claims.entering;
      if (!accepted) return r;
      return { ...r, epochSeen: epoch, inSync: [], grant: grantAfterClaim(r) };
    });
    // After the epoch is down, no session of an earlier one can begin, and the one that runs answers nothing from here on; whoever uses
    // the leg next waits until it has done with that (M4).
    if (accepted) this.replica.leave();
    return accepted
      ? { accepted, why: '', view: this.view() }
      : no(`${this.env.self} has seen epoch ${String(this.record().epochSeen?.number ?? 0)}`);
  }

  /** Runs one of the target's steps; a change of role in progress goes first. `epoch`: of the source that asks, which serves in it. */
  async asTarget<T>(epoch: Epoch, f: (t: TargetRole) => Promise<T>, ours = true): Promise<T> {
    this.#refuseAsSource(epoch);
    if (this.#roles.isFull) throw new ClusterError('io', `${this.env.self} is still at work on what it was asked before`);
    return await this.#roles.run(async () => {
      this.#refuseAsSource(epoch);
      if (this.#stopped) throw new ClusterError('stopping', `${this.env.self} is stopping`);
      const answer = await f(this.target);
      // Whoever asks this of us and is not refused is our source.
      if (ours) this.#inContact();
      return answer;
    });
  }

  /** Whoever asks a source for something serves: if in a higher epoch, we stop answering at once (M9). */
  #refuseAsSource(epoch: Epoch): void {
    const source = this.#source;
    if (source === undefined || source.stopped) return;
    if (compareEpoch(epoch, source.epoch) === 'higher') this.superseded(epoch, `${epoch.owner} serves in epoch ${String(epoch.number)}`, false);
    throw new ClusterError('in-service', `${this.env.self} is in service itself, in epoch ${String(source.epoch.number)}`);
  }

  #replicaSyncFailed(s: ReplicaSession | undefined, quiet: Promise<void>): void {
    this.#contact = false;
    this.syncFailureWritten = writeDownSyncFailure(this, this.#bitmap, {
      unsynced: () => this.replica.unsynced(),
      quiet,
      epoch: s?.epoch ?? this.record().epochInSync,
      holds: () => !this.#stopped && (this.replica.session === undefined || this.replica.session === s),
    });
  }

  /** Ends everything, and says in the log what a disk did not take. `clean`: in order. `allowed`: asked when no role changes any more; where it throws, all goes on as before. */
  async stop(clean: boolean, allowed?: () => void): Promise<void> {
    allowed?.();
    if (clean && this.inService) await this.env.hooks.before('out-of-service', this.tag, { why: 'the daemon stops', rule: 'stopped-on-purpose' });
    const end = (): void => {
      this.#stopped = true;
      this.#timer?.cancel();
    };
    if (allowed === undefined) end();
    await this.#roles.run(async () => {
      allowed?.();
      end();
      await endNode(this, clean).catch((e: unknown) => {
        this.env.log.error('a mirror could not be stopped in order', { tag: this.tag, error: String(e) });
      });
    });
  }

  /** Another size, if `allowed` does not throw; see `resize`. */
  async resize(sizeBytes: number, allowed: () => Promise<void>): Promise<void> {
    await this.#roles.run(async () => {
      await allowed();
      await resize(this, sizeBytes);
    });
    this.changed();
  }
}
