/**
 * What the source's record says of generation and membership, and the telling of it: here durably, then on every in-sync
 * target. One change at a time, its messages included, so that an earlier one never overtakes a later one.
 */
import { ClusterError } from '../cluster/errors.ts';
import type { MirrorDevice } from '../mirror/device.ts';
import { arbiterOf } from './arbiter.ts';
import { checkpointsVoid } from './checkpoints.ts';
import type { Changes, NodeContext } from './context.ts';
import { outranking } from './definition.ts';
import { fullResyncDone, generationCommitted, generationOffered, membershipOf, targetJoined, targetLeft } from './membership.ts';
import { Mutex } from './mutex.ts';
import { endsEpoch, type WitnessParams } from './protocol.ts';
import { votersOf } from './quorum.ts';
import type { TargetLink } from './target-link.ts';
import type { Outs } from './told-out.ts';
import type { Epoch, Generation, MirrorDefinition, NodeName, StateRecord } from './types.ts';

export interface MembersOwner {
  readonly ctx: NodeContext;
  readonly epoch: Epoch;
  readonly device: MirrorDevice;
  readonly outs: Pick<Outs, 'isHeeded'>;
  readonly links: ReadonlyMap<NodeName, TargetLink>;
  readonly timeoutMs: number;
  readonly stopped: boolean;
  /** The mirror is being made larger: all grow in one revision. */
  readonly growing: boolean;
  readonly retryMs: number;
  readonly changes: Changes;
}

export interface JoiningSession {
  id: string;
  /** Which of the leg's sessions it is. */
  session: number;
  kind: 'none' | 'partial' | 'full';
  /** See `Outs.words`. */
  words: number;
}

export class Members {
  readonly #o: MembersOwner;
  readonly #records = new Mutex();
  /** Sessions that have joined: only these are told. */
  readonly sessionIds = new Map<NodeName, string>();
  /** Nodes that have written down a generation which members that left in silence lack, and which. */
  readonly #witnesses = new Map<NodeName, Generation>();
  /** Writes are answered with an error, because too few nodes could write a generation down. */
  #refusing = false;
  /** A loss asked for a generation that waits for other losses: the last of them makes it, before any reply is given. */
  #owed = false;

  constructor(o: MembersOwner) {
    this.#o = o;
  }

