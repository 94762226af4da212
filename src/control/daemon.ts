/**
 * One daemon a node: the mirrors it knows, its links to other nodes, and the two NBD servers (for applications, and for
 * the sources of its replicas). It is given a world and a configuration, so that the simulator starts the same daemon.
 */
import { Cluster } from '../cluster/cluster.ts';
import type { LinkTls } from '../cluster/context.ts';
import { BitmapFile } from '../bitmap/bitmap-file.ts';
import { VoidWatch } from '../failover/checkpoints.ts';
import type { NodeEnv, NodeEventKind, NodeTunables } from '../failover/env.ts';
import { FlagFiles, makeFolders } from '../failover/flags.ts';
import { registerHandlers } from '../failover/handlers.ts';
import { forgetRefusal } from '../failover/forget.ts';
import { factsSchema, type HeartbeatFacts } from '../failover/heartbeat-facts.ts';
import { Mutex } from '../failover/mutex.ts';
import { MirrorNode } from '../failover/node.ts';
import { bitmapPath, statePath } from '../failover/paths.ts';
import { newRecord, readRecord, RecordStore } from '../failover/record.ts';
import { removeOldSnapshots } from '../failover/snapshot-files.ts';
import type { MirrorDefinition, NodeName } from '../failover/types.ts';
import { ClusterError } from '../cluster/errors.ts';
import { AddressRanges } from '../io/address-ranges.ts';
import { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import type { Address, Io, LegInfo } from '../io/types.ts';
import type { MirrorSettings } from '../mirror/settings.ts';
import type { ExportTls } from '../nbd/access.ts';
import type { Device } from '../nbd/device.ts';
import { DEFAULT_HANDSHAKE_LIMITS } from '../nbd/handshake-server.ts';
import { NbdServer } from '../nbd/server.ts';
import type { BrokenMirror, ControlEvent } from './types.ts';
import { type ExportRules, OPEN_TO_ALL } from './export-access.ts';
import { Exports } from './exports.ts';
import { removeFiles } from './forget.ts';
import { doubtLegs, legsInDoubt } from './legs-in-doubt.ts';
import { HOOK_TIMEOUT_MS, Hooks } from './hooks.ts';
import { lookAtLeg, type LegNeeds, needsOf, requireFit, makeLegFile } from './leg-fit.ts';
import { shortestTimeout } from './timeouts.ts';

export interface DaemonOptions {
  io: Io;
  root: string;
  node: NodeName;
  cluster: string;
  /** Null: a node by itself. */
  listen: Address | null;
  peers: Record<NodeName, Address[]>;
  /** TCP addresses for NBD clients, besides the unix socket below the root. */
  exportListen: Address[];
  /** Absent: whoever reaches those may read and write. */
  exportRules?: ExportRules;
  /** Ranges of addresses that nodes may connect from; absent or null: from anywhere. */
  allow?: string[] | null;
  /** Connections between nodes, and STARTTLS for NBD clients over TCP; absent: no TLS. */
  linkTls?: LinkTls | null;
  exportTls?: ExportTls | null;
  failureTimeoutMs: number;
  settings: MirrorSettings;
  tunables: NodeTunables;
  /** For all hooks of one event; 60 s unless set. */
  hookTimeoutMs?: number;
  log: Log;
}

const EVENTS_KEPT = 200;
/** A source gives up by its own failureTimeout, once an answer, which over a slow link may be longer than strangers are given in all. */
const REPLICA_HANDSHAKE_MAX_MS = 60_000;

/** Another node says that the mirror with this create id is to be forgotten. */
interface WordOfPeer {
  createId: string;
  by: NodeName;
}

export class Daemon {
  readonly options: DaemonOptions;
  readonly env: NodeEnv;
  readonly mirrors = new Map<string, MirrorNode>();
  readonly broken = new Map<string, BrokenMirror>();
  readonly socketPath: string;
  readonly #exports: Exports;
  readonly #listeners = new Set<(e: ControlEvent) => void>();
  readonly recentEvents: ControlEvent[] = [];
  readonly #changing = new Mutex();
  readonly #hooks: Hooks;
  #stopping: Promise<void> | undefined;

  constructor(o: DaemonOptions) {
    this.options = o;
    const { io, root, log } = o;
    const hub = new EngineHub(io.createEngine());
    const daemonStart = io.chance.hex64();
    const replicas = new Map<string, Device>();
    const cluster = new Cluster({
      io,
      self: o.node,
      clusterName: o.cluster,
      listen: o.listen,
      peers: o.peers,
      failureTimeoutMs: o.failureTimeoutMs,
      daemonStart,
      log,
      allow: o.allow === undefined || o.allow === null ? null : new AddressRanges(o.allow),
      linkTls: o.linkTls ?? null,
    });
    this.socketPath = `${root}/run/nbd.sock`;
    this.#exports = new Exports({ io, hub, log });
    const handshake = { ...DEFAULT_HANDSHAKE_LIMITS, handshakeTimeoutMs: REPLICA_HANDSHAKE_MAX_MS };
    const replicaServer = new NbdServer({ io, hub, log, limits: { handshake }, exports: { list: () => [], find: (token) => replicas.get(token) } });
    this.#hooks = new Hooks({
      programs: io.programs,
      clock: io.clock,
      root,
      self: o.node,
      timeoutMs: o.hookTimeoutMs ?? HOOK_TIMEOUT_MS,
      log,
      mirror: (tag) => this.#forHooks(tag),
      failed: (tag, message, fields) => {
        log.warn(message, { tag, ...fields });
        this.#tell(tag, 'hook-failed', message, fields);
      },
    });
    this.env = {
      self: o.node,
      root,
      daemonStart,
      io,
      hub,
      cluster,
      log,
      settings: o.settings,
      tunables: o.tunables,
      exports: this.#exports,
      replicaServer,
      replicas,
      hooks: this.#hooks,
      emit: (tag, kind, message, fields) => {
        this.#emit(tag, kind, message, fields ?? {});
      },
    };
  }

  /** Loads what is on disk, listens, and lets every mirror decide. Rejects with IoError when an address can't be bound. */
  async start(): Promise<void> {
    const { io, root, log } = this.options;
    const { cluster } = this.env;
    await makeFolders(io.files, root);
    await removeOldSnapshots(io.files, root, log);
    cluster.provideTimeouts((peer) => shortestTimeout(this.mirrors.values(), peer));
    await this.#load();
    cluster.provideFacts((peer) => this.#factsFor(peer));
    cluster.onFacts<HeartbeatFacts | null>((peer, facts) => {
      this.#heard(peer, facts);
    }, factsSchema.nullable());
    cluster.stalls((ms) => {
      for (const m of this.mirrors.values()) m.stalled(ms);
    });
    cluster.onConnection(() => {
      for (const m of this.mirrors.values()) m.source?.changes.notify();
    });
    registerHandlers(
      cluster,
      {
        get: (tag) => this.mirrors.get(tag),
        unusable: (tag) => this.broken.get(tag)?.maybeSound === true,
        adopt: (peer, definition, zeroed) => this.adopt(peer, definition, zeroed),
        checkLeg: (leg, definition) => lookAtLeg(this.env.hub.engine, leg, needsOf(definition)),
        forget: (tag, createId, by) => this.forget(tag, { createId, by }),
      },
      this.env.replicaServer,
    );
    await cluster.start();
    const rules = Object.keys(this.options.exportRules?.mirrors ?? {}).filter((tag) => !this.mirrors.has(tag) && !this.broken.has(tag));
    if (rules.length > 0) log.warn('the configuration has rules for exports of mirrors that are not here', { tags: rules });
    const { exportListen, exportRules, exportTls } = this.options;
    await this.#exports.listen(this.socketPath, exportListen, exportRules ?? OPEN_TO_ALL, exportTls ?? undefined);
    for (const m of this.mirrors.values()) m.start();
    log.info('netraidd is up', { node: this.options.node, mirrors: [...this.mirrors.keys()], broken: [...this.broken.keys()] });
  }

  /** How many connections were refused something for where they come from, or for what they have not proved. */
  refused(): { clients: number; nodes: number } {
    return { clients: this.#exports.forbidden, nodes: this.env.cluster.refused };
  }

  async #load(): Promise<void> {
    const { io, root, node } = this.options;
    for (const name of await io.files.list(root)) {
      const tag = /^state_(.+)$/.exec(name)?.[1];
      if (tag === undefined || tag.endsWith('.tmp')) continue;
      // One mirror that can't be used takes no other with it (M13).
      try {
        const path = statePath(root, tag);
        const read = await readRecord(io.files, path, { node, tag });
        if (read.kind === 'ok') await this.#open(new RecordStore(io.files, path, read.record), tag);
        else this.#breaks(tag, read.kind === 'missing' ? 'the state record is missing' : `the state record is damaged: ${read.why}`);
      } catch (e: unknown) {
        this.#breaks(tag, e instanceof Error ? e.message : String(e), true);
      }
    }
    for (const name of await io.files.list(root)) {
      const tag = /^bitmap_(.+)$/.exec(name)?.[1];
      if (tag === undefined || tag.endsWith('.tmp') || this.mirrors.has(tag) || this.broken.has(tag)) continue;
      this.#breaks(tag, `the state record is missing, although there is a bitmap file ${name}`);
    }
  }

  #breaks(tag: string, why: string, maybeSound = false): void {
    this.broken.set(tag, { tag, why, maybeSound });
    this.options.log.error('a mirror is out of service: its state can not be used', { tag, why });
  }

  async #open(store: RecordStore, tag: string): Promise<MirrorNode> {
    const { io, root } = this.options;
    const watch = new VoidWatch(store.record);
    const changed = (): void => {
      for (const { name, found } of watch.look(store.record)) {
        this.env.emit(tag, 'checkpoint-void', `checkpoint ${name} is void: ${found.why}`, { checkpoint: name, rule: found.rule });
      }
    };
    const node = new MirrorNode(this.env, store, new FlagFiles(io.files, root, tag), changed);
    await node.open();
    changed();
    this.mirrors.set(tag, node);
    this.env.cluster.timeoutsChanged();
    return node;
  }

  #factsFor(peer: NodeName): unknown {
    const facts: Record<string, unknown> = {};
    for (const m of this.mirrors.values()) {
      // Who speaks of the mirror hears of it, too: one that was removed while it was away learns so.
      if (m.record().definition.nodes[peer] !== undefined || m.peerView(peer) !== undefined) facts[m.tag] = m.factsFor(peer);
    }
    return facts;
  }

  #heard(peer: NodeName, facts: HeartbeatFacts | null): void {
    for (const m of facts === null ? [] : this.mirrors.values()) {
      m.heartbeat(peer, facts !== null && Object.hasOwn(facts, m.tag) ? facts[m.tag] : undefined);
    }
  }

  // ------------------------------------------------------------------------------------------------- mirrors

  /** Makes the files of a mirror that is new on this node. A first leg that is not known to be zeroes holds somebody's data. */
  async install(definition: MirrorDefinition, leg: { made: boolean; zeroed: boolean }, hadData: boolean): Promise<MirrorNode> {
    const { io, root, node, log } = this.options;
    const { tag } = definition;
    const doubt = leg.made ? null : await legsInDoubt(io.files, root, io.bootId);
    if (doubt !== null) {
      const unless = 'unless the machine is started anew first, or its file is removed, so that one is made';
      log.warn(`all of the leg will be written, zeroes too, ${unless}: ${doubt}`, { tag });
    }
    const legZeroed = leg.made || (leg.zeroed && doubt === null);
    const record = { ...newRecord(definition, node, io.chance), legZeroed, hadData, ...(doubt === null ? {} : { legInDoubt: io.bootId }) };
    const file = await BitmapFile.create(
      io.files,
      bitmapPath(root, tag),
      { createId: definition.createId, deviceBytes: definition.sizeBytes, regionBytes: definition.regionSizeBytes, generation: record.generation },
      { replace: true },
    );
    await file.close();
    const m = await this.#open(await RecordStore.create(io.files, statePath(root, tag), record), tag);
    m.start();
    return m;
  }

  /** One at a time with `forget`: a request that is asked again while the first is carried out finds what that made. */
  adopt(peer: NodeName, definition: MirrorDefinition, zeroed: boolean): Promise<void> {
    return this.#changing.run(() => this.#adopt(peer, definition, zeroed));
  }

  async #adopt(peer: NodeName, definition: MirrorDefinition, zeroed: boolean): Promise<void> {
    const { node } = this.options;
    const { tag } = definition;
    const known = this.mirrors.get(tag);
    if (known !== undefined) {
      // It refuses every session from now on.
      if (known.stopped) throw new ClusterError('stopping', `${node} is stopping`);
      const ours = known.record().definition;
      if (ours.createId !== definition.createId) throw new ClusterError('conflict', `${node} already has another mirror ${tag}`);
      const leg = ours.nodes[node]?.leg;
      if (leg !== undefined && leg === definition.nodes[node]?.leg) return;
      if (leg !== undefined) throw new ClusterError('conflict', `${node} has mirror ${tag} on ${leg} already: delete it there first`);
      // It was removed while it was away, and is added again: what it knew is void.
      await this.#forget(tag, { createId: ours.createId, by: peer });
    }
    if (this.broken.has(tag)) throw new ClusterError('conflict', `${node} has a mirror ${tag} whose state can not be used: delete it there first`);
    const own = definition.nodes[node];
    if (own === undefined || definition.nodes[peer] === undefined)
      throw new ClusterError('bad-definition', `the definition does not name ${node} and ${peer}`);
    const { made } = await this.prepareLeg(own.leg, needsOf(definition));
    await this.install(definition, { made, zeroed }, false);
  }

  /** Looks at a leg before it is used; makes a file that is absent. `made`: just now, of zeroes. */
  async prepareLeg(path: string, needs: LegNeeds): Promise<{ made: boolean; info: LegInfo }> {
    const { io } = this.options;
    for (const m of this.mirrors.values()) {
      if (m.tag !== needs.tag && m.record().definition.nodes[this.options.node]?.leg === path) {
        throw new ClusterError('leg-in-use', `${path} is the leg of mirror ${m.tag}`);
      }
    }
    const made = await makeLegFile(io.files, path, needs.sizeBytes);
    const { engine } = this.env.hub;
    const info = await engine.openLeg(path, { write: true, lock: true });
    await engine.closeLeg(info.leg);
    requireFit(path, info, needs);
    return { made, info };
  }

  /**
   * Forgets a mirror: record, bitmap and flags go, the leg keeps its data. `on`: another node's word, which is refused while this
   * one is, or may go, in service; null: an operator's here. Rejects with ClusterError when it is refused.
   */
  forget(tag: string, on: WordOfPeer | null): Promise<void> {
    return this.#changing.run(() => this.#forget(tag, on));
  }

  async #forget(tag: string, on: WordOfPeer | null): Promise<void> {
    const { io, root, node } = this.options;
    const m = this.mirrors.get(tag);
    if (m === undefined && !this.broken.has(tag)) return;
    if (m !== undefined) {
      if (on !== null && m.record().definition.createId !== on.createId) throw new ClusterError('conflict', `${node} has another mirror ${tag}`);
      const refuse = (): void => {
        const why = on === null ? null : m.inService ? `${node} is in service` : forgetRefusal(m.record(), on.by);
        if (why !== null) throw new ClusterError('refused', why);
      };
      await m.stop(true, on === null ? undefined : refuse);
    }
    // With a record goes what it says of its leg.
    const inDoubt = m === undefined || m.replica.doubtful || (m.replica.unsynced()?.count ?? 0) > 0;
    try {
      await removeFiles(io.files, root, tag, () => (inDoubt ? doubtLegs(io.files, root, io.bootId) : Promise.resolve()));
      this.broken.delete(tag);
    } catch (e: unknown) {
      // Nothing uses them any more, and whoever asks once more finds what is left (M14).
      this.#breaks(tag, `it was to be forgotten, and its files could not be removed: ${e instanceof Error ? e.message : String(e)}`);
      throw e;
    } finally {
      this.mirrors.delete(tag);
      this.env.cluster.timeoutsChanged();
    }
  }

  // -------------------------------------------------------------------------------------------------- events

  #emit(tag: string, kind: NodeEventKind, message: string, fields: Record<string, unknown>): void {
    this.options.log.info(message, { tag, event: kind, ...fields });
    this.#hooks.heard(this.#tell(tag, kind, message, fields));
  }

  #tell(tag: string, kind: NodeEventKind, message: string, fields: Record<string, unknown>): ControlEvent {
    const e: ControlEvent = { at: this.options.io.clock.wallNow(), tag, kind, message, fields };
    this.recentEvents.push(e);
    if (this.recentEvents.length > EVENTS_KEPT) this.recentEvents.shift();
    for (const f of this.#listeners) f(e);
    return e;
  }

  #forHooks(tag: string): { nodes: NodeName[]; source: NodeName | null } | undefined {
    const m = this.mirrors.get(tag);
    if (m === undefined) return undefined;
    const source = m.inService ? this.options.node : (m.replica.session?.from ?? m.flags.flags.source);
    return { nodes: Object.keys(m.record().definition.nodes), source };
  }

  onEvent(f: (e: ControlEvent) => void): { stop(): void } {
    this.#listeners.add(f);
    return {
      stop: () => {
        this.#listeners.delete(f);
      },
    };
  }

  /** Clean stop: mirrors leave service in order, everything is closed. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await Promise.all([...this.mirrors.values()].map((m) => m.stop(true)));
    await this.#hooks.stop();
    await this.#exports.close();
    await this.env.replicaServer.close({ drainMs: 1000 });
    await this.env.cluster.stop();
    await this.env.hub.engine.shutdown();
  }
}
