/**
 * What this node does as a target when its source asks: every answer that the source relies on is given after the record
 * is durable, and the record is always the first to know that the data can't be trusted (M7) and the last that it can.
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import { ClusterError } from '../cluster/errors.ts';
import type { NodeContext } from './context.ts';
import { checkpointsVoid } from './checkpoints.ts';
import { compareEpoch, epochText } from './epoch.ts';
import { knowsGeneration } from './generation.ts';
import { membershipTaken, withoutWitness } from './membership.ts';
import type { Membership, SessionAnswer } from './protocol.ts';
import { boundedWhy, withoutDoubt } from './record.ts';
import type { Replica } from './replica.ts';
import { sectorRefusal, sectorSizeOf, withOwnSectors } from './sectors.ts';
import type { Epoch, Generation, MirrorDefinition, NodeName, StateRecord } from './types.ts';

export interface TargetDeps {
  ctx: NodeContext;
  replica: Replica;
  /** This node's own marks; undefined while the file is damaged. */
  bitmap: () => BitmapFile | undefined;
  /** A fresh, empty bitmap file: what this node knew of others is void now that it is in sync with its source. */
  resetBitmap: (geometryChanged?: boolean) => Promise<void>;
  /** What a failed sync may have lost is under intent, durably. */
  keepUnsynced: () => Promise<void>;
}

export class TargetRole {
  readonly #d: TargetDeps;

  constructor(d: TargetDeps) {
    this.#d = d;
  }

  /** Refuses an epoch that is over (M9). */
  checkEpoch(epoch: Epoch): void {
    const seen = this.#d.ctx.record().epochSeen;
    if (seen === null) return;
    const order = compareEpoch(epoch, seen);
    if (order === 'lower') {
      throw new ClusterError(
        'superseded',
        `epoch ${String(epoch.number)} of ${epoch.owner} is over: ${this.#d.ctx.env.self} has seen ${String(seen.number)} of ${seen.owner}`,
      );
    }
    if (order === 'conflict') {
      throw new ClusterError('split-brain', `epoch ${String(epoch.number)} has two owners: ${epoch.owner} and ${seen.owner}`);
    }
  }