  async left(node: NodeName, how: { confirmed: boolean; foreign: boolean }, newGeneration: boolean): Promise<void> {
    await this.#records.run(async () => {
      await this.#o.ctx.store.update((r) => targetLeft(r, node, how));
      const link = this.#o.links.get(node);
      if (link !== undefined) link.leg.unsettled = false;
      this.#owed ||= newGeneration;
      if (!(await this.#commitOwed())) await this.#tellMembers();
    });
    // Too few could write it down. Replies wait for it, or are errors meanwhile.
    while (this.#owed && !this.#unsettled()) {
      if (this.#o.stopped || this.#o.device.stopped) throw new Error('the source is stopping');
      await this.#records.run(() => this.#commitOwed());
    }
  }

  async #commitOwed(): Promise<boolean> {
    if (!this.#owed || !(await this.#commit())) return false;
    this.#owed = false;
    return true;
  }

  /** The target's session joins: our record, then its own, then those of the others. */
  join(link: TargetLink, o: JoiningSession): Promise<void> {
    return this.#records.run(() => this.#recordJoin(link, o));
  }

  /**
   * Own leg failed: true once an in-sync target has durably recorded that it is behind (M2). `targetsStay`: else all goes on as
   * before, also on those that recorded it and could not say so.
   */
  async recordLegBehind(targetsStay: boolean): Promise<boolean> {
    const { ctx, device } = this.#o;
    const asked: NodeName[] = [];
    const recorded: NodeName[] = [];
    await Promise.all(
      [...this.#o.links.values()].map(async (l) => {
        const id = this.sessionIds.get(l.node);
        if (l.leg.phase !== 'in-sync' || l.leg.mode !== 'sync' || l.foreign || id === undefined) return;
        asked.push(l.node);
        try {
          await ctx.env.cluster.request(l.node, 'source-leg-behind', { tag: ctx.tag, epoch: this.#o.epoch, session: id }, this.#o.timeoutMs);
          recorded.push(l.node);
        } catch (e: unknown) {
          if (!(e instanceof ClusterError)) throw e;
          ctx.env.log.warn('a target did not record that the local leg is behind', { node: l.node, error: e.message });
        }
      }),
    );
    const newest = recorded[0];
    if (newest === undefined) {
      // By its own record such a one might go in service without this node, which has gone on: it writes down that it counts, or leaves.
      if (targetsStay) await this.#records.run(() => this.#tellMembers(membershipOf(ctx.record()), (n) => asked.includes(n)));
      return false;
    }
    await this.#records.run(async () => {
      const why = `the local leg has failed, and what is written from now on is on ${newest}`;
      await ctx.store.update((r) => ({
        ...r,
        legBehind: { since: this.#o.epoch, newest },
        inSync: r.inSync.filter((n) => n !== ctx.env.self),
        ...checkpointsVoid(r, 'leg-behind', why),
      }));
      await this.#tellMembers();
    });
    device.needGeneration();
    return true;
  }

  /** A refusal that says our epoch is over ends our answering. */
  judge(e: ClusterError): void {
    if (!endsEpoch(e.code)) return;
    // Seen is not served: who the last owner is, the records will say.
    this.#o.ctx.superseded(this.#o.epoch, e.message, false);
    throw e;
  }

  /** Once every loss is settled. */
  async commitGeneration(): Promise<void> {
    const { changes, ctx, retryMs } = this.#o;
    while (!(await this.#records.run(() => this.#commit()))) {
      const over = (): boolean => this.#o.stopped || this.#o.device.stopped;
      await changes.until(
        () => over() || !this.#unsettled(),
        () => ctx.env.io.clock.now(),
        retryMs,
      );
      if (over()) throw new Error('the source is stopping');
    }
  }

  /** A forced source, before it has sessions. Where too few can write it down, its first write asks for it again. */
  async commitAtOnce(): Promise<void> {
    if (await this.#records.run(() => this.#commit())) return;
    // Refused before it could ask, a write would never ask again.
    this.#refuse(false);
    this.#o.device.needGeneration();
  }

  #unsettled(): boolean {
    return [...this.#o.links.values()].some((l) => l.leg.unsettled);
  }

  /** Under an arbiter nothing is written under a new generation by a source that it has not heard since (M10). */
  async #confirmedByArbiter(since: number): Promise<boolean> {
    const { ctx, changes, timeoutMs, retryMs } = this.#o;
    const { clock } = ctx.env.io;
    for (;;) {
      if (arbiterOf(ctx).heardUsSince(ctx, since)) return true;
      if (this.#o.stopped || clock.now() - since > timeoutMs * 2) return false;
      await changes.next(retryMs);
    }
  }

  /**
   * Nor while an arbiter could still allow a member that left in silence, and takes itself for one in sync, by the word of those alone that
   * know of none (M2). One that heeds in memory that it is out is no candidate until it has joined again.
   */
  async #witnessed(next: StateRecord, told: readonly NodeName[], since: number): Promise<boolean> {
    const { ctx, outs, changes, timeoutMs, retryMs } = this.#o;
    const knowing = new Set([ctx.env.self, ...told]);
    const harmless = new Set<NodeName>();
    for (;;) {
      const enough = (): boolean =>
        next.droppedUnconfirmed.every((n) => knowing.has(n) || harmless.has(n) || outs.isHeeded(n)) || arbiterOf(ctx).allowsNobody(ctx, knowing);
      if (!enough()) await this.#tellWitnesses(next, knowing, harmless, enough);
      if (enough()) return true;
      if (this.#o.stopped || this.#o.device.stopped || ctx.env.io.clock.now() - since > timeoutMs * 2) return false;
      await changes.next(retryMs);
    }
  }

  /** Asks until they are `enough`, or all have answered; who has written it down is added to `knowing`, and whoever is no candidate to `harmless`. */
  async #tellWitnesses(next: StateRecord, knowing: Set<NodeName>, harmless: Set<NodeName>, enough: () => boolean): Promise<void> {
    const { ctx, timeoutMs } = this.#o;
    const asked = votersOf(next.definition).filter((n) => !knowing.has(n) && ctx.env.cluster.connected(n));
    const answers = asked.map(async (n) => {
      try {
        await ctx.env.cluster.request(n, 'witness', this.#witnessParams(next.generation, true), timeoutMs);
        knowing.add(n);
        this.#witnesses.set(n, next.generation);
      } catch (e: unknown) {
        if (!(e instanceof ClusterError)) throw e;
        this.judge(e);
        // Without a sound record (M13) it never takes over itself. It may vote again, once the mirror is made known to it anew.
        if (e.code === 'no-mirror') harmless.add(n);
      }
    });
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (enough()) resolve();
      };
      for (const answer of answers) answer.then(look, reject);
      Promise.all(answers).then(() => {
        resolve();
      }, reject);
    });
  }

