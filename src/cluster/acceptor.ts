/**
 * The listening side: strangers come in, and after one good hello each is a peer's link or a raw NBD connection.
 *
 *   accepted -> handshake (bounded in number and time) -> judged -> InboundLink of its peer
 *                                                       \-> admitted -> ok written -> socket handed over (nbd)
 *
 * Invariants:
 * - a stranger holds one of `handshakesMax` places for `handshakeTimeoutMs` at most, and as long again while its hello is judged;
 *   the oldest of the address that has most of them makes room for a new one
 * - whoever is refused is told why, unless it did not even say hello
 */
import { hostOf } from '../io/address-ranges.ts';
import { crowdedOut } from '../io/crowd.ts';
import { PullSocket } from '../io/pull-socket.ts';
import type { SecureSocket } from '../io/tls.ts';
import { type Address, type IoSocket, type Listener, IoError, type Timer } from '../io/types.ts';
import type { ClusterContext } from './context.ts';
import { asClusterError, ClusterCode, ClusterError } from './errors.ts';
import { readHello, writeAnswer } from './handshake.ts';
import { InboundLink } from './inbound-link.ts';
import { type Hello, judgeHello } from './messages.ts';
import type { Methods } from './methods.ts';
import type { Peer } from './peer.ts';
import { judgeProof, secureAccepted, type Standing, tellOfClear } from './secure.ts';

/** Takes an admitted NBD connection over: paused, the ok already queued, and bytes that came early. Speaks first (NBDMAGIC). */
export type NbdAccept = (socket: IoSocket, early: Uint8Array) => void;

/** Judges a hello for NBD; throws ClusterError to refuse. Reserves nothing: the connection may be gone when it answers. */
export type NbdAdmit = (peer: string, params: unknown, daemonStart: string) => NbdAccept | Promise<NbdAccept>;

/** It is none of ours, or has not proved that it is. */
const STRANGER: ReadonlySet<string> = new Set([ClusterCode.REFUSED, ClusterCode.WRONG_CLUSTER, ClusterCode.WRONG_NODE, ClusterCode.UNKNOWN_NODE]);

export interface AcceptorOwner {
  peer(name: string): Peer | undefined;
  nbdAdmit(): NbdAdmit | undefined;
}

export class Acceptor {
  readonly #ctx: ClusterContext;
  readonly #methods: Methods;
  readonly #owner: AcceptorOwner;
  readonly #handshakes = new Set<PullSocket>();
  #listener: Listener | undefined;
  #refused = 0;
  #stopped = false;
  #idle: (() => void) | undefined;

  constructor(ctx: ClusterContext, methods: Methods, owner: AcceptorOwner) {
    this.#ctx = ctx;
    this.#methods = methods;
    this.#owner = owner;
  }

  /** Rejects with IoError when the address cannot be bound. */
  async listen(at: Address): Promise<void> {
    const listener = await this.#ctx.net.listen(
      at,
      (socket) => {
        this.#accept(socket);
      },
      (remote) => this.#mayEnter(remote),
    );
    if (this.#stopped) await listener.close();
    else this.#listener = listener;
  }

  get address(): Address | undefined {
    return this.#listener?.address;
  }

  /** Connections that were not taken for where they come from, who they say they are, or what they have not proved. */
  get refused(): number {
    return this.#refused;
  }

