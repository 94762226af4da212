/**
 * All we know of one peer: the paths we dial it on, the connections it dialed to us, and when we heard it.
 *
 *     our requests, pings  -->  dialers (one a path)  -->  peer
 *     our answers, pongs   <--  inbound links         <--  peer
 *
 * Invariants:
 * - all open links of a peer are with one start of its daemon; another start is let in only when all of them are dead
 * - the silence clock restarts after our own stall; the time of real receipt does not
 */
import type { Address } from '../io/types.ts';
import { type ClusterContext, HEARTBEATS } from './context.ts';
import type { DialedLink } from './dialed-link.ts';
import { Dialer, type DialerOwner, type PathStatus } from './dialer.ts';
import { ClusterCode, ClusterError } from './errors.ts';
import type { InboundLink } from './inbound-link.ts';

export interface PeerStatus {
  peer: string;
  connected: boolean;
  /** Absent: never heard since start. */
  silentForMs?: number;
  daemonStart?: string;
  protocol?: number;
  paths: PathStatus[];
  inbound: { path: string; silentForMs: number; secured: boolean }[];
}

export class Peer implements DialerOwner {
  readonly name: string;
  /** Requests of the peer that are being carried out, over all its connections. */
  requestsRunning = 0;
  readonly #ctx: ClusterContext;
  readonly #onConnected: (connected: boolean) => void;
  readonly #dialers = new Map<string, Dialer>();
  readonly #inbound = new Set<InboundLink>();
  #requestsWaiting = 0;
  #daemonStart: string | undefined;
  #receivedAt: number | undefined;
  #heartbeatAt: number | undefined;
  #silentSince: number | undefined;
  #answeredPingAt: number | undefined;
  #connected = false;

  constructor(ctx: ClusterContext, name: string, onConnected: (connected: boolean) => void) {
    this.#ctx = ctx;
    this.name = name;
    this.#onConnected = onConnected;
  }