  #witnessParams(generation: Generation, holds: boolean): WitnessParams {
    const { ctx, epoch } = this.#o;
    return { tag: ctx.tag, createId: ctx.record().definition.createId, epoch, generation, holds };
  }

  /** Nobody is left who lacks it and does not know: those who wrote it down need not hold it against anybody. One that can't be told now is told later. */
  #releaseWitnesses(): void {
    const { ctx, timeoutMs } = this.#o;
    if (ctx.record().droppedUnconfirmed.length > 0) return;
    for (const [node, generation] of this.#witnesses) {
      ctx.env.cluster.request(node, 'witness', this.#witnessParams(generation, false), timeoutMs).then(
        () => {
          if (this.#witnesses.get(node) === generation) this.#witnesses.delete(node);
        },
        (e: unknown) => {
          ctx.env.log.info('a node could not be told that a generation is known to all', { tag: ctx.tag, node, error: String(e) });
        },
      );
    }
  }

  /**
   * False: not now. A member that is lost, and may live, has not heard of it: it could go in service and know nothing of a generation that its
   * source committed (M10); or too few know of it to keep one that left from that. Those who have taken it for committed meanwhile are told
   * that it is not.
   */
  async #commit(): Promise<boolean> {
    if (this.#unsettled()) return false;
    const { chance } = this.#o.ctx.env.io;
    const since = this.#o.ctx.env.io.clock.now();
    const generation = chance.hex64();
    await this.#o.ctx.store.update((r) => generationOffered(r, generation));
    const next = generationCommitted(this.#o.ctx.record(), generation);
    const told = await this.#tellMembers(membershipOf(next));
    if (this.#unsettled()) {
      await this.#tellMembers();
      return false;
    }
    if (!(await this.#confirmedByArbiter(since))) throw new Error('no majority of the nodes was heard while a generation was being committed');
    if (!(await this.#witnessed(next, told, since))) {
      await this.#tellMembers();
      // An error is an honest answer, and waiting has an end (M14).
      this.#refuse(true);
      return false;
    }
    this.#refuse(false);
    // A device that has stopped, for want of any leg, writes nothing under it: it stays an offer, which means nothing.
    if (this.#o.stopped || this.#o.device.stopped) throw new Error('the source is stopping');
    await this.#o.ctx.store.update((r) => generationCommitted(r, generation));
    this.#o.ctx.changed();
    return true;
  }

  #refuse(on: boolean): void {
    const { ctx, device } = this.#o;
    if (!on && !this.#refusing) return;
    if (on && !this.#refusing)
      ctx.env.log.warn('writes are answered with an error: too few nodes can write down that a member has left in silence', { tag: ctx.tag });
    this.#refusing = on;
    device.refuseWrites(on);
  }

  /** The definition has changed: every in-sync target writes it down, or leaves. */
  announce(): Promise<void> {
    return this.#records.run(async () => {
      await this.#tellMembers();
    });
  }

  /**
   * A session is to be opened on a node with this definition. What an earlier source did not announce before it was lost must not outlive
   * what we say, there or where it is heard (M12): ours gets a higher revision first, here and on every in-sync target.
   */
  async outrank(theirs: MirrorDefinition): Promise<void> {
    const { ctx } = this.#o;
    if (outranking(ctx.record().definition, theirs) === null) return;
    await this.#records.run(async () => {
      if (this.#o.growing) throw new Error('the mirror is being made larger');
      if (this.#o.stopped) throw new Error('the source is stopping');
      await ctx.store.update((r) => ({ ...r, definition: outranking(r.definition, theirs) ?? r.definition }));
      await this.#tellMembers();
    });
  }

  /** Durable on every remaining in-sync target of these, which are named, or that target leaves. */
  async #tellMembers(membership = membershipOf(this.#o.ctx.record()), whom: (n: NodeName) => boolean = () => true): Promise<NodeName[]> {
    const told: NodeName[] = [];
    await Promise.all(
      [...this.#o.links.values()].map(async (l) => {
        const { leg } = l;
        const id = this.sessionIds.get(l.node);
        if (leg.phase !== 'in-sync' || l.foreign || id === undefined || !whom(l.node)) return;
        const { session } = leg;
        const params = { tag: this.#o.ctx.tag, epoch: this.#o.epoch, session: id, membership };
        try {
          await this.#o.ctx.env.cluster.request(l.node, 'session.members', params, this.#o.timeoutMs);
          told.push(l.node);
        } catch (e: unknown) {
          if (!(e instanceof ClusterError)) throw e;
          if (leg.session === session) this.#o.device.targetFailed(leg, `${l.node} did not write down a change of the mirror: ${e.message}`, false);
          this.judge(e);
        }
      }),
    );
    return told;
  }

  async #recordJoin(link: TargetLink, o: JoiningSession): Promise<void> {
    const { node, leg } = link;
    const { id, session } = o;
    if (leg.session !== session) throw new Error(`${node} has left before it joined`);
    await this.#o.ctx.store.update((r) => {
      const joined = targetJoined(r, node, link.foreign);
      // An order that was given since this session began has ended it.
      return o.kind === 'full' && leg.session === session ? fullResyncDone(joined, node) : joined;
    });
    const membership = membershipOf(this.#o.ctx.record());
    if (!link.foreign) {
      try {
        await this.#o.ctx.env.cluster.request(
          node,
          'session.join',
          { tag: this.#o.ctx.tag, epoch: this.#o.epoch, session: id, membership, words: o.words },
          this.#o.timeoutMs,
        );
      } catch (e: unknown) {
        if (!(e instanceof ClusterError)) throw e;
        if (leg.session === session) this.#o.device.targetFailed(leg, `${node} did not write down that it is in sync: ${e.message}`, false);
        this.judge(e);
        throw e;
      }
    }
    if (leg.session === session) this.sessionIds.set(node, id);
    this.#releaseWitnesses();
    await this.#tellMembers(membershipOf(this.#o.ctx.record()), (n) => n !== node);
  }

  /** Tells every in-sync target that the source stops on purpose; who has written it down. */
  async tellStopping(): Promise<NodeName[]> {
    const told: NodeName[] = [];
    for (const l of this.#o.links.values()) {
      const id = this.sessionIds.get(l.node);
      if (!this.#o.ctx.record().inSync.includes(l.node) || l.foreign || id === undefined) continue;
      try {
        await this.#o.ctx.env.cluster.request(l.node, 'session.stop', { tag: this.#o.ctx.tag, epoch: this.#o.epoch, session: id }, this.#o.timeoutMs);
        told.push(l.node);
      } catch (e: unknown) {
        if (!(e instanceof ClusterError)) throw e;
        this.#o.ctx.env.log.warn('a target was not told that the source stops', { node: l.node, error: e.message });
      }
    }
    return told;
  }
}
