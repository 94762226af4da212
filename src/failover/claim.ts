/**
 * Going in service, step by step (design.md, "Going in service"):
 *
 *   decide -> epoch + 1 durable -> told to all, who write it down -> decide again on fresh answers -> last_owner -> serve
 *
 * Invariants: ownership is durable before the first answer (M8); a claim that anybody heard stands against is given up; the
 * intent of an earlier life is in every other node's marks, durably, before it leaves the intent map (M5).
 */
import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { checkpointMap, checkpointsIn, markCheckpointsWritten } from '../bitmap/map-names.ts';
import { ClusterError } from '../cluster/errors.ts';
import { Errno, errnoName, IoError, type LegInfo } from '../io/types.ts';
import { rewriteRegions } from '../mirror/own-leg.ts';
import { addWithin } from '../mirror/unsynced.ts';
import { arbiterOf, namedArbiter } from './arbiter.ts';
import type { RecordStore } from './record.ts';
import type { BitmapKeeper } from './bitmap-keeper.ts';
import { checkpointsCarried, validCheckpoints } from './checkpoints.ts';
import type { NodeContext } from './context.ts';
import { ifConfirmed } from './confirmed.ts';
import { decide } from './decide.ts';
import { compareEpoch, highestEpoch, isSame, nextEpoch } from './epoch.ts';
import { grantHeld } from './grant.ts';
import type { FlagFiles } from './flags.ts';
import { askViews } from './fresh-views.ts';
import { syncInherited } from './inherited.ts';
import { ordersThatHold, termsOfEarlierVersion, termsUnited } from './membership.ts';
import { enteringAccount, servedLastOfAll } from './merge.ts';
import { claimAnswerSchema } from './protocol.ts';
import { viewSchema, withoutDoubt } from './record.ts';
import type { QuorumKeeper } from './quorum-keeper.ts';
import type { Replica } from './replica.ts';
import { sectorSizeOf } from './sectors.ts';
import { situationOf } from './situation.ts';
import { SourceRole } from './source.ts';
import type { Decision, Epoch, Facts, NodeName, NodeView, StateRecord } from './types.ts';

/** Whoever answers so can neither accept a claim nor make one. */
const NO_VOICE: readonly string[] = ['no-mirror', 'unusable'];

/** What a claim needs of the node that it is made for. */
export interface Claimant extends NodeContext {
  readonly store: RecordStore;
  readonly flags: FlagFiles;
  readonly replica: Replica;
  readonly keeper: BitmapKeeper;
  readonly quorum: QuorumKeeper;
  readonly source: SourceRole | undefined;
  readonly stopped: boolean;
  readonly syncFailureWritten: Promise<void>;
  /** Grows each time this process has stood still for failureTimeout or more. */
  readonly stalls: number;
  others(): NodeName[];
  views(): NodeView[];
  facts(command: Facts['command'], claiming: boolean): Facts;
  note(d: Decision): void;
  heard(node: NodeName, view: NodeView): void;
  becomes(source: SourceRole): void;
  leaveService(clean: boolean, dropOwnership: boolean): Promise<void>;
}

interface Entering {
  forced: boolean;
  stalls: number;
  trusted: boolean;
  /** Every epoch that somebody had seen or claimed before this claim. */
  seen: readonly Epoch[];
  /** By the records they may have newer data, were not heard, and were passed over by an operator's word. */
  passedOver: readonly NodeName[];
}

export class Claims {
  readonly #n: Claimant;
  /** The claim was decided, and is being carried through: nobody else's is accepted. */
  entering = false;
  /** Somebody who was not heard when the last claim was made has seen an epoch that it is not above. */
  #outbid = false;
  /** The arbiter's word on the claim in hand. */
  #granted: boolean | null = null;

  constructor(n: Claimant) {
    this.#n = n;
  }

