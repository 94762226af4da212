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
import { BitmapFile, DamagedBitmapError } from '../bitmap/bitmap-file.ts';
import { RegionMap } from '../bitmap/regions.ts';
import { ClusterError } from '../cluster/errors.ts';
import { IoError, type LegInfo, type Timer } from '../io/types.ts';
import type { NodeContext } from './context.ts';
import { decide } from './decide.ts';
import type { NodeEnv } from './env.ts';
import { compareEpoch, highestEpoch, nextEpoch } from './epoch.ts';
import type { FlagFiles } from './flags.ts';
import { Mutex } from './mutex.ts';
import { enteringAccount } from './merge.ts';
import { bitmapPath } from './paths.ts';
import { claimAnswerSchema } from './protocol.ts';
import { type RecordStore, viewSchema } from './record.ts';
import { Replica } from './replica.ts';
import { SourceRole } from './source.ts';
import { TargetRole } from './target.ts';
import type { Decision, Epoch, Facts, NodeName, NodeView, StateRecord } from './types.ts';
import { ownState } from './views.ts';

type Command = Facts['command'];

export class MirrorNode implements NodeContext {
  readonly env: NodeEnv;
  readonly tag: string;
  readonly store: RecordStore;
  readonly flags: FlagFiles;
  readonly replica: Replica;
  readonly target: TargetRole;
  readonly #roles = new Mutex();
  readonly #views = new Map<NodeName, NodeView>();
  readonly #startedAt: number;
  readonly #onChanged: () => void;
  #bitmap: BitmapFile | undefined;
  #bitmapDamaged = '';
  #source: SourceRole | undefined;
  #decision: Decision | undefined;
  #contact = false;
  #timer: Timer | undefined;
  #stopped = false;
  #demoting = false;
  /** Set while another node's claim is undecided: we answer nothing (M9). */
  #claimedBy: NodeName | undefined;

  constructor(env: NodeEnv, store: RecordStore, flags: FlagFiles, onChanged: () => void) {
    this.env = env;
    this.store = store;
    this.flags = flags;
    this.tag = store.record.definition.tag;
    this.#onChanged = onChanged;
    this.#startedAt = env.io.clock.now();
    this.replica = new Replica(env, store.record.definition.nodes[env.self]?.leg ?? '');
    this.target = new TargetRole({
      ctx: this,
      replica: this.replica,
      bitmap: () => this.#bitmap,
      resetBitmap: (geometryChanged) => this.#resetBitmap(geometryChanged ?? false),
    });
  }