  async open(
    peer: NodeName,
    p: {
      epoch: Epoch;
      session: string;
      kind: 'none' | 'partial' | 'full';
      generation: string;
      definition: MirrorDefinition;
      rewrites: boolean;
      checksums: boolean;
    },
  ): Promise<SessionAnswer> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    if (p.epoch.owner !== peer) throw new ClusterError('refused', `${peer} opened a session for the epoch of ${p.epoch.owner}`);
    const own = ctx.record().definition;
    const resized = p.definition.sizeBytes !== own.sizeBytes;
    if (resized && p.definition.revision < own.revision) {
      const sizes = `${String(own.sizeBytes)} bytes since it was resized here, and ${String(p.definition.sizeBytes)} on ${peer}`;
      throw new ClusterError('old-size', `mirror ${ctx.tag} has ${sizes}: resize it there, or take it in service here`);
    }
    await replica.endWithin(ctx.record().definition.failureTimeoutMs / 2);
    // What an earlier session had in hand may have failed after the source asked: it asks again, and then rewrites (M3).
    if (replica.doubtful && !p.rewrites) throw new ClusterError('io', `a sync of the leg of ${ctx.env.self} has just failed`);
    let leg = await replica.open();
    const legPath = own.nodes[ctx.env.self]?.leg ?? 'the leg';
    const sectors = sectorRefusal(`${legPath} has sectors`, leg.blockSizeBytes, ctx.tag, sectorSizeOf(withOwnSectors(p.definition, own)));
    if (sectors !== undefined) throw new ClusterError('sector-size', sectors);
    if (leg.sizeBytes < p.definition.sizeBytes) {
      await replica.grow(p.definition.sizeBytes);
      leg = await replica.open();
    }
    if (leg.sizeBytes < p.definition.sizeBytes) {
      throw new ClusterError('leg-too-small', `the leg has ${String(leg.sizeBytes)} bytes, the mirror ${String(p.definition.sizeBytes)}`);
    }
    await ctx.store.update((r) => {
      // Decided again on the record as it is now: a claim may have been written since.
      this.checkEpoch(p.epoch);
      return { ...sessionOpened(r, p, peer), sessionBoot: ctx.env.io.bootId };
    });
    // The source has fetched what it needs of our marks; a map of another size could not be read again.
    if (resized) await this.#d.resetBitmap(true);
    await ctx.own.setLastOwner(false);
    await ctx.own.setSource(peer);
    this.checkEpoch(p.epoch);
    const s = replica.begin({
      id: p.session,
      from: peer,
      epoch: p.epoch,
      kind: p.kind,
      leg,
      sizeBytes: p.definition.sizeBytes,
      regionBytes: p.definition.regionSizeBytes,
      checksums: p.checksums && ctx.env.tunables.checksums,
    });
    ctx.changed();
    return { token: s.token, daemonStart: ctx.env.daemonStart, checksums: s.device.info().checksums === true };
  }

  async join(p: { epoch: Epoch; session: string; membership: Membership }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    const s = replica.require(p.session);
    await ctx.store.update((r) => {
      this.checkEpoch(p.epoch);
      if (s.device.syncFailed) throw new ClusterError('io', `a sync of the leg of ${ctx.env.self} has failed`);
      return {
        ...withoutDoubt(withoutWitness(membershipTaken(r, p.membership, p.epoch))),
        resyncingFrom: null,
        toldOut: null,
        legBehind: null,
        stoppedOnPurpose: false,
        accountComplete: [],
        seeded: [],
        accountGivenTo: null,
        mergePending: [],
        claim: null,
        legZeroed: false,
      };
    });
    await ctx.own.setDataCorrupt(false);
    await this.#d.resetBitmap();
    if (s.device.syncFailed) {
      await this.#d.keepUnsynced();
      throw new ClusterError('io', `a sync of the leg of ${ctx.env.self} has failed`);
    }
    // All that was written since the last good sync has been rewritten, and synced with the join.
    replica.trusted(s);
    s.joined = true;
    ctx.changed();
  }

  async members(p: { epoch: Epoch; session: string; membership: Membership }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    if (!replica.require(p.session).joined) throw new ClusterError('no-session', 'that session has not joined');
    await ctx.store.update((r) => {
      this.checkEpoch(p.epoch);
      return { ...membershipTaken(r, p.membership, p.epoch), legZeroed: r.legZeroed && !p.membership.hadData };
    });
    ctx.changed();
  }

  /** Durable before it is confirmed: from here on this node is no candidate (M2). */
  async out(p: { epoch: Epoch; why: string }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    // What the leg still has in hand is waited for by whoever uses it next (M4): a disk that hangs must not keep this from being said.
    replica.leave();
    await ctx.store.update((r) => {
      this.checkEpoch(p.epoch);
      return {
        ...r,
        epochSeen: p.epoch,
        toldOut: { by: p.epoch.owner, epoch: p.epoch, why: boundedWhy(p.why) },
        inSync: r.inSync.filter((n) => n !== ctx.env.self),
      };
    });
    ctx.changed();
  }

  /** Durable before it is confirmed: whoever lacks that generation, and asks for this node's word, hears of it. */
  async witness(p: { epoch: Epoch; generation: Generation; holds: boolean }): Promise<void> {
    const { ctx } = this.#d;
    this.checkEpoch(p.epoch);
    await ctx.store.update((r) => {
      this.checkEpoch(p.epoch);
      if (!p.holds) return r.witnessed?.generation === p.generation ? withoutWitness(r) : r;
      return knowsGeneration(r, p.generation) ? r : { ...r, epochSeen: p.epoch, witnessed: { epoch: p.epoch, generation: p.generation } };
    });
    ctx.changed();
  }

  /** The source stops on purpose: all it wrote is on this leg, synced; silence from now on means nothing. */
  async stop(p: { epoch: Epoch; session: string }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    replica.require(p.session);
    const { failureTimeoutMs } = ctx.record().definition;
    await replica.endWithin(failureTimeoutMs / 2);
    await replica.syncWithin(failureTimeoutMs);
    await ctx.store.update((r) => ({ ...r, stoppedOnPurpose: true, session: { role: 'target', clean: true } }));
    ctx.changed();
  }

  /** The mirror grows: the leg first, then the record; until its source has grown, too, in the revision that the source has (see `grow`). */
  async grow(p: { epoch: Epoch; session: string; sizeBytes: number; definition: MirrorDefinition }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    replica.require(p.session);
    await replica.grow(p.sizeBytes);
    await ctx.store.update((r) =>
      p.definition.revision >= r.definition.revision ? { ...r, definition: withOwnSectors(p.definition, r.definition) } : r,
    );
    await this.#d.resetBitmap(true);
    ctx.changed();
  }

  /** From now on the source's leg is older than ours, everywhere for all that is known. */
  async sourceLegBehind(peer: NodeName, p: { epoch: Epoch; session: string }): Promise<void> {
    const { ctx, replica } = this.#d;
    this.checkEpoch(p.epoch);
    if (!replica.require(p.session).joined) throw new ClusterError('no-session', 'that session has not joined');
    const file = this.#d.bitmap();
    if (file === undefined) throw new ClusterError('io', 'the bitmap file is damaged');
    file.map(`oos:${peer}`).setAll();
    await file.flush();
    await ctx.store.update((r) => ({
      ...r,
      inSync: r.inSync.filter((n) => n !== peer),
      absentPeers: { ...r.absentPeers, [peer]: r.generation },
    }));
    ctx.changed();
  }
}

function sessionOpened(
  r: StateRecord,
  p: { epoch: Epoch; kind: 'none' | 'partial' | 'full'; generation: string; definition: MirrorDefinition },
  peer: NodeName,
): StateRecord {
  const resync = p.kind !== 'none';
  return {
    ...r,
    definition: p.definition.revision >= r.definition.revision ? withOwnSectors(p.definition, r.definition) : r.definition,
    epochSeen: p.epoch,
    sessionIn: p.epoch,
    claim: null,
    // Marks of another geometry are dropped next.
    accountComplete: p.definition.sizeBytes === r.definition.sizeBytes ? r.accountComplete : [],
    keepOut: false,
    grant: null,
    // Whoever is a target orders nothing any more.
    fullOrdered: [],
    stoppedOnPurpose: false,
    session: { role: 'target', clean: false },
    // From here on somebody else writes to this leg.
    ...checkpointsVoid(r, 'was-target', `${peer} writes to this leg since it serves, in epoch ${epochText(p.epoch)}`),
    // A resync that was cut short stays cut short until a join; a target once told that it is out stays so until then, too.
    resyncingFrom: resync ? { node: peer, kind: p.kind === 'full' ? 'full' : 'partial', generation: p.generation } : r.resyncingFrom,
    inSync: resync ? r.inSync.filter((n) => n !== r.node) : r.inSync,
  };
}
