/** What a mirror's node is given by the daemon: the world, the other nodes, the ways in for NBD clients, and where to tell people. */
import type { Cluster } from '../cluster/cluster.ts';
import type { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import type { Io } from '../io/types.ts';
import type { MirrorSettings } from '../mirror/settings.ts';
import type { Device } from '../nbd/device.ts';
import type { NbdServer } from '../nbd/server.ts';
import type { NodeName } from './types.ts';

/** Kinds of events that people and hooks hear of. */
export type NodeEventKind =
  | 'in-service'
  | 'out-of-service'
  | 'out-of-sync'
  | 'in-sync'
  | 'resync-started'
  | 'resync-done'
  | 'split-brain'
  | 'data-corrupt'
  | 'leg-failed'
  | 'bitmap-damaged'
  | 'checkpoint-void'
  | 'decision'
  | 'verify-done'
  | 'config'
  | 'snapshot-created'
  | 'snapshot-lost'
  | 'snapshot-deleted'
  | 'confirm-failover'
  | 'hook-failed';

export interface DeviceExports {
  /** NBD clients may use the device under this name from now on. */
  add(name: string, device: Device): void;
  /** Ends all connections to it with ESHUTDOWN; resolves when they are closed. */
  remove(name: string, device: Device, graceMs: number): Promise<void>;
  /** NBD clients connected to it now. */
  clients(device: Device): number;
}

export interface HookFacts {
  why: string;
  rule?: string | undefined;
  /** Another node that it is about. */
  peer?: NodeName | undefined;
}

/** Programs of the operator that are told what happens. */
export interface NodeHooks {
  /**
   * The mirror is about to go out of service in order, and still answers: resolves when the hooks have ended, whatever came
   * of them, or their time is over. Never rejects. To be awaited where nothing else is held up, before ownership moves.
   */
  before(event: 'out-of-service', tag: string, facts: HookFacts): Promise<void>;
  /** The hooks are being told that the mirror goes out of service: it does so when they have ended. */
  leaving(tag: string): boolean;
  /** What `before` announced does not happen: the mirror stays in service, and hooks are told `in-service` again. */
  abandoned(tag: string, facts: HookFacts): void;
}

export interface NodeTunables {
  /** Connections to each target. */
  connectionsPerTarget: number;
  /** Resyncs that run at a time, of one mirror. */
  resyncsMax: number;
  /** LKDR_NO_FULL_SYNC: a target just added is taken as identical, on the operator's word. */
  noFullSync: boolean;
  /** LKDR_WAIT_TO_RESYNC: wait for a command before resyncing. */
  waitToResync: boolean;
  /** LKDR_CONNECT_NBD_DURING_RESTORE: connect targets before serving. */
  connectBeforeServing: boolean;
}

export interface NodeEnv {
  self: NodeName;
  root: string;
  daemonStart: string;
  io: Io;
  hub: EngineHub;
  cluster: Cluster;
  log: Log;
  settings: MirrorSettings;
  tunables: NodeTunables;
  exports: DeviceExports;
  /** Serves replica exports on sockets that peers dialed. */
  replicaServer: NbdServer;
  /** Leaf names that replica exports are found under. */
  replicas: Map<string, Device>;
  hooks: NodeHooks;
  emit(tag: string, kind: NodeEventKind, message: string, fields?: Record<string, unknown>): void;
}
