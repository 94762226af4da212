/**
 * This node as a target: its leg, served to the one session of the one epoch that is current.
 *
 *   session.open --> old session ended: connections closed, its requests done or discarded (M4) --> new token
 *   NBD connection with the token --> LegDevice --> leg
 *
 * The token is the whole of the access right: it is random, known only to the source of the epoch that opened the
 * session, and dead as soon as the session is.
 */
import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { RegionMap } from '../bitmap/regions.ts';
import { ClusterError } from '../cluster/errors.ts';
import { LimitedLog } from '../io/limited-log.ts';
import { Errno, errnoName, type Handle, IoError, type LegInfo } from '../io/types.ts';
import { Unsynced } from '../mirror/unsynced.ts';
import { LegDevice } from '../nbd/leg-device.ts';
import type { NodeContext } from './context.ts';
import { tellOfDamage } from './damage.ts';
import type { NodeEnv } from './env.ts';
import type { Epoch, NodeName } from './types.ts';
import { endsWithin } from './within.ts';

export interface ReplicaSession {
  id: string;
  token: string;
  from: NodeName;
  epoch: Epoch;
  kind: 'none' | 'partial' | 'full';
  joined: boolean;
  device: LegDevice;
}

export interface ReplicaOptions {
  /** An earlier process may have left on the leg what a failed sync gave up. */
  doubtful: boolean;
  /** Where that may be, beside what the bitmap file marks. */
  earlier: 'none' | 'unsynced' | 'lost';
  regions: () => RegionMap;
  /** Told before the source is. `quiet`: until the leg has done with all that the session has given it. */
  onSyncFailed: (s: ReplicaSession | undefined, quiet: Promise<void>) => void;
}

/** How long a leg that is let go of may take for what it has in hand. */
const CLOSE_MAX_MS = 5000;

export class Replica {
  readonly #ctx: NodeContext;
  readonly #env: NodeEnv;
  readonly #path: string;
  readonly #onSyncFailed: ReplicaOptions['onSyncFailed'];
  /** See NodeView.legDoubtful. */
  doubtful: boolean;
  /** What the sessions since the last join have changed and not synced. */
  #unsynced: Unsynced | undefined;
  /**
   * What an earlier process was given as a target and may not have synced: nobody knows where. The kernel tells the first who
   * syncs what was opened since, if it could not write all of it back, but not where that is: then it may be anywhere.
   */
  #earlier: 'none' | 'unsynced' | 'lost';
  readonly #regions: () => RegionMap;
  readonly #limitedLog: LimitedLog;
  #mismatches = 0;
  #leg: LegInfo | undefined;
  #opening: Promise<LegInfo> | undefined;
  #session: ReplicaSession | undefined;
  /** Of the session that ended last, and of all else that the leg still has in hand: whoever uses it next waits for the same. */
  #ending: Promise<void> = Promise.resolve();

  constructor(ctx: NodeContext, legPath: string, o: ReplicaOptions) {
    const { env } = ctx;
    this.#ctx = ctx;
    this.#env = env;
    this.#path = legPath;
    this.doubtful = o.doubtful;
    this.#earlier = o.earlier;
    this.#regions = o.regions;
    this.#limitedLog = new LimitedLog(env.log, env.io.clock);
    this.#onSyncFailed = o.onSyncFailed;
  }

  /** What sources sent that did not match its checksum, since this daemon started. */
  get mismatches(): number {
    return this.#mismatches;
  }

  get session(): ReplicaSession | undefined {
    return this.#session;
  }