  /** Dials exactly these from now on; paths that stay keep their connection. */
  setPaths(addresses: readonly Address[]): void {
    const wanted = new Map<string, Dialer>();
    for (const address of addresses) {
      const dialer = new Dialer(this.#ctx, this.name, address, this);
      if (!wanted.has(dialer.path)) wanted.set(dialer.path, this.#dialers.get(dialer.path) ?? dialer);
    }
    const dropped = [...this.#dialers.values()].filter((d) => !wanted.has(d.path));
    this.#dialers.clear();
    for (const [path, dialer] of wanted) this.#dialers.set(path, dialer);
    for (const dialer of dropped) void dialer.stop(new ClusterError(ClusterCode.CLOSED, 'the path was removed'));
  }

  start(): void {
    for (const dialer of this.#dialers.values()) dialer.start();
  }

  async stop(why: ClusterError): Promise<void> {
    const inbound = [...this.#inbound];
    for (const link of inbound) link.close(why);
    await Promise.all([...[...this.#dialers.values()].map((d) => d.stop(why)), ...inbound.map((l) => l.gone())]);
  }

  // ------------------------------------------------------------------------------------------------ for links

  admit(daemonStart: string): boolean {
    if (this.#daemonStart !== daemonStart) {
      const now = this.#ctx.clock.now();
      for (const link of this.#inbound) link.tick(now, this.#ctx.failureTimeoutMs);
      for (const link of this.#links()) {
        if (link.waitingMs(now) >= this.#ctx.timeoutOf(this.name)) link.close(new ClusterError(ClusterCode.LOST, 'another start of the peer came'));
      }
      if (this.#inbound.size > 0 || this.#links().length > 0) {
        // Which of the two starts lives is not known yet; that the peer is not silent is (M2).
        this.#silentSince = now;
        return false;
      }
      this.#daemonStart = daemonStart;
    }
    return true;
  }

  onHeard(): void {
    const now = this.#ctx.clock.now();
    this.#receivedAt = now;
    this.#silentSince = now;
  }

  /** What a heartbeat of the peer, or its answer to one of ours, says has been taken in. */
  onHeartbeat(): void {
    this.#heartbeatAt = this.#ctx.clock.now();
  }

  onAnswered(sentAt: number): void {
    this.#answeredPingAt = Math.max(this.#answeredPingAt ?? sentAt, sentAt);
  }

  onChange(): void {
    const connected = this.#links().length > 0;
    if (connected === this.#connected) return;
    this.#connected = connected;
    this.#onConnected(connected);
  }

  get inboundCount(): number {
    return this.#inbound.size;
  }

  addInbound(link: InboundLink): void {
    this.#inbound.add(link);
  }

  removeInbound(link: InboundLink): void {
    this.#inbound.delete(link);
  }

  /** The peer has just shown that it is alive: paths that wait are dialed now. */
  hurry(): void {
    for (const dialer of this.#dialers.values()) dialer.hurry();
  }

  // -------------------------------------------------------------------------------------------------- clocks

  /** Sends a heartbeat on each path, and closes what is dead. */
  tick(now: number): void {
    for (const link of this.#links()) link.tick(now);
    for (const link of [...this.#inbound]) link.tick(now);
  }

  /** After our own stall: nobody was silent, it was us who did not listen. */
  restartClocks(now: number): void {
    if (this.#silentSince !== undefined) this.#silentSince = now;
    for (const link of this.#links()) link.restartClock(now);
    for (const link of this.#inbound) link.restartClock(now);
  }

  /** After a stall of as long as the peer may be silent: what the connections still hold was said before it, so all begin anew. */
  breakLinks(why: ClusterError): void {
    for (const link of [...this.#inbound]) link.close(why);
    for (const link of this.#links()) link.close(why);
    this.hurry();
  }

  silentForMs(now: number): number | undefined {
    return this.#silentSince === undefined ? undefined : now - this.#silentSince;
  }

  get receivedAt(): number | undefined {
    return this.#receivedAt;
  }

  /** How long before it was last heard the last of its heartbeats came that could be read; 0: that was one, or none ever came. */
  get mumblingForMs(): number {
    return this.#receivedAt === undefined || this.#heartbeatAt === undefined ? 0 : this.#receivedAt - this.#heartbeatAt;
  }

  get answeredPingAt(): number | undefined {
    return this.#answeredPingAt;
  }

  // ------------------------------------------------------------------------------------------------ requests

  get connected(): boolean {
    return this.#connected;
  }

  get daemonStart(): string | undefined {
    return this.#daemonStart;
  }

  /** Paths to dial for a connection of its own: those that are up first. */
  addresses(): Address[] {
    const dialers = [...this.#dialers.values()];
    const up = dialers.filter((d) => d.link !== undefined);
    return [...up, ...dialers.filter((d) => d.link === undefined)].map((d) => d.address);
  }

  async request(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    const link = this.#bestLink();
    if (link === undefined) throw new ClusterError(ClusterCode.UNREACHABLE, `${this.name} is not connected`);
    if (this.#requestsWaiting >= this.#ctx.limits.requestsMax) {
      throw new ClusterError(ClusterCode.BUSY, `${String(this.#requestsWaiting)} requests to ${this.name} wait for their answer already`);
    }
    this.#requestsWaiting += 1;
    try {
      return await link.request(method, params, timeoutMs);
    } finally {
      this.#requestsWaiting -= 1;
    }
  }

  status(now: number): PeerStatus {
    const s: PeerStatus = {
      peer: this.name,
      connected: this.#connected,
      paths: [...this.#dialers.values()].map((d) => d.status(now)),
      inbound: [...this.#inbound].map((l) => ({ path: l.path, silentForMs: l.silentMs(now), secured: l.secured })),
    };
    const silentForMs = this.silentForMs(now);
    const protocol = this.#links()[0]?.protocol ?? [...this.#inbound][0]?.protocol;
    if (silentForMs !== undefined) s.silentForMs = silentForMs;
    if (this.#daemonStart !== undefined) s.daemonStart = this.#daemonStart;
    if (protocol !== undefined) s.protocol = protocol;
    return s;
  }

  #links(): DialedLink[] {
    const links: DialedLink[] = [];
    for (const dialer of this.#dialers.values()) if (dialer.link !== undefined) links.push(dialer.link);
    return links;
  }

  /** The first path that answers its heartbeats in time; else the one that is late by the least. */
  #bestLink(): DialedLink | undefined {
    const now = this.#ctx.clock.now();
    let best: DialedLink | undefined;
    for (const link of this.#links()) {
      if (link.waitingMs(now) < this.#ctx.timeoutOf(this.name) / HEARTBEATS) return link;
      if (best === undefined || link.waitingMs(now) < best.waitingMs(now)) best = link;
    }
    return best;
  }
}
