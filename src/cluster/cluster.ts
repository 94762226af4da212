/**
 * How nodes talk: one TCP port a node for everything between nodes.
 *
 *      A                                                   B
 *      dialer (one a path) ---- A's requests, A's pings --> inbound link     a link carries one direction of asking;
 *      inbound link <---------- B's requests, B's pings --- dialer           the answers come back on it
 *      dialNbd ---------------- hello, then plain NBD ----> onNbd
 *
 * A pair of nodes thus has a link each way on every path, and a path that is cut one way shows as such. Every heartbeat
 * carries what its sender has to say (`facts`), and so does its answer.
 *
 * Invariants:
 * - a peer counts as silent only when nothing came from it on any path, either way dialed
 * - our own stall restarts the silence clocks before anybody can read them; after a stall for which anybody may have given
 *   us up, the links with it begin anew, since what they hold was said before it
 * - heartbeats are sent, and our own stalls looked for, as often as the shortest failure timeout asks for; how often a peer
 *   sends its own, it says
 * - whatever a peer or a stranger does costs bounded memory here, and disturbs no other peer
 */
import { z } from 'zod';
import type { NodeName } from '../failover/types.ts';
import type { Log } from '../io/log.ts';
import type { PullSocket } from '../io/pull-socket.ts';
import type { Address, Io } from '../io/types.ts';
import { Acceptor, type NbdAdmit, type NbdAccept } from './acceptor.ts';
import { type ClusterContext, type ClusterLimits, DEFAULT_LIMITS, HANDSHAKE_MAX_MS, HEARTBEATS, type LinkTls } from './context.ts';
import { ClusterCode, ClusterError } from './errors.ts';
import type { AddressRanges } from '../io/address-ranges.ts';
import { LimitedLog } from '../io/limited-log.ts';
import { firstFault, PROTOCOL, type ProtocolRange } from './messages.ts';
import { Methods } from './methods.ts';
import { dialNbd, type NbdSocket } from './nbd-dial.ts';
import { Peer, type PeerStatus } from './peer.ts';
import { StallWatch } from './stall-watch.ts';

export interface ClusterOptions {
  io: Pick<Io, 'clock' | 'chance' | 'net'>;
  self: NodeName;
  /** Nodes of another cluster are refused. */
  clusterName: string;
  /** Null: dials only. */
  listen: Address | null;
  /** One or more paths a peer. */
  peers: Record<NodeName, Address[]>;
  /** See `provideTimeouts`. */
  failureTimeoutMs: number;
  /** Another value for each start of this daemon. */
  daemonStart: string;
  log: Log;
  protocol?: ProtocolRange;
  limits?: Partial<ClusterLimits>;
  /** Where nodes may connect from; absent or null: from anywhere. */
  allow?: AddressRanges | null;
  /** Absent or null: connections between nodes are not secured. */
  linkTls?: LinkTls | null;
}

/**
 * `path`: the address dialed, or `from …` for a connection that the peer dialed. `askedAt`: facts out of an answer are
 * no older than this time of our clock; undefined for facts out of the peer's own heartbeat, whose age is unknown.
 */
export type OnFacts<T> = (peer: NodeName, facts: T, path: string, askedAt: number | undefined) => void;

export class Cluster {
  readonly self: NodeName;
  readonly #ctx: ClusterContext;
  readonly #listen: Address | null;
  readonly #peers = new Map<NodeName, Peer>();
  readonly #methods: Methods;
  readonly #acceptor: Acceptor;
  readonly #stallWatch: StallWatch;
  readonly #dialing = new Set<PullSocket>();
  readonly #endings = new Set<Promise<void>>();
  readonly #onStall: ((stalledForMs: number) => void)[] = [];
  readonly #onConnection: ((peer: NodeName, connected: boolean) => void)[] = [];
  /** Who waits for a peer to become connected. */
  readonly #awaiting = new Set<() => void>();
  #factsFor: (peer: NodeName) => unknown = () => null;
  #timeoutFor: (peer: NodeName | undefined) => number = () => Infinity;
  #onFacts: OnFacts<unknown> = () => undefined;
  #nbdAdmit: NbdAdmit | undefined;
  #state: 'new' | 'started' | 'stopped' = 'new';
  #stopping: Promise<void> | undefined;