  get handshakeCount(): number {
    return this.#handshakes.size;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const idle =
      this.#handshakes.size === 0
        ? Promise.resolve()
        : new Promise<void>((resolve) => {
            this.#idle = resolve;
          });
    for (const pull of [...this.#handshakes]) pull.destroy();
    await idle;
    await this.#listener?.close();
  }

  /** Asked before anything is made of a connection, and once more when it has come. */
  #mayEnter(remote: string): boolean {
    if (this.#ctx.allow?.has(remote) !== false) return true;
    this.#refused += 1;
    const from = hostOf(remote);
    this.#ctx.log.warn(`inbound ${from} address`, 'a connection was not taken', { from, why: 'that address is not in the ranges that allow has' });
    return false;
  }

  #accept(socket: IoSocket): void {
    if (this.#stopped || !this.#mayEnter(socket.remote)) {
      socket.destroy();
      return;
    }
    if (this.#handshakes.size >= this.#ctx.limits.handshakesMax) {
      const oldest = crowdedOut(this.#handshakes, (pull) => hostOf(pull.socket.remote));
      if (oldest !== undefined) {
        this.#handshakes.delete(oldest);
        oldest.destroy();
      }
      this.#ctx.log.warn('handshakes', 'too many connections that do not say hello', { from: hostOf(socket.remote) });
    }
    void this.#handshake(this.#enter(socket));
  }

  #enter(socket: IoSocket): PullSocket {
    const pull = new PullSocket(socket, this.#ctx.clock);
    this.#handshakes.add(pull);
    pull.onClosed(() => {
      this.#leave(pull);
    });
    return pull;
  }

  #leave(pull: PullSocket): void {
    this.#handshakes.delete(pull);
    if (this.#handshakes.size === 0) this.#idle?.();
  }

  async #handshake(plain: PullSocket): Promise<void> {
    const { clock, handshakeTimeoutMs } = this.#ctx;
    const deadline = clock.now() + handshakeTimeoutMs;
    let pull = plain;
    let secure: SecureSocket | null;
    let hello: Hello;
    try {
      secure = await secureAccepted(this.#ctx, plain, deadline);
      if (secure !== null) {
        this.#handshakes.delete(plain);
        pull = this.#enter(secure);
        if (this.#stopped) throw new ClusterError(ClusterCode.CLOSED, `${this.#ctx.self} is stopping`);
      }
      hello = await readHello(pull, clock, deadline);
    } catch (e: unknown) {
      const why = asClusterError(e, 'hello');
      if (why.code === ClusterCode.REFUSED) this.#refused += 1;
      if (!this.#stopped) this.#warn(pull, undefined, why);
      pull.destroy();
      // Whoever was in the middle of TLS is not told that it has closed.
      this.#leave(pull);
      return;
    }
    try {
      const standing = judgeProof(this.#ctx, secure, hello.node);
      if (hello.purpose === 'nbd') await this.#nbd(pull, hello);
      else this.#link(pull, hello, standing);
      tellOfClear(this.#ctx, hello.node, 'inbound', standing);
    } catch (e: unknown) {
      this.#refuse(pull, hello, this.#refusal(hello, e));
    }
  }

  /** Throws ClusterError when this hello may not go on. */
  #judge(hello: Hello): { peer: Peer; protocol: number } {
    const ctx = this.#ctx;
    const verdict = judgeHello(hello, {
      self: ctx.self,
      cluster: ctx.clusterName,
      protocol: ctx.protocol,
      knows: (node) => this.#owner.peer(node) !== undefined,
    });
    if (!verdict.ok) throw new ClusterError(verdict.code, verdict.error);
    const peer = this.#owner.peer(hello.node);
    if (peer === undefined || this.#stopped) throw new ClusterError(ClusterCode.CLOSED, `${ctx.self} is stopping`);
    if (!peer.admit(hello.daemonStart)) {
      throw new ClusterError(ClusterCode.DUPLICATE, `another daemon named ${hello.node} is connected to ${ctx.self} and alive`);
    }
    return { peer, protocol: verdict.protocol };
  }

  #link(pull: PullSocket, hello: Hello, { secured }: Standing): void {
    const ctx = this.#ctx;
    const { peer, protocol } = this.#judge(hello);
    if (peer.inboundCount >= ctx.limits.inboundPerPeerMax) {
      throw new ClusterError(ClusterCode.BUSY, `${hello.node} has ${String(peer.inboundCount)} connections to ${ctx.self} already`);
    }
    const early = this.#handOver(pull, protocol);
    const link: InboundLink = new InboundLink(ctx, peer.name, { protocol, secured }, pull.socket, this.#methods, peer, {
      onHeard: () => {
        peer.onHeard();
      },
      onClosed: (why) => {
        peer.removeInbound(link);
        if (why.code === ClusterCode.PROTOCOL) this.#warn(pull, peer.name, why);
      },
    });
    peer.addInbound(link);
    peer.onHeard();
    link.start(early);
    peer.hurry();
  }

  async #nbd(pull: PullSocket, hello: Hello): Promise<void> {
    const { peer } = this.#judge(hello);
    const admit = this.#owner.nbdAdmit();
    if (admit === undefined) throw new ClusterError(ClusterCode.REFUSED, `${this.#ctx.self} takes no NBD connections`);
    const accept = await this.#inTime(admit(peer.name, hello.params, hello.daemonStart));
    // The peer may have gone, been removed or been replaced while its hello was being judged.
    const { protocol } = this.#judge(hello);
    const early = this.#handOver(pull, protocol);
    try {
      accept(pull.socket, early);
    } catch (e: unknown) {
      // The ok is on its way, so nothing can be told any more.
      this.#refusal(hello, e);
      pull.socket.destroy();
    }
  }

  /** Writes the ok and lets go of the socket, paused. IoError when it has closed meanwhile. */
  #handOver(pull: PullSocket, protocol: number): Uint8Array {
    writeAnswer(pull, { ok: true, protocol, node: this.#ctx.self, daemonStart: this.#ctx.daemonStart });
    const early = pull.detach();
    this.#leave(pull);
    return early;
  }

  async #inTime<T>(f: T | Promise<T>): Promise<T> {
    const { clock, handshakeTimeoutMs } = this.#ctx;
    let timer: Timer | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = clock.after(handshakeTimeoutMs, () => {
        reject(new ClusterError(ClusterCode.TIMEOUT, 'the decision whether to admit this connection took too long'));
      });
    });
    try {
      return await Promise.race([f, late]);
    } finally {
      timer?.cancel();
    }
  }

  #refusal(hello: Hello, e: unknown): ClusterError {
    if (e instanceof ClusterError) return e;
    if (e instanceof IoError) return asClusterError(e, `hello of ${hello.node}`);
    const message = e instanceof Error ? e.message : String(e);
    this.#ctx.log.log.error('admitting a connection failed', { peer: hello.node, error: message, stack: e instanceof Error ? e.stack : undefined });
    return new ClusterError(ClusterCode.INTERNAL, message);
  }

  /** Tells why, and hangs up; whoever does not take the answer in time is cut off. */
  #refuse(pull: PullSocket, hello: Hello, why: ClusterError): void {
    this.#warn(pull, hello.node, why);
    if (STRANGER.has(why.code)) this.#refused += 1;
    writeAnswer(pull, { ok: false, code: why.code, error: why.message });
    const timer = this.#ctx.clock.after(this.#ctx.handshakeTimeoutMs, () => {
      pull.destroy();
    });
    pull.onClosed(() => {
      timer.cancel();
      this.#leave(pull);
    });
    pull.end();
  }

  #warn(pull: PullSocket, peer: string | undefined, why: ClusterError): void {
    const from = hostOf(pull.socket.remote);
    const known = peer !== undefined && this.#owner.peer(peer) !== undefined ? peer : undefined;
    this.#ctx.log.warn(`inbound ${known ?? from} ${why.code}`, 'a connection was not taken', { from, peer, code: why.code, why: why.message });
  }
}
