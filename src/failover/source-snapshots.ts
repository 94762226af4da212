/**
 * The snapshots of a mirror in service here: made, served, lost and given up. They live no longer than this term of the source.
 *
 *   created --> whole --- no room, a disk that fails, a copy that takes too long --> lost (listed, answers EIO, keeps nothing)
 *                  `------------ deleted, or the mirror leaves service -----------------'--> gone, with its file
 */
import { ClusterError } from '../cluster/errors.ts';
import type { LegId } from '../io/types.ts';
import type { MirrorDevice } from '../mirror/device.ts';
import { Snapshot } from '../mirror/snapshot.ts';
import { SnapshotExport } from '../mirror/snapshot-export.ts';
import { Snapshots } from '../mirror/snapshots.ts';
import type { MetaContext } from '../nbd/device.ts';
import type { NodeContext } from './context.ts';
import { SNAPSHOTS_MAX } from './limits.ts';
import { Mutex } from './mutex.ts';
import { nodePaths, snapshotName, snapshotPath } from './paths.ts';
import { type Serving, whileServingNothing } from './serving-nothing.ts';
import { makeSnapshotFile, removeSnapshotFile } from './snapshot-files.ts';

/** For readers that are connected when a snapshot goes. */
const CLOSE_MS = 200;

/** What the snapshots need of their source. */
export interface SnapshotsOwner extends Serving {
  readonly ctx: NodeContext;
  readonly device: MirrorDevice;
  readonly serving: boolean;
}

/** What is done in the turn of a snapshot's moment, beside taking it. */
export interface AtMoment {
  /** What its export says beside base:allocation. */
  metaContexts: readonly MetaContext[];
  /** Something else that is of the same moment; rejects: the snapshot is given up as well. */
  also?: Promise<void>;
}

/** One snapshot, as people see it. */
export interface SnapshotView {
  name: string;
  /** The name of its export. */
  export: string;
  state: 'whole' | 'lost';
  /** Why it is lost. */
  why: string;
  /** Its moment: milliseconds since 1970. */
  createdAt: number;
  sizeBytes: number;
  /** What it keeps of what has been overwritten since, and what it may keep. */
  usedBytes: number;
  spaceBytes: number;
  clients: number;
}

interface Entry {
  name: string;
  snapshot: Snapshot;
  export: SnapshotExport;
  leg: LegId;
  createdAt: number;
  /** Resolves when its file is gone; undefined: it is in use. */
  fileGone: Promise<void> | undefined;
}

export class SourceSnapshots {
  readonly #owner: SnapshotsOwner;
  readonly #set: Snapshots;
  readonly #entries = new Map<string, Entry>();
  readonly #changing = new Mutex();
  #ended = false;

  constructor(owner: SnapshotsOwner, failureTimeoutMs: number) {
    this.#owner = owner;
    // Nobody takes a write that waits for its copy for one that hangs.
    this.#set = new Snapshots({ device: owner.device, log: owner.ctx.env.log, copyMaxMs: failureTimeoutMs / 2 });
  }

  views(): SnapshotView[] {
    return [...this.#entries.values()].map((e) => this.#view(e));
  }

  #view({ name, snapshot, createdAt, ...e }: Entry): SnapshotView {
    const { lost, sizeBytes, usedBytes, spaceMaxBytes } = snapshot;
    return {
      name,
      export: snapshotName(this.#owner.ctx.tag, name),
      state: lost === undefined ? 'whole' : 'lost',
      why: lost ?? '',
      createdAt,
      sizeBytes,
      usedBytes: e.fileGone === undefined ? usedBytes : 0,
      spaceBytes: spaceMaxBytes,
      clients: this.#owner.ctx.env.exports.clients(e.export),
    };
  }

  /** `atMoment`: called in the turn that the snapshot is of. Rejects with ClusterError `refused`, and with IoError when its file can not be made. */
  create(name: string, spaceBytes: number, atMoment: () => AtMoment): Promise<SnapshotView> {
    return this.#changing.run(() => {
      this.#refuse(name);
      return whileServingNothing(this.#owner, () => this.#make(name, spaceBytes, atMoment));
    });
  }