  /** Opens the bitmap file; a damaged one is said aloud and stays as it is until a full account replaces it (M13). */
  async open(): Promise<void> {
    await this.readFlags();
    const { definition } = this.record();
    const meta = this.#bitmapMeta();
    try {
      const opened = await BitmapFile.open(this.env.io.files, bitmapPath(this.env.root, this.tag), meta);
      this.#bitmap = opened.file;
    } catch (e: unknown) {
      if (e instanceof DamagedBitmapError || (e instanceof IoError && e.code === 'ENOENT')) {
        this.#bitmapDamaged = e.message;
        this.env.log.error('the bitmap file is damaged: a full resync follows', { tag: definition.tag, why: e.message });
        this.env.emit(this.tag, 'bitmap-damaged', `the bitmap file is damaged (${e.message}): a full resync follows`, {});
        await this.store.update((r) => ({ ...r, accountComplete: [] }));
      } else throw e;
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
    return this.#bitmap;
  }

  get decision(): Decision | undefined {
    return this.#decision;
  }

  get inService(): boolean {
    return this.#source !== undefined && !this.#source.stopped;
  }

  view(): NodeView {
    const r = this.record();
    const regionBytes = r.definition.regionSizeBytes;
    const outOfSyncBytes: Record<NodeName, number> = {};
    const file = this.#bitmap;
    if (file !== undefined) {
      for (const n of Object.keys(r.definition.nodes)) {
        const count = file.mapNames.includes(`oos:${n}`) ? file.map(`oos:${n}`).count : 0;
        if (n !== this.env.self) outOfSyncBytes[n] = Math.min(count * regionBytes, r.definition.sizeBytes);
      }
    }
    const silentForMs: Record<NodeName, number> = {};
    for (const n of this.#others()) {
      const ms = this.env.cluster.silentForMs(n);
      if (ms !== undefined) silentForMs[n] = ms;
    }
    const live = {
      node: this.env.self,
      record: r,
      flags: this.flags.flags,
      inService: this.inService,
      bitmapDamaged: this.#bitmapDamaged !== '',
      intentBytes: file === undefined ? 0 : Math.min(file.map('intent').count * regionBytes, r.definition.sizeBytes),
      outOfSyncBytes,
      daemonStart: this.env.daemonStart,
      contactWithSource: this.#contact,
      silentForMs,
    };
    return { ...live, state: ownState(live, this.#decision, this.replica.session) };
  }

  peerView(node: NodeName): NodeView | undefined {
    return this.#views.get(node);
  }

  silentForMs(node: NodeName): number {
    return this.env.cluster.silentForMs(node) ?? Infinity;
  }

  async askView(node: NodeName, timeoutMs: number): Promise<NodeView | null> {
    const raw = await this.env.cluster.request(node, 'view', { tag: this.tag }, timeoutMs);
    if (raw === null) return null;
    const view = viewSchema.parse(raw);
    this.heard(node, view);
    return view;
  }

  /** A peer has spoken of this mirror. */
  heard(node: NodeName, view: NodeView): void {
    if (view.node !== node || view.record.definition.createId !== this.record().definition.createId) {
      this.#views.set(node, view);
      return;
    }
    this.#views.set(node, view);
    if (view.inService && this.flags.flags.source === node) this.#contact = true;
    this.#judgePeer(node, view);
    this.#takeDefinition(view);
    this.#source?.changes.notify();
  }

  /** What heartbeats to `peer` say of this mirror. */
  factsFor(peer: NodeName): { view: NodeView; out: { epoch: Epoch; why: string } | null } {
    const why = this.#source?.outs.get(peer);
    const epoch = this.#source?.epoch;
    return { view: this.view(), out: why === undefined || epoch === undefined ? null : { epoch, why } };
  }

  changed(): void {
    this.#onChanged();
  }

  #others(): NodeName[] {
    return Object.entries(this.record().definition.nodes)
      .filter(([n, d]) => n !== this.env.self && d.foreignUri === undefined)
      .map(([n]) => n);
  }

  #takeDefinition(view: NodeView): void {
    const theirs = view.record.definition;
    const ours = this.record().definition;
    if (theirs.revision <= ours.revision || theirs.sizeBytes !== ours.sizeBytes || theirs.tag !== ours.tag || !view.inService || this.inService)
      return;
    this.store
      .update((r) => (theirs.revision > r.definition.revision ? { ...r, definition: theirs } : r))
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
    void this.#roles.run(async () => {
      try {
        await this.#leaveService(false, dropOwnership);
        this.#note({ action: 'demote', rule: 'superseded', why });
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
    this.#contact = false;
    this.#source?.device.stalledFor(ms);
  }

  // --------------------------------------------------------------------------------------------------- deciding

  facts(command: Command, claiming: boolean): Facts {
    const peers: Facts['peers'] = {};
    for (const n of this.#others()) {
      const view = this.#views.get(n);
      const silentForMs = this.env.cluster.silentForMs(n);
      if (view !== undefined && silentForMs !== undefined) peers[n] = { view, silentForMs };
    }
    return {
      self: this.view(),
      peers,
      failureTimeoutMs: this.record().definition.failureTimeoutMs,
      upForMs: this.env.io.clock.now() - this.#startedAt,
      command,
      majority: this.#hearsMajority(),
      claiming,
    };
  }

  /** In service under arbiter `majority`: whether most nodes can be heard now; null: nobody asks. */
  #hearsMajority(): boolean | null {
    const { arbiter, failureTimeoutMs } = this.record().definition;
    if (arbiter !== 'majority' || !this.inService) return null;
    const others = this.#others();
    const heard = others.filter((n) => this.silentForMs(n) < failureTimeoutMs).length;
    return (heard + 1) * 2 > others.length + 1;
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
    if (source !== undefined) {
      source.device.tick();
      if (this.#claimedBy !== undefined && this.silentForMs(this.#claimedBy) >= this.record().definition.failureTimeoutMs) {
        this.#claimedBy = undefined;
        source.device.unsuspend('claim');
      }
      source.changes.notify();
    }
    if (this.#roles.busy || this.#stopped) return;
    await this.readFlags();
    const d = decide(this.facts({ kind: 'none' }, false));
    if (source !== undefined) {
      this.#note(d);
      if (d.action === 'demote') this.superseded(source.epoch, d.why, d.setFlags?.lastOwner === false);
      if (d.action === 'suspend') source.device.suspend('no quorum');
      else source.device.unsuspend('no quorum');
      return;
    }
    this.#note(d);
    if (d.action !== 'go-in-service') await this.#applyFlags(d);
    else await this.#roles.run(() => this.#claim({ kind: 'none' }));
  }

  #note(d: Decision): void {
    const before = this.#decision;
    // Going on in service is no new decision: what brought the node there stays to be seen.
    if (d.action === 'stay-in-service' && d.rule !== 'split-brain' && before?.action === 'go-in-service') return;
    this.#decision = d;
    if (before?.rule === d.rule && before.action === d.action) return;
    this.env.log.info('decision', { tag: this.tag, action: d.action, rule: d.rule, why: d.why });
    this.env.emit(this.tag, d.rule === 'split-brain' ? 'split-brain' : 'decision', `${d.action}: ${d.why}`, { rule: d.rule, action: d.action });
    this.changed();
  }

  async #applyFlags(d: Decision): Promise<void> {
    const { dataCorrupt, lastOwner } = d.setFlags ?? {};
    if (dataCorrupt !== undefined && dataCorrupt !== this.flags.flags.dataCorrupt) {
      await this.setDataCorrupt(dataCorrupt);
      if (dataCorrupt) this.env.emit(this.tag, 'data-corrupt', d.why, { rule: d.rule });
    }
    if (lastOwner !== undefined && lastOwner !== this.flags.flags.lastOwner) await this.setLastOwner(lastOwner);
  }