  /** Fresh views of all who can be reached. */
  async askAll(): Promise<void> {
    await askViews(this.#n, this.#n.others(), false);
  }

  /** The claim. A forced one that hears of another claim in its midst is made once more, above that, as if it had heard before. */
  async run(command: Facts['command']): Promise<Decision> {
    const decision = await this.#claim(command);
    return this.#outbid && command.kind === 'force' ? await this.#claim(command) : decision;
  }

  /** Step by step (design, "Going in service"). */
  async #claim(command: Facts['command']): Promise<Decision> {
    this.#outbid = false;
    const first = this.#decided(this.#n.facts(command, false));
    if (this.#stopping()) return { action: 'wait', rule: first.rule, why: `${this.#n.env.self} is stopping` };
    this.#n.note(first);
    if (first.action !== 'go-in-service') return first;
    // Who could not serve must not claim: it would only fence the others off.
    const leg = await this.#openLeg();
    await this.#n.replica.quietWithin(this.#n.record().definition.failureTimeoutMs);
    if (!(await this.#n.replica.syncEarlier())) {
      if (!(await this.#writtenDown())) throw new IoError(Errno.EIO, 'it can not be written down that a sync of the own leg has failed');
      // It was not known before that data is lost here: whoever asked for this must know, and force it.
      const known = this.#decided(this.#n.facts(command, false));
      this.#n.note(known);
      if (known.action !== 'go-in-service') return known;
    }
    const trusted = await this.#makeDurable(leg);
    // It may not be possible to write the marks down, either.
    const marks = await this.#n.keeper.forService();
    if (marks.poisoned) await marks.rewrite();
    const { stalls } = this.#n;
    const before = this.#n.record();
    const seen = [before.epochSeen, ...this.#n.views().flatMap((v) => [v.record.epochSeen, v.record.epochServed, v.record.claim])].filter(
      (e) => e !== null,
    );
    const epoch = nextEpoch(highestEpoch(...seen), this.#n.env.self, this.#n.env.io.chance);
    let begun = false as boolean;
    // Our own epoch takes the place of those that say so: a force that is cut short must not forget who may have taken over (M10, M12).
    const missing = first.rule === 'forced' ? situationOf(this.#n.facts(command, false)).missing : [];
    // Of a node that is not part of the mirror here nothing could ever be heard.
    const passedOver = missing.filter((n) => Object.hasOwn(before.definition.nodes, n));
    await this.#n.store.update((r) => {
      // Another node's claim may have been accepted since: then this one would contradict it.
      begun = isSame(r.epochSeen, before.epochSeen);
      return begun ? { ...withUnconfirmed(r, passedOver), claim: epoch, epochSeen: epoch, keepOut: false } : r;
    });
    if (!begun) return { action: 'wait', rule: first.rule, why: 'another node has claimed an epoch meanwhile' };
    const owned = this.#n.flags.flags.lastOwner;
    try {
      const second = await this.#decideAgain(epoch, command, first);
      if (second.action === 'go-in-service' && !this.#n.stopped) {
        this.entering = true;
        await this.#serve(epoch, before, second, { forced: second.rule === 'forced', stalls, trusted, seen, passedOver });
        return second;
      }
      await this.#n.store.update((r) => ({ ...r, claim: null }));
      this.#outbid = this.#isOutbid(epoch);
      this.#n.note(second);
      this.#n.env.cluster.heartbeatNow();
      return second.action === 'go-in-service' ? { ...second, action: 'wait' } : second;
    } catch (e: unknown) {
      if (this.#n.source !== undefined) await this.#n.leaveService(false, false);
      await this.#n.store.update((r) => ({ ...r, claim: null }));
      if (!owned && !isSame(this.#n.record().epochServed, epoch)) await this.#n.own.setLastOwner(false);
      throw e;
    } finally {
      this.entering = false;
    }
  }

  /** Nothing is carried out as a force that was not confirmed as one. In the middle of a claim the votes have been asked for already. */
  #decided(facts: Facts): Decision {
    return ifConfirmed(decide(facts), facts.command, facts.claiming ? null : namedArbiter(this.#n).heard(this.#n, true));
  }

  async #decideAgain(epoch: Epoch, command: Facts['command'], first: Decision): Promise<Decision> {
    this.#n.env.cluster.heartbeatNow();
    const { refused, accepted: all } = await this.#tellClaim(epoch);
    // A vote counts with what its record says: not of one that has fallen silent since.
    const { failureTimeoutMs } = this.#n.record().definition;
    const accepted = all.filter((n) => n === this.#n.env.self || this.#n.mirrorSilentForMs(n) < failureTimeoutMs);
    const told = { epoch, accepted, voters: this.#n.others().length + 1 };
    const majority = refused === '' ? await arbiterOf(this.#n).grants(this.#n, told) : null;
    this.#granted = majority;
    const facts = { ...this.#n.facts(command, true), majority };
    return refused === '' ? this.#decided(facts) : { action: 'wait', rule: first.rule, why: refused };
  }

  /** Every reachable node writes the claim down: its durable vote. Who stands in its way, if anybody, and whose votes it has, own included. */
  async #tellClaim(epoch: Epoch): Promise<{ refused: string; accepted: NodeName[] }> {
    const accepted = [this.#n.env.self];
    const answers = await Promise.all(
      this.#n.others().map(async (n) => {
        if (!this.#n.env.cluster.connected(n)) return '';
        try {
          const raw = await this.#n.env.cluster.request(n, 'claim', { tag: this.#n.tag, epoch }, this.#n.record().definition.failureTimeoutMs);
          const a = claimAnswerSchema.parse(raw);
          if (a.view !== null && a.view !== undefined) this.#n.heard(n, viewSchema.parse(a.view));
          if (a.accepted) accepted.push(n);
          return a.accepted ? '' : `${n} has not accepted epoch ${String(epoch.number)}: ${a.why}`;
        } catch (e: unknown) {
          if (!(e instanceof ClusterError)) throw e;
          // Gone while asked: not reachable. Heard since then: it has not accepted, and the claim is given up.
          return this.#n.silentForMs(n) < this.#n.record().definition.failureTimeoutMs && !NO_VOICE.includes(e.code)
            ? `${n} has not answered the claim: ${e.message}`
            : '';
        }
      }),
    );
    return { refused: answers.find((a) => a !== '') ?? '', accepted };
  }

  async #serve(epoch: Epoch, before: StateRecord, d: Decision, o: Entering): Promise<void> {
    const previous = this.#n.flags.flags.source !== null && this.#n.flags.flags.source !== this.#n.env.self ? this.#n.flags.flags.source : null;
    await this.#n.replica.endWithin(this.#n.record().definition.failureTimeoutMs);
    // Of a sync that was on its way since before the claim only this wait tells; a later one would say nothing of what it lost (M3).
    if (o.trusted && this.#n.replica.doubtful) throw new Error('a sync of the own leg has failed on its way in service, which decides anew');
    const leg = await this.#openLeg();
    this.#lookAtSectors(leg);
    const file = await this.#n.keeper.forService();
    const others = Object.keys(before.definition.nodes).filter((n) => n !== this.#n.env.self);
    // What may differ after a crash may differ on every other leg: the intent of the last life becomes their marks. Before the
    // epoch is served: marks too many harm nobody, and what can not be written down leaves a claim that is given up.
    const intent = file.map('intent');
    for (const n of others) file.map(`oos:${n}`).or(intent);
    const unsynced = this.#n.replica.unsynced();
    if (unsynced !== undefined) addWithin(intent, unsynced);
    markCheckpointsWritten(file);
    const inherited = intent.clone();
    if (file.poisoned) await file.rewrite();
    else await file.flush();
    await this.#n.own.setLastOwner(true);
    if (this.#n.flags.flags.dataCorrupt || this.#n.record().dataCorruptSet === true) await this.#n.own.setDataCorrupt(false);
    if (previous === null) await this.#n.own.setSource(this.#n.env.self);
    // Whoever was silent when we decided may have been given up by others while we stood still ourselves (M9).
    if (this.#stoodStill(o.stalls)) throw new Error('this process stood still on its way in service, and decides anew');
    const confirmed = this.#n.others().filter((n) => this.#n.peerView(n)?.record.epochSeen?.random === epoch.random);
    const maps = checkpointsIn(file);
    const heard = this.#n.views();
    await this.#n.store.update((r) => ({
      ...r,
      ...checkpointsCarried(epoch, { record: r, heard, seen: o.seen, confirmed, passedOver: o.passedOver, maps }),
      ...enteringService(
        withUnconfirmed(
          { ...before, mergePending: r.mergePending },
          o.passedOver.filter((n) => !confirmed.includes(n)),
        ),
        confirmed,
        servedLastOfAll({ ...before, definition: r.definition }, confirmed, o),
      ),
      epochServed: epoch,
      epochInSync: epoch,
      terms: termsUnited([epoch.random], before.terms ?? termsOfEarlierVersion(before)),
      sessionIn: epoch,
      claim: null,
      toldOut: null,
      legBehind: null,
      resyncingFrom: null,
      grant: null,
      paused: grantHeld(r)?.paused ?? r.paused,
      fullOrdered: ordersThatHold(before, o.seen),
      stoppedOnPurpose: false,
      overruled: o.forced && (this.#granted === false || namedArbiter(this.#n).heard(this.#n, true) === false) ? epoch : null,
      session: { role: 'source', clean: false },
      sessionBoot: this.#n.env.io.bootId,
    }));
    const dropped = before.fullOrdered?.filter((n) => this.#n.record().fullOrdered?.includes(n) !== true) ?? [];
    if (dropped.length > 0)
      this.#n.env.log.warn('an order of a full resync is void: another node has claimed an epoch since', { tag: this.#n.tag, dropped });
    const valid = validCheckpoints(this.#n.record());
    for (const name of maps) if (!valid.includes(name)) file.dropMap(checkpointMap(name));
    const source = new SourceRole(this.#n, {
      epoch,
      file,
      bitmapWasDamaged: this.#n.keeper.damaged,
      regions: this.#n.keeper.regions(),
      leg,
      previousSource: previous,
      syncFailed: !o.trusted,
      zeroed: before.legZeroed,
    });
    for (const name of valid) source.export.contexts.offer(name);
    this.#n.keeper.repaired();
    source.device.needGeneration();
    this.#n.becomes(source);
    source.device.tick();
    if (this.#stoodStill(o.stalls)) source.device.stalledFor(before.definition.failureTimeoutMs);
    // Before there are sessions, whose losses it would have to wait for.
    if (o.forced) await source.members.commitAtOnce();
    source.start();
    // Not trusted, they stay: the regions that are still to be written again on the own leg.
    if (o.trusted && inherited.count > 0)
      source.inherited = syncInherited(source.device, inherited, () => {
        this.#n.replica.forgetUnsynced();
      });
    if (this.#n.env.tunables.connectBeforeServing) await source.connectFirst(grantHeld(before)?.synced);
    if (source.isStopped()) throw new ClusterError('superseded', `epoch ${String(epoch.number)} was over before it was served`);
    source.device.tick();
    if (this.#isOutbid(epoch)) throw new ClusterError('superseded', `another node has claimed an epoch since ${String(epoch.number)}`);
    // Who was heard when this was decided may have been silent since, and have taken over (M9).
    this.#n.quorum.keep(source, this.#n.quorum.heard() === false);
    source.serve();
    this.#n.env.exports.add(this.#n.tag, source.export);
    this.#n.env.emit(this.#n.tag, 'in-service', `in service on ${this.#n.env.self}: ${d.why}`, { rule: d.rule, epoch: epoch.number });
    this.#n.env.cluster.heartbeatNow();
    this.#n.changed();
  }

  /** False: the disk has not taken it in time. */
  #writtenDown(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = this.#n.env.io.clock.after(this.#n.record().definition.failureTimeoutMs, () => {
        resolve(false);
      });
      void this.#n.syncFailureWritten.then(() => {
        timer.cancel();
        resolve(true);
      });
    });
  }

  /** A life that ended uncleanly may have seen a sync fail: what it was writing is written again, before any sync of ours is believed (M3). */
  async #makeDurable(leg: LegInfo): Promise<boolean> {
    const { replica, keeper, env, tag } = this.#n;
    if (!replica.doubtful) return true;
    // Only then is it known what was given to the leg.
    await replica.endWithin(this.#n.record().definition.failureTimeoutMs);
    const marks = keeper.file?.map('intent').clone() ?? new DirtyBitmap(keeper.regions().regionCount);
    if (keeper.file === undefined) {
      env.log.warn('the bitmap file that says what the last session was writing is damaged: all of the own leg is written again', { tag });
      marks.setAll();
    }
    const unsynced = replica.unsynced();
    if (unsynced !== undefined) addWithin(marks, unsynced);
    if (marks.count > 0) {
      env.log.info('writing again on the own leg what the last session was writing', { tag, regions: marks.count });
      // The kernel tells the first who syncs what it could not write back: of this leg all is in doubt already.
      if (this.#n.record().legInDoubt !== undefined) {
        const heard = await env.hub.run((op) => {
          env.hub.engine.sync(op, leg.leg);
        });
        if (heard.errno !== 0) env.log.warn('an earlier sync of the own leg has failed', { tag, error: errnoName(heard.errno) });
      }
      const errno = await rewriteRegions(env.hub, leg, keeper.regions(), marks);
      if (errno !== 0) {
        env.emit(
          tag,
          'leg-failed',
          `what a failed sync may have lost could not be written again (${errnoName(errno)}): syncs are answered with an error`,
          {},
        );
        return false;
      }
      replica.forgetUnsynced();
      if (this.#n.record().legInDoubt !== undefined) await this.#n.store.update(withoutDoubt);
    }
    replica.doubtful = false;
    return true;
  }

  /** Never refused: nobody else may have the data. The kernel writes parts of sectors, but a filesystem may not be mounted from the leg itself. */
  #lookAtSectors(leg: LegInfo): void {
    const { env, tag } = this.#n;
    const mirrorBytes = sectorSizeOf(this.#n.record().definition);
    if (leg.blockSizeBytes <= mirrorBytes) return;
    env.log.warn('the own leg has larger sectors than the mirror', { tag, legBytes: leg.blockSizeBytes, mirrorBytes });
  }

  #isOutbid(epoch: Epoch): boolean {
    return this.#n.views().some((v) => ['higher', 'conflict'].includes(compareEpoch(v.record.epochSeen, epoch)));
  }

  /** May have changed while we waited. */
  #stopping(): boolean {
    return this.#n.stopped;
  }

  #stoodStill(since: number): boolean {
    this.#n.env.cluster.checkStall();
    return this.#n.stalls !== since;
  }

  async #openLeg(): Promise<LegInfo> {
    const leg = await this.#n.replica.open();
    const { sizeBytes } = this.#n.record().definition;
    if (leg.sizeBytes < sizeBytes) throw new IoError(28, `the leg has ${String(leg.sizeBytes)} bytes, the mirror ${String(sizeBytes)}`);
    return leg;
  }
}

function withUnconfirmed(r: StateRecord, nodes: readonly NodeName[]): StateRecord {
  return nodes.length === 0 ? r : { ...r, droppedUnconfirmed: [...new Set([...r.droppedUnconfirmed, ...nodes])] };
}

/** The account with which a node enters service: itself in sync, every former member out, confirmed or not. */
function enteringService(r: StateRecord, confirmed: readonly NodeName[], lastOfAll: boolean): Partial<StateRecord> {
  const a = enteringAccount(r, confirmed, lastOfAll);
  const left = a.inSync.filter((n) => n !== r.node);
  return {
    ...a,
    inSync: [r.node],
    droppedUnconfirmed: [...new Set([...a.droppedUnconfirmed, ...left.filter((n) => !confirmed.includes(n))])],
    absentPeers: { ...a.absentPeers, ...Object.fromEntries(left.map((n) => [n, r.generation])) },
  };
}