  async #make(name: string, spaceBytes: number, atMoment: () => AtMoment): Promise<SnapshotView> {
    const { ctx } = this.#owner;
    const { io, hub, root } = ctx.env;
    const path = snapshotPath(root, ctx.tag, name);
    const { sizeBytes } = this.#owner.device;
    try {
      await removeSnapshotFile(io.files, path);
      const leg = await makeSnapshotFile(io.files, hub, path, nodePaths(root).snapshots, sizeBytes);
      try {
        this.#refuse(name, sizeBytes);
      } catch (e: unknown) {
        await hub.engine.closeLeg(leg);
        throw e;
      }
      return await this.#begin(name, leg, Math.min(spaceBytes, sizeBytes), atMoment);
    } catch (e: unknown) {
      await removeSnapshotFile(io.files, path);
      throw e;
    }
  }

  /** `sizeBytes`: what its file was made for. */
  #refuse(name: string, sizeBytes = this.#owner.device.sizeBytes): void {
    const { ctx, device, serving } = this.#owner;
    const { tag } = ctx;
    const refuse = (why: string): never => {
      throw new ClusterError('refused', why);
    };
    if (this.#ended || !serving || device.stopped) refuse(`${tag} is not in service on ${ctx.env.self}`);
    if (!device.mayTell()) refuse(`${tag} is suspended: whether this node is still the source is being found out`);
    if (this.#entries.has(name)) refuse(`${tag} has a snapshot ${name} already`);
    if (this.#entries.size >= SNAPSHOTS_MAX) refuse(`${tag} has ${String(SNAPSHOTS_MAX)} snapshots, which is the most: delete one first`);
    if (device.sizeBytes !== sizeBytes) refuse(`${tag} has another size since: create it again`);
  }

  /** The snapshot's moment is the turn of this call. */
  async #begin(name: string, leg: LegId, spaceMaxBytes: number, atMoment: () => AtMoment): Promise<SnapshotView> {
    const { ctx, device } = this.#owner;
    const { env, tag } = ctx;
    const snapshot = new Snapshot({
      hub: env.hub,
      file: leg,
      sizeBytes: device.sizeBytes,
      granuleBytes: this.#set.granuleBytes,
      spaceMaxBytes,
      onLost: (why) => {
        this.#lost(entry, why);
      },
    });
    const description = `snapshot ${name} of NetRAID mirror ${tag}`;
    const { metaContexts, also } = atMoment();
    const served = new SnapshotExport({ device, snapshots: this.#set, snapshot, description, metaContexts });
    const entry: Entry = { name, snapshot, export: served, leg, createdAt: env.io.clock.wallNow(), fileGone: undefined };
    this.#set.add(snapshot);
    this.#entries.set(name, entry);
    env.exports.add(snapshotName(tag, name), served);
    env.emit(tag, 'snapshot-created', `snapshot ${name} is of now`, { snapshot: name, spaceBytes: spaceMaxBytes });
    try {
      await also;
    } catch (e: unknown) {
      await this.#end(entry, 'given up');
      throw e;
    }
    return this.#view(entry);
  }

  /** Its readers get errors from now on, and the room goes back at once: it may be what others lack. */
  #lost(e: Entry, why: string): void {
    const { ctx } = this.#owner;
    this.#giveUp(e);
    if (this.#entries.get(e.name) === e) ctx.env.emit(ctx.tag, 'snapshot-lost', `snapshot ${e.name} is lost: ${why}`, { snapshot: e.name, why });
  }

  #giveUp(e: Entry): void {
    this.#set.remove(e.snapshot);
    e.fileGone ??= this.#removeFile(e);
  }

  async #removeFile(e: Entry): Promise<void> {
    const { env, tag } = this.#owner.ctx;
    try {
      await removeSnapshotFile(env.io.files, snapshotPath(env.root, tag, e.name));
    } catch (error: unknown) {
      env.log.warn('the file of a snapshot can not be removed', { tag, snapshot: e.name, error: String(error) });
    }
    env.hub.engine.closeLeg(e.leg).catch((error: unknown) => {
      env.log.warn('the file of a snapshot can not be closed', { tag, snapshot: e.name, error: String(error) });
    });
  }

  /** Rejects with ClusterError `refused` when there is none of that name. */
  delete(name: string): Promise<void> {
    return this.#changing.run(async () => {
      const e = this.#entries.get(name);
      const known = [...this.#entries.keys()].join(', ');
      if (e === undefined) throw new ClusterError('refused', `${this.#owner.ctx.tag} has no snapshot ${name}; snapshots: ${known || 'none'}`);
      await this.#end(e, 'deleted');
    });
  }

  /** The mirror leaves service: resolves when no reader is connected and no file is left. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all([...this.#entries.values()].map((e) => this.#end(e, 'gone, the mirror has left service')));
  }

  async #end(e: Entry, how: string): Promise<void> {
    const { env, tag } = this.#owner.ctx;
    this.#entries.delete(e.name);
    e.snapshot.lose(how);
    this.#giveUp(e);
    await env.exports.remove(snapshotName(tag, e.name), e.export, CLOSE_MS);
    await e.fileGone;
    env.emit(tag, 'snapshot-deleted', `snapshot ${e.name} is ${how}`, { snapshot: e.name });
  }
}