  async readFlags(): Promise<void> {
    await this.flags.refresh();
  }

  async setLastOwner(on: boolean): Promise<void> {
    await this.flags.setLastOwner(on);
  }

  async setSource(node: NodeName | null): Promise<void> {
    await this.flags.setSource(node);
  }

  /** The record remembers that the flag is ours: one that is gone without us was deleted by an operator. */
  async setDataCorrupt(on: boolean): Promise<void> {
    if (on) {
      await this.flags.setDataCorrupt(true);
      await this.store.update((r) => ({ ...r, dataCorruptSet: true }));
    } else {
      await this.store.update((r) => ({ ...r, dataCorruptSet: false }));
      await this.flags.setDataCorrupt(false);
    }
  }

  /** An operator's command to go in service; the decision says whether it was done, and by which rule. */
  async goInService(command: Command): Promise<Decision> {
    return await this.#roles.run(async () => {
      if (this.inService) return { action: 'stay-in-service', rule: 'evidence', why: 'the mirror is in service here already' };
      await Promise.all(this.#others().map((n) => this.#freshView(n)));
      return await this.#claim(command);
    });
  }

  async #freshView(node: NodeName): Promise<void> {
    if (!this.env.cluster.connected(node)) return;
    try {
      await this.askView(node, this.record().definition.failureTimeoutMs);
    } catch (e: unknown) {
      // Whoever does not answer is judged by its silence.
      if (!(e instanceof ClusterError)) throw e;
      this.env.log.info('a node did not say how it sees the mirror', { tag: this.tag, node, error: e.message });
    }
  }

  /** The claim, step by step (design, "Going in service"). */
  async #claim(command: Command): Promise<Decision> {
    const first = decide(this.facts(command, false));
    this.#note(first);
    if (first.action !== 'go-in-service') return first;
    const seen = highestEpoch(this.record().epochSeen, ...[...this.#views.values()].flatMap((v) => [v.record.epochSeen, v.record.claim]));
    const epoch = nextEpoch(seen, this.env.self, this.env.io.chance);
    const before = this.record();
    await this.store.update((r) => ({ ...r, claim: epoch, epochSeen: epoch, keepOut: false }));
    this.env.cluster.heartbeatNow();
    const { refused, votes } = await this.#tellClaim(epoch);
    const facts = { ...this.facts(command, true), majority: votes * 2 > this.#others().length + 1 };
    const second = refused === '' ? decide(facts) : ({ action: 'wait', rule: first.rule, why: refused } as const);
    if (second.action !== 'go-in-service' || this.#stopped) {
      await this.store.update((r) => ({ ...r, claim: null }));
      this.#note(second);
      this.env.cluster.heartbeatNow();
      return second.action === 'go-in-service' ? { ...second, action: 'wait' } : second;
    }
    try {
      await this.#serve(epoch, before, second, command.kind === 'force');
    } catch (e: unknown) {
      await this.store.update((r) => ({ ...r, claim: null }));
      throw e;
    }
    return second;
  }

  /** Every reachable node writes the claim down: its durable vote. Who stands in its way, if anybody, and the votes, own included. */
  async #tellClaim(epoch: Epoch): Promise<{ refused: string; votes: number }> {
    let votes = 1;
    const answers = await Promise.all(
      this.#others().map(async (n) => {
        if (!this.env.cluster.connected(n)) return '';
        try {
          const raw = await this.env.cluster.request(n, 'claim', { tag: this.tag, epoch }, this.record().definition.failureTimeoutMs);
          const a = claimAnswerSchema.parse(raw);
          if (a.view !== null && a.view !== undefined) this.heard(n, viewSchema.parse(a.view));
          if (a.accepted) votes += 1;
          return a.accepted ? '' : `${n} has not accepted epoch ${String(epoch.number)}: ${a.why}`;
        } catch (e: unknown) {
          if (!(e instanceof ClusterError)) throw e;
          // Gone while asked: not reachable. Heard since then: it has not accepted, and the claim is given up.
          return this.silentForMs(n) < this.record().definition.failureTimeoutMs && e.code !== 'no-mirror'
            ? `${n} has not answered the claim: ${e.message}`
            : '';
        }
      }),
    );
    return { refused: answers.find((a) => a !== '') ?? '', votes };
  }

  async #serve(epoch: Epoch, before: StateRecord, d: Decision, forced: boolean): Promise<void> {
    const previous = this.flags.flags.source !== null && this.flags.flags.source !== this.env.self ? this.flags.flags.source : null;
    await this.replica.end();
    const leg = await this.#openLeg();
    const file = await this.#bitmapForService();
    await this.setLastOwner(true);
    if (this.flags.flags.dataCorrupt || this.record().dataCorruptSet === true) await this.setDataCorrupt(false);
    if (previous === null) await this.setSource(this.env.self);
    const confirmed = this.#others().filter((n) => this.#views.get(n)?.record.epochSeen?.random === epoch.random);
    await this.store.update((r) => ({
      ...r,
      ...enteringService({ ...before, mergePending: r.mergePending }, confirmed),
      epochServed: epoch,
      epochInSync: epoch,
      claim: null,
      toldOut: null,
      legBehind: null,
      resyncingFrom: null,
      stoppedOnPurpose: false,
      session: { role: 'source', clean: false },
    }));
    const others = Object.keys(before.definition.nodes).filter((n) => n !== this.env.self);
    // What may differ after a crash may differ on every other leg: the intent of the last life becomes their marks.
    const intent = file.map('intent');
    for (const n of others) file.map(`oos:${n}`).or(intent);
    await file.flush();
    intent.clearAll();
    const source = new SourceRole(this, {
      epoch,
      file,
      bitmapWasDamaged: this.#bitmapDamaged !== '',
      regions: this.#regions(),
      leg,
      previousSource: previous,
      zeroed: before.legZeroed && !before.hadData,
    });
    this.#bitmapDamaged = '';
    source.device.needGeneration();
    this.#source = source;
    source.device.tick();
    source.start();
    if (forced) await source.commitGeneration();
    await source.connectFirst();
    this.env.exports.add(this.tag, source.export);
    this.env.emit(this.tag, 'in-service', `in service on ${this.env.self}: ${d.why}`, { rule: d.rule, epoch: epoch.number });
    this.env.cluster.heartbeatNow();
    this.changed();
  }

  async #openLeg(): Promise<LegInfo> {
    const leg = await this.replica.open();
    const { sizeBytes } = this.record().definition;
    if (leg.sizeBytes < sizeBytes) throw new IoError(28, `the leg has ${String(leg.sizeBytes)} bytes, the mirror ${String(sizeBytes)}`);
    return leg;
  }

  // ------------------------------------------------------------------------------------------- out of service

  /** Takes the mirror out of service in order. `byOperator`: it stays out until a command says otherwise. */
  async goOutOfService(byOperator: boolean): Promise<void> {
    await this.#roles.run(async () => {
      if (this.#source !== undefined) await this.#leaveService(true, false);
      if (byOperator) await this.store.update((r) => ({ ...r, keepOut: true }));
    });
  }

  async #leaveService(clean: boolean, dropOwnership: boolean): Promise<void> {
    const source = this.#source;
    if (source === undefined) return;
    await this.env.exports.remove(this.tag, source.export, clean ? 5000 : 0);
    const end = clean ? await source.stopClean() : { clean: false, agreed: false };
    const stoppedClean = end.clean;
    await source.abort();
    await this.store.update((r) => ({ ...r, session: { role: 'source', clean: end.clean }, stoppedOnPurpose: end.clean && end.agreed }));
    if (dropOwnership) await this.setLastOwner(false);
    this.#source = undefined;
    this.#claimedBy = undefined;
    this.env.emit(this.tag, 'out-of-service', `out of service on ${this.env.self}${stoppedClean ? '' : ' (not cleanly)'}`, { clean: stoppedClean });
    this.changed();
  }

  /** Another node's claim: written down, with our in-sync marks for the old source and for ourselves cleared, before it is answered. */
  async claimed(peer: NodeName, epoch: Epoch): Promise<{ accepted: boolean; why: string; view: NodeView }> {
    const no = (why: string): { accepted: boolean; why: string; view: NodeView } => ({ accepted: false, why, view: this.view() });
    if (epoch.owner !== peer) return no(`${peer} claims an epoch of ${epoch.owner}`);
    if (this.inService) {
      this.#claimedBy = peer;
      this.#source?.device.suspend('claim');
      return no(`${this.env.self} is in service`);
    }
    const own = this.record().claim;
    if (own !== null) return no(`${this.env.self} has a claim of its own, epoch ${String(own.number)}`);
    let accepted = false as boolean;
    await this.store.update((r) => {
      const order = compareEpoch(epoch, r.epochSeen);
      accepted = (order === 'higher' || order === 'equal') && r.claim === null && !this.inService;
      if (!accepted) return r;
      return { ...r, epochSeen: epoch, inSync: [] };
    });
    // After the epoch is down, no session of an earlier one can begin; the one that runs is drained before we answer (M4).
    if (accepted) await this.replica.end();
    return accepted
      ? { accepted, why: '', view: this.view() }
      : no(`${this.env.self} has seen epoch ${String(this.record().epochSeen?.number ?? 0)}`);
  }

  /** Runs one of the target's steps; a change of role in progress goes first. */
  async asTarget<T>(f: (t: TargetRole) => Promise<T>): Promise<T> {
    if (this.inService) throw new ClusterError('in-service', `${this.env.self} is in service itself`);
    return await this.#roles.run(async () => {
      if (this.inService) throw new ClusterError('in-service', `${this.env.self} is in service itself`);
      const answer = await f(this.target);
      // Whoever asks this of us and is not refused is our source.
      this.#contact = true;
      return answer;
    });
  }

  /** A heartbeat of our source says that we are out. */
  toldOut(epoch: Epoch, why: string): void {
    const r = this.record();
    if (this.inService || !r.inSync.includes(this.env.self) || compareEpoch(r.epochInSync, epoch) !== 'equal') return;
    if (this.#roles.busy) return;
    this.asTarget((t) => t.out({ epoch, why })).catch((e: unknown) => {
      this.env.log.warn('could not write down that this node is out', { tag: this.tag, error: String(e) });
    });
  }

  /** Ends everything; `clean`: in order. */
  async stop(clean: boolean): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#roles.run(async () => {
      if (this.#source !== undefined) await this.#leaveService(clean, false);
      const wasTarget = this.replica.session;
      await this.replica.end();
      if (clean && wasTarget !== undefined) {
        await this.replica.sync();
        await this.store.update((r) => ({ ...r, session: { role: 'target', clean: true } }));
      }
      await this.replica.close();
      await this.#bitmap?.close();
    });
  }

  // ------------------------------------------------------------------------------------------------- the bitmap

  #regions(): RegionMap {
    const { definition } = this.record();
    return new RegionMap({ deviceBytes: definition.sizeBytes, regionBytes: definition.regionSizeBytes });
  }

  #bitmapMeta(): { createId: string; deviceBytes: number; regionBytes: number } {
    const { definition } = this.record();
    return { createId: definition.createId, deviceBytes: definition.sizeBytes, regionBytes: definition.regionSizeBytes };
  }

  /** The file as it is; a damaged one is replaced by one in which everything is marked for everybody. */
  async #bitmapForService(): Promise<BitmapFile> {
    if (this.#bitmap !== undefined) return this.#bitmap;
    const file = await this.#createBitmap();
    for (const n of Object.keys(this.record().definition.nodes)) if (n !== this.env.self) file.map(`oos:${n}`).setAll();
    await file.flush();
    return file;
  }

  async #createBitmap(): Promise<BitmapFile> {
    await this.#bitmap?.close();
    this.#bitmap = undefined;
    this.#bitmap = await BitmapFile.create(
      this.env.io.files,
      bitmapPath(this.env.root, this.tag),
      { ...this.#bitmapMeta(), generation: this.record().generation },
      { replace: true },
    );
    return this.#bitmap;
  }

  async #resetBitmap(geometryChanged: boolean): Promise<void> {
    const file = this.#bitmap;
    const empty = !geometryChanged && file !== undefined && file.mapNames.every((n) => file.map(n).count === 0);
    if (!empty) await this.#createBitmap();
    this.#bitmapDamaged = '';
  }

  /** Another size: in service only larger; out of service the leg is cut or grown, and other nodes follow at their next session. */
  async resize(sizeBytes: number): Promise<void> {
    await this.#roles.run(async () => {
      if (this.#source !== undefined) {
        await this.#source.grow(sizeBytes, (definition) => this.#regrown(definition.sizeBytes));
        return;
      }
      const leg = await this.replica.open();
      if (leg.sizeBytes < sizeBytes) await this.replica.grow(sizeBytes);
      // Until the marks stand in a file of the new geometry, nobody may take them for complete.
      const { accountComplete } = this.record();
      await this.store.update((r) => ({
        ...r,
        accountComplete: [],
        definition: { ...r.definition, sizeBytes, revision: r.definition.revision + 1 },
      }));
      await this.#regrown(sizeBytes);
      await this.store.update((r) => ({ ...r, accountComplete }));
    });
    this.changed();
  }

  /** A bitmap file of another geometry that holds the same marks. */
  async #regrown(sizeBytes: number): Promise<{ file: BitmapFile; regions: RegionMap }> {
    const before = this.#bitmap;
    const maps = before === undefined ? [] : before.mapNames.map((n) => [n, before.map(n)] as const);
    const file = await this.#createBitmap();
    const regions = new RegionMap({ deviceBytes: sizeBytes, regionBytes: this.record().definition.regionSizeBytes });
    for (const [name, map] of maps) {
      for (const run of map.runs()) {
        const last = Math.min(run.first + run.length, regions.regionCount) - 1;
        if (last >= run.first) file.map(name).setRange(run.first, last);
      }
    }
    await file.flush();
    return { file, regions };
  }
}

/** The account with which a node enters service: itself in sync, every former member out, confirmed or not. */
function enteringService(r: StateRecord, confirmed: readonly NodeName[]): Partial<StateRecord> {
  const a = enteringAccount(r, confirmed);
  const left = a.inSync.filter((n) => n !== r.node);
  return {
    ...a,
    inSync: [r.node],
    droppedUnconfirmed: [...new Set([...a.droppedUnconfirmed, ...left.filter((n) => !confirmed.includes(n))])],
    absentPeers: { ...a.absentPeers, ...Object.fromEntries(left.map((n) => [n, r.generation])) },
  };
}