  constructor(o: ClusterOptions) {
    this.self = o.self;
    this.#listen = o.listen;
    const heartbeatMs = o.failureTimeoutMs / HEARTBEATS;
    this.#ctx = {
      clock: o.io.clock,
      chance: o.io.chance,
      net: o.io.net,
      self: o.self,
      clusterName: o.clusterName,
      daemonStart: o.daemonStart,
      protocol: o.protocol ?? PROTOCOL,
      failureTimeoutMs: o.failureTimeoutMs,
      timeoutOf: (peer) => Math.min(o.failureTimeoutMs, this.#timeoutFor(peer)),
      handshakeTimeoutMs: Math.min(HANDSHAKE_MAX_MS, o.failureTimeoutMs),
      limits: { ...DEFAULT_LIMITS, ...o.limits },
      allow: o.allow ?? null,
      linkTls: o.linkTls ?? null,
      inClear: new Set(),
      log: new LimitedLog(o.log, o.io.clock),
      factsFor: (peer) => this.#factsFor(peer),
      onFacts: (peer, facts, path, askedAt) => {
        this.#onFacts(peer, facts, path, askedAt);
        this.#peers.get(peer)?.onHeartbeat();
      },
      checkStall: () => {
        this.checkStall();
      },
    };
    this.#methods = new Methods(o.log);
    this.#acceptor = new Acceptor(this.#ctx, this.#methods, {
      peer: (name) => this.#peers.get(name),
      nbdAdmit: () => this.#nbdAdmit,
    });
    this.#stallWatch = new StallWatch(o.io.clock, heartbeatMs, heartbeatMs, {
      onTick: (now) => {
        for (const peer of this.#peers.values()) peer.tick(now);
      },
      onStall: (stalledForMs, now) => {
        this.#stalled(stalledForMs, now);
      },
    });
    for (const [name, addresses] of Object.entries(o.peers)) this.addPeer(name, addresses);
  }

  /** Listens and dials. Rejects with IoError when the address cannot be bound. */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new Error('a cluster starts once');
    if (this.#listen !== null) await this.#acceptor.listen(this.#listen);
    if (this.#stopped()) return;
    this.#state = 'started';
    this.#stallWatch.start();
    for (const peer of this.#peers.values()) peer.start();
  }

  /** Closes everything; requests that wait are rejected with `closed`. NBD sockets handed over live on. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** How many connections were not taken for where they come from. */
  get refused(): number {
    return this.#acceptor.refused;
  }

  /** The address bound, with its real port; undefined before start and without `listen`. */
  get address(): Address | undefined {
    return this.#acceptor.address;
  }

  // --------------------------------------------------------------------------------------------------- peers

  /** Adds a peer, or gives one other paths. */
  addPeer(name: NodeName, addresses: readonly Address[]): void {
    if (name === this.self) throw new ClusterError(ClusterCode.REFUSED, `${name} is this node itself`);
    let peer = this.#peers.get(name);
    if (peer === undefined) {
      peer = new Peer(this.#ctx, name, (connected) => {
        if (!this.#stopped()) for (const f of this.#onConnection) f(name, connected);
        for (const look of [...this.#awaiting]) look();
      });
      this.#peers.set(name, peer);
    }
    peer.setPaths(addresses);
    if (this.#state === 'started') peer.start();
  }

  /** Hangs up, and refuses the peer from now on. Does nothing for a name that is no peer. */
  removePeer(name: NodeName): void {
    const peer = this.#peers.get(name);
    if (peer === undefined) return;
    this.#peers.delete(name);
    const ending = peer.stop(new ClusterError(ClusterCode.CLOSED, `${name} was removed`)).then(() => {
      this.#endings.delete(ending);
    });
    this.#endings.add(ending);
  }

  peers(): NodeName[] {
    return [...this.#peers.keys()];
  }

  /** Whether requests to the peer can be sent now. */
  connected(peer: NodeName): boolean {
    return this.#peers.get(peer)?.connected ?? false;
  }

  /** Whether it is connected, or becomes so within that time: it is dialed at once. */
  connectedWithin(peer: NodeName, ms: number): Promise<boolean> {
    const p = this.#peers.get(peer);
    if (p === undefined || p.connected || this.#state !== 'started') return Promise.resolve(p?.connected === true);
    p.hurry();
    return new Promise((resolve) => {
      const end = (): void => {
        timer.cancel();
        this.#awaiting.delete(look);
        resolve(p.connected);
      };
      const look = (): void => {
        if (p.connected) end();
      };
      const timer = this.#ctx.clock.after(ms, end);
      this.#awaiting.add(look);
    });
  }

  reachable(): NodeName[] {
    return [...this.#peers.values()].filter((p) => p.connected).map((p) => p.name);
  }

  /** The start of the peer's daemon that was met last (M5); undefined: none since our own start. */
  daemonStartOf(peer: NodeName): string | undefined {
    return this.#peers.get(peer)?.daemonStart;
  }

  /** Each time a peer becomes connected or stops being so. */
  onConnection(f: (peer: NodeName, connected: boolean) => void): void {
    this.#onConnection.push(f);
  }

  /** For people: each peer, its paths, and the connections it dialed. */
  status(): PeerStatus[] {
    this.checkStall();
    const now = this.#ctx.clock.now();
    return [...this.#peers.values()].map((p) => p.status(now));
  }

  // ---------------------------------------------------------------------------------------- heartbeats, clocks

  /** What heartbeats to a peer, and answers to its heartbeats, say. JSON below 1 MiB; must not throw. */
  provideFacts(f: (peer: NodeName) => unknown): void {
    this.#factsFor = f;
  }

  /** What peers say. Facts that the schema refuses count as garbage: their connection is closed. `f` must not throw. */
  onFacts(f: OnFacts<unknown>): void;
  onFacts<T>(f: OnFacts<T>, schema: z.ZodType<T>): void;
  onFacts(f: OnFacts<unknown>, schema: z.ZodType = z.unknown()): void {
    this.#onFacts = (peer, facts, path, askedAt) => {
      const parsed = schema.safeParse(facts);
      if (!parsed.success) throw new ClusterError(ClusterCode.PROTOCOL, `facts that are not as agreed: ${firstFault(parsed.error)}`);
      f(peer, parsed.data, path, askedAt);
    };
  }

  /**
   * From how short a silence somebody here takes that peer for lost, or (undefined) any peer; where that is less than our own
   * failure timeout, it goes before it. Must not throw; to be followed by `timeoutsChanged` when it answers otherwise for any.
   */
  provideTimeouts(f: (peer: NodeName | undefined) => number): void {
    this.#timeoutFor = f;
    this.timeoutsChanged();
  }

  timeoutsChanged(): void {
    const heartbeatMs = this.#ctx.timeoutOf() / HEARTBEATS;
    this.#stallWatch.setPace(heartbeatMs, heartbeatMs);
  }

  /** Sends a heartbeat now, on every path of one peer or of all: there is something new to say. */
  heartbeatNow(peer?: NodeName): void {
    if (this.#state !== 'started') return;
    this.checkStall();
    const now = this.#ctx.clock.now();
    for (const p of this.#peers.values()) if (peer === undefined || p.name === peer) p.tick(now);
  }

  /** Milliseconds since anything came from the peer on any path, our own stalls not counted; undefined: never since start. */
  silentForMs(peer: NodeName): number | undefined {
    this.checkStall();
    return this.#peers.get(peer)?.silentForMs(this.#ctx.clock.now());
  }

  /** Our clock when anything last came from the peer, stalls or not; undefined: never since start. It may have been sent long before. */
  receivedAt(peer: NodeName): number | undefined {
    return this.#peers.get(peer)?.receivedAt;
  }

  /**
   * Milliseconds by which the last heartbeat of the peer that could be read is older than the last that was heard of it: a hello, or what
   * was damaged on its way on a connection that stands, shows that it lives and says nothing.
   */
  mumblingForMs(peer: NodeName): number {
    return this.#peers.get(peer)?.mumblingForMs ?? 0;
  }

  /** Our clock when we sent the latest of the heartbeats that the peer has answered; undefined: none yet. */
  answeredPingAt(peer: NodeName): number | undefined {
    return this.#peers.get(peer)?.answeredPingAt;
  }

  /** Whether the peer has answered a heartbeat that we sent at `t` or later: it knows what we said then, and was alive after `t`. */
  peerHeardUsSince(peer: NodeName, t: number): boolean {
    const at = this.answeredPingAt(peer);
    return at !== undefined && at >= t;
  }

  /** Each time this process itself stood still; `stalledForMs` is never less than the stall. Clocks that it matters for have been restarted by then. */
  stalls(f: (stalledForMs: number) => void): void {
    this.#onStall.push(f);
  }

  /** Finds a stall now rather than at the next tick. Call it before an act that a node which was frozen must not do. */
  checkStall(): void {
    this.#stallWatch.check();
  }

  // ------------------------------------------------------------------------------------------------ requests

  /**
   * Asks a peer. Rejects with ClusterError: `unreachable`, `busy`, `too-large` (nothing was sent); `timeout`, `lost`,
   * `closed` (the outcome is unknown); or the code that the peer answered, with `from` set.
   */
  async request(peer: NodeName, method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    this.checkStall();
    return await this.#peer(peer).request(method, params, timeoutMs);
  }

  /** Answers requests of peers. A ClusterError thrown by `f` is sent with its code, any other error as `internal`. One handler a method. */
  handle<T>(method: string, schema: z.ZodType<T>, f: (peer: NodeName, params: T) => Promise<unknown>): void {
    this.#methods.add(method, schema, f);
  }

  // ----------------------------------------------------------------------------------------------------- nbd

  /**
   * A new connection that carries plain NBD with the peer as server; `answerMs` for each answer, two on each path. Rejects with
   * ClusterError, the peer's own refusal included.
   */
  async dialNbd(peer: NodeName, params: unknown, answerMs: number): Promise<NbdSocket> {
    return await dialNbd(this.#ctx, peer, this.#peer(peer).addresses(), params, answerMs, {
      track: (pull) => {
        this.#dialing.add(pull);
        return () => {
          this.#dialing.delete(pull);
        };
      },
      stopped: () => this.#stopped(),
    });
  }

  /**
   * Judges NBD connections of peers: `admit` throws ClusterError to refuse, or returns what takes the raw socket over
   * once the ok is written. Parameters that the schema refuses are answered with `invalid-params`.
   */
  onNbd<T>(schema: z.ZodType<T>, admit: (peer: NodeName, params: T, daemonStart: string) => NbdAccept | Promise<NbdAccept>): void {
    this.#nbdAdmit = (peer, params, daemonStart) => {
      const parsed = schema.safeParse(params);
      if (!parsed.success) throw new ClusterError(ClusterCode.INVALID_PARAMS, `nbd: ${firstFault(parsed.error)}`);
      return admit(peer, parsed.data, daemonStart);
    };
  }

  #peer(name: NodeName): Peer {
    if (this.#stopped()) throw new ClusterError(ClusterCode.CLOSED, `${this.self} is stopping`);
    const peer = this.#peers.get(name);
    if (peer === undefined) throw new ClusterError(ClusterCode.UNKNOWN_NODE, `${this.self} has no peer named ${name}`);
    return peer;
  }

  #stopped(): boolean {
    return this.#state === 'stopped';
  }

  #stalled(stalledForMs: number, now: number): void {
    const long = stalledForMs >= this.#ctx.timeoutOf();
    // A long one is worth a line though a short one was told of within the minute.
    this.#ctx.log.warn(long ? 'long stall' : 'stall', 'this process stood still', { stalledForMs: Math.round(stalledForMs) });
    for (const peer of this.#peers.values()) {
      const timeoutMs = this.#ctx.timeoutOf(peer.name);
      if (stalledForMs >= timeoutMs)
        peer.breakLinks(new ClusterError(ClusterCode.LOST, `this node stood still for ${String(Math.round(stalledForMs))} ms`));
      // One that is short beside what a peer is given takes nobody for lost; many of them could hold off that it ever is.
      if (stalledForMs >= (2 * timeoutMs) / HEARTBEATS) peer.restartClocks(now);
    }
    for (const f of this.#onStall) f(stalledForMs);
  }

  async #stop(): Promise<void> {
    this.#state = 'stopped';
    this.#stallWatch.stop();
    const why = new ClusterError(ClusterCode.CLOSED, `${this.self} is stopping`);
    for (const pull of this.#dialing) pull.destroy();
    await Promise.all([...[...this.#peers.values()].map((p) => p.stop(why)), this.#acceptor.stop(), ...this.#endings]);
  }
}