  /** Regions that a failed sync may have lost; undefined: there was no session. */
  unsynced(): DirtyBitmap | undefined {
    if (this.#earlier !== 'lost') return this.#unsynced?.regions();
    const all = new DirtyBitmap(this.#regions().regionCount);
    all.setAll();
    return all;
  }

  /** All of it is on stable storage. */
  forgetUnsynced(): void {
    this.#unsynced = undefined;
    this.#earlier = 'none';
  }

  /** All that was written since the last good sync has been rewritten and synced (M3). */
  trusted(s: ReplicaSession): void {
    if (s.device.syncFailed) return;
    this.doubtful = false;
    this.#earlier = 'none';
    this.#unsynced?.rewritten();
  }

  get leg(): LegInfo | undefined {
    return this.#leg;
  }

  /** Opens and locks the leg; EBUSY when somebody else has it. */
  async open(): Promise<LegInfo> {
    if (this.#leg !== undefined) return this.#leg;
    this.#opening ??= this.#env.hub.engine.openLeg(this.#path, { write: true, lock: true });
    try {
      this.#leg = await this.#opening;
      return this.#leg;
    } finally {
      this.#opening = undefined;
    }
  }

  /** After `end` of what was before. */
  begin(o: {
    id: string;
    from: NodeName;
    epoch: Epoch;
    kind: 'none' | 'partial' | 'full';
    leg: LegInfo;
    sizeBytes: number;
    regionBytes: number;
    /** The source will send them, and expects them. */
    checksums: boolean;
  }): ReplicaSession {
    if (this.#session !== undefined) throw new Error('a replica has one session at a time');
    this.#unsynced = new Unsynced(new RegionMap({ deviceBytes: o.sizeBytes, regionBytes: o.regionBytes }), this.#unsynced);
    const device = new LegDevice(
      this.#env.hub,
      { ...o.leg, sizeBytes: o.sizeBytes },
      {
        description: `replica for ${o.from}`,
        blockSizeMinBytes: o.leg.blockSizeBytes,
        checksums: o.checksums,
        touched: this.#unsynced.touched,
        watch: {
          changed: (offset, length) => {
            this.#unsynced?.changed(offset, length);
          },
          syncBegins: () => {
            this.#unsynced?.syncBegins();
          },
          syncEnds: (well) => {
            this.#unsynced?.syncEnds(well);
            this.#heardOfEarlier(well);
          },
          syncFailed: () => {
            // What came from now on could be lost by another sync that fails, and nobody would have it in any account.
            device.stop(Errno.EIO);
            this.#unsynced?.failed();
            this.#heardOfEarlier(false);
            this.doubtful = true;
            this.#onSyncFailed(s, device.drained());
          },
          damaged: (header) => {
            this.#mismatches += 1;
            const about = { leg: this.#path, from: o.from, mismatches: this.#mismatches };
            this.#limitedLog.warn(o.from, 'what a source sent did not match its checksum, and was not written', about);
            // Its source, which gets no answer, does not know why the connection has ended.
            if (header) void tellOfDamage(this.#ctx, s);
          },
        },
      },
    );
    const s: ReplicaSession = { id: o.id, token: this.#env.io.chance.hex64(), from: o.from, epoch: o.epoch, kind: o.kind, joined: false, device };
    this.#session = s;
    this.#env.replicas.set(s.token, device);
    return s;
  }

  /** The session with this id, or a refusal that the source understands. */
  require(id: string): ReplicaSession {
    if (this.#session?.id !== id) throw new ClusterError('no-session', 'that session has ended');
    return this.#session;
  }

  /** From this turn on nothing of the session, if any, is answered; what the leg has been given of it may still be on its way (see `endWithin`). */
  leave(): void {
    const s = this.#session;
    if (s === undefined) return;
    this.#session = undefined;
    this.follow(this.#drain(s));
  }

  /**
   * Ends the session, if any: nothing of it reaches the leg once this has resolved. Rejects with `io` where the leg has not done with it
   * within so long, ms: nobody may be kept waiting by a disk that hangs (M14).
   */
  async endWithin(ms: number): Promise<void> {
    this.leave();
    await this.quietWithin(ms);
  }

  /** The leg still has something in hand until then, and is used by nobody (see `endWithin`). */
  follow(until: Promise<void>): void {
    this.#ending = Promise.all([this.#ending, until]).then(() => undefined);
    // Whoever uses the leg next is told of it by `endWithin`; nobody may be waiting now.
    this.#ending.catch((e: unknown) => {
      this.#env.log.error('what the leg had in hand did not end in order', { leg: this.#path, error: String(e) });
    });
  }

  /** Without ending the session: whether the leg has done with all that it was given. Rejects as `endWithin` does. */
  async quietWithin(ms: number): Promise<void> {
    const quiet = Promise.all([this.#ending, this.#session?.device.drained()]).then(() => undefined);
    if (await endsWithin(this.#env.io.clock, quiet, ms)) return;
    throw new ClusterError('io', `requests of a session are still on their way to ${this.#path}, which does not answer`);
  }

  async #drain(s: ReplicaSession): Promise<void> {
    this.#env.replicas.delete(s.token);
    s.device.stop();
    await this.#env.replicaServer.closeExport(s.device);
    await s.device.drained();
  }

  /** Rejects with IoError; a sync that succeeds after one that failed proves nothing (M3). */
  async sync(): Promise<void> {
    const leg = this.#leg;
    if (leg === undefined) return;
    if (this.doubtful) throw new IoError(Errno.EIO, `sync of ${this.#path}: an earlier one has failed`);
    this.#unsynced?.syncBegins();
    const r = await this.#env.hub.run((op) => {
      this.#env.hub.engine.sync(op, leg.leg);
    });
    this.#unsynced?.syncEnds(r.errno === 0);
    if (r.errno === 0) return;
    this.doubtful = true;
    this.#onSyncFailed(undefined, Promise.resolve());
    throw new IoError(r.errno, `sync of ${this.#path}: ${errnoName(r.errno)}`);
  }

  /** As `sync`, of all that an ended session has given the leg. Rejects with `io` where the leg takes longer than so long, ms (M14). */
  async syncWithin(ms: number): Promise<void> {
    await this.quietWithin(ms);
    const sync = this.sync();
    if (await endsWithin(this.#env.io.clock, sync, ms)) return;
    // How it ends is heard of by then, and not by its caller any more.
    this.follow(Promise.allSettled([sync]).then(() => undefined));
    throw new ClusterError('io', `a sync of ${this.#path} has not ended in time`);
  }

  #heardOfEarlier(well: boolean): void {
    if (this.#earlier === 'unsynced') this.#earlier = well ? 'none' : 'lost';
  }

  /** Syncs what an earlier process was given as a target. False: some of that is lost, it is not known where, and `onSyncFailed` was told. */
  async syncEarlier(): Promise<boolean> {
    if (this.#earlier !== 'unsynced') return true;
    const leg = await this.open();
    const r = await this.#env.hub.run((op) => {
      this.#env.hub.engine.sync(op, leg.leg);
    });
    this.#heardOfEarlier(r.errno === 0);
    if (r.errno === 0) return true;
    this.doubtful = true;
    this.#onSyncFailed(this.#session, Promise.resolve());
    return false;
  }

  /** sha256 of bytes of the leg, hexadecimal. */
  async digest(offset: number, length: number): Promise<string> {
    const leg = await this.open();
    const { hub } = this.#env;
    const read = await hub.must(`read of ${this.#path}`, (op) => {
      hub.engine.read(op, leg.leg, offset, length);
    });
    const h: Handle = read.h;
    try {
      const d = await hub.must('digest', (op) => {
        hub.engine.digest(op, h, 0, length, 'sha256');
      });
      if (d.value?.kind !== 'digest') throw new IoError(Errno.EIO, 'the engine gave no digest');
      return d.value.hex;
    } finally {
      hub.engine.release(h);
    }
  }

  /** A copy of the first bytes of the leg. One that was not in use is locked for the moment only; EBUSY when somebody else has it. */
  async head(length: number): Promise<Uint8Array> {
    const wasOpen = this.#leg !== undefined;
    const leg = await this.open();
    const { engine } = this.#env.hub;
    try {
      const { h } = await this.#env.hub.must(`read of ${this.#path}`, (op) => {
        engine.read(op, leg.leg, 0, Math.min(length, leg.sizeBytes));
      });
      const bytes = engine.view(h).slice();
      engine.release(h);
      return bytes;
    } finally {
      if (!wasOpen) await this.close();
    }
  }

  /** Grows a leg file to at least `sizeBytes`; a device must be large enough already. */
  async grow(sizeBytes: number): Promise<void> {
    const leg = await this.open();
    const now = await this.#env.hub.engine.legSize(leg.leg);
    if (now < sizeBytes) await this.#env.hub.engine.setLegSize(leg.leg, sizeBytes);
    this.#leg = { ...leg, sizeBytes: Math.max(now, sizeBytes) };
    this.#unsynced?.grow(sizeBytes);
    this.#session?.device.setSizeBytes(sizeBytes);
  }

  /** Ends the session and lets go of the leg; one that does not answer stays open, and that is what this rejects with (M14). */
  async close(): Promise<void> {
    await this.endWithin(CLOSE_MAX_MS);
    if (this.#opening !== undefined) await this.#opening;
    const leg = this.#leg;
    this.#leg = undefined;
    if (leg !== undefined) await this.#env.hub.engine.closeLeg(leg.leg);
  }
}
