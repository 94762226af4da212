/**
 * Keeps one path to one peer dialed.
 *
 *      start            connected, greeted            closed
 *   idle --> connecting ------------------> up ---------------+
 *              ^   | failed, refused                          |
 *              |   v                                          |
 *              +- waiting (100 ms .. failureTimeout/2, x2) <--+
 *
 * The wait doubles with each failure and shrinks back once a ping was answered, so that a peer which accepts and hangs
 * up is not dialed in a circle.
 */
import { PullSocket } from '../io/pull-socket.ts';
import type { Address, IoSocket, Timer } from '../io/types.ts';
import { type ClusterContext, pathName } from './context.ts';
import { DialedLink } from './dialed-link.ts';
import { asClusterError, ClusterCode, ClusterError } from './errors.ts';
import { type Greeting, greet } from './handshake.ts';
import { type Opened, openWay, type Standing, tellOfClear } from './secure.ts';

const BACKOFF_MIN_MS = 100;

export interface DialerOwner {
  /** Whether a daemon of this start may be taken for the peer. */
  admit(daemonStart: string): boolean;
  onHeard(): void;
  onAnswered(sentAt: number): void;
  /** A link of this dialer came up or went down. */
  onChange(): void;
}

type State =
  | { kind: 'idle' }
  | { kind: 'connecting'; plain: IoSocket | undefined; pull: PullSocket | undefined }
  | { kind: 'waiting'; timer: Timer }
  | { kind: 'up'; link: DialedLink; since: number; secured: boolean };

/** For people. */
export interface PathStatus {
  path: string;
  state: State['kind'];
  /** Up: for how long, and how long the last heartbeat took. */
  upForMs?: number;
  roundTripMs?: number;
  /** Up: by TLS, and the peer has proved who it is. */
  secured?: boolean;
  /** Not up: why the last attempt or connection ended. */
  lastError?: { code: string; message: string };
}

/** Milliseconds to wait after `failures` failures in a row (1 or more); `random` in [0, 1) takes off up to half. */
export function backoffMs(failures: number, failureTimeoutMs: number, random: number): number {
  const highest = Math.max(1, failureTimeoutMs / 2);
  const full = Math.min(highest, BACKOFF_MIN_MS * 2 ** Math.min(failures - 1, 30));
  return full * (1 - random / 2);
}

export class Dialer {
  readonly address: Address;
  readonly path: string;
  readonly #ctx: ClusterContext;
  readonly #peer: string;
  readonly #owner: DialerOwner;
  #state: State = { kind: 'idle' };
  #failures = 0;
  #lastError: ClusterError | undefined;

  constructor(ctx: ClusterContext, peer: string, address: Address, owner: DialerOwner) {
    this.#ctx = ctx;
    this.#peer = peer;
    this.address = address;
    this.path = pathName(address);
    this.#owner = owner;
  }

  start(): void {
    if (this.#state.kind === 'idle') this.#dial();
  }

  /** The link while it is up. */
  get link(): DialedLink | undefined {
    return this.#state.kind === 'up' ? this.#state.link : undefined;
  }

  /** Dials now instead of waiting on: there is news that the peer is alive. */
  hurry(): void {
    if (this.#state.kind !== 'waiting') return;
    this.#state.timer.cancel();
    this.#dial();
  }

  /** Ends link or attempt for good; resolves when the socket is gone. */
  async stop(why: ClusterError): Promise<void> {
    const state = this.#state;
    this.#state = { kind: 'idle' };
    if (state.kind === 'waiting') state.timer.cancel();
    if (state.kind === 'connecting' && state.pull === undefined) state.plain?.destroy();
    if (state.kind === 'connecting' && state.pull !== undefined) {
      const pull = state.pull;
      const gone = new Promise<void>((resolve) => {
        pull.onClosed(() => {
          resolve();
        });
      });
      pull.destroy();
      await gone;
    }
    if (state.kind === 'up') {
      state.link.close(why);
      this.#owner.onChange();
      await state.link.gone();
    }
  }

  status(now: number): PathStatus {
    const s: PathStatus = { path: this.path, state: this.#state.kind };
    if (this.#state.kind === 'up') {
      s.upForMs = now - this.#state.since;
      s.secured = this.#state.secured;
      if (this.#state.link.roundTripMs !== undefined) s.roundTripMs = this.#state.link.roundTripMs;
    } else if (this.#lastError !== undefined) {
      s.lastError = { code: this.#lastError.code, message: this.#lastError.message };
    }
    return s;
  }

  #dial(): void {
    const state: State = { kind: 'connecting', plain: undefined, pull: undefined };
    this.#state = state;
    void this.#connect(state);
  }

  async #connect(state: State & { kind: 'connecting' }): Promise<void> {
    let opened: Opened;
    try {
      opened = await openWay(this.#ctx, this.#peer, this.address, this.#patienceMs(), {
        opened: (plain) => {
          state.plain = plain;
        },
        givenUp: () => this.#state !== state,
      });
    } catch (e: unknown) {
      const why = asClusterError(e, `connecting to ${this.path}`);
      if (this.#state === state) this.#failed(why);
      return;
    }
    const { socket, deadline } = opened;
    if (this.#state !== state) {
      socket.destroy();
      return;
    }
    const pull = new PullSocket(socket, this.#ctx.clock);
    state.pull = pull;
    let greeting: Greeting;
    let early: Uint8Array;
    try {
      greeting = await this.#greet(pull, deadline);
      early = pull.detach();
    } catch (e: unknown) {
      const why = asClusterError(e, `hello to ${this.#peer} at ${this.path}`);
      pull.destroy();
      if (this.#state === state) this.#failed(why);
      return;
    }
    if (this.#state !== state) {
      pull.destroy();
    } else if (!this.#owner.admit(greeting.daemonStart)) {
      pull.destroy();
      this.#failed(new ClusterError(ClusterCode.DUPLICATE, `a second daemon named ${this.#peer} answers at ${this.path}; the first one is alive`));
    } else {
      this.#up(socket, opened, greeting, early);
    }
  }

  async #greet(pull: PullSocket, deadline: number): Promise<Greeting> {
    const ctx = this.#ctx;
    const hello = {
      type: 'hello' as const,
      protocol: ctx.protocol,
      cluster: ctx.clusterName,
      node: ctx.self,
      daemonStart: ctx.daemonStart,
      purpose: 'link' as const,
      to: this.#peer,
    };
    return await greet(pull, ctx.clock, hello, deadline);
  }

  /** An attempt that began while the path was cut must not outlast the cut for longer than the peer may be silent. */
  #patienceMs(): number {
    return Math.min(this.#ctx.handshakeTimeoutMs, this.#ctx.timeoutOf(this.#peer));
  }

  #up(socket: IoSocket, standing: Standing, greeting: Greeting, early: Uint8Array): void {
    const ctx = this.#ctx;
    const link = new DialedLink(ctx, this.#peer, this.path, greeting.protocol, socket, {
      onHeard: () => {
        this.#owner.onHeard();
      },
      onAnswered: (sentAt) => {
        this.#failures = 0;
        this.#owner.onAnswered(sentAt);
      },
      onClosed: (why) => {
        if (this.#state.kind !== 'up' || this.#state.link !== link) return;
        this.#failed(why);
        this.#owner.onChange();
      },
    });
    this.#state = { kind: 'up', link, since: ctx.clock.now(), secured: standing.secured };
    this.#lastError = undefined;
    ctx.log.log.info('connected', { peer: this.#peer, path: this.path, protocol: greeting.protocol });
    tellOfClear(ctx, this.#peer, this.path, standing);
    this.#owner.onHeard();
    link.start(early);
    this.#owner.onChange();
    if (!link.closed) link.tick(ctx.clock.now());
  }

  #failed(why: ClusterError): void {
    this.#failures += 1;
    this.#lastError = why;
    const ctx = this.#ctx;
    ctx.log.warn(`dial ${this.#peer} ${this.path} ${why.code}`, 'not connected', {
      peer: this.#peer,
      path: this.path,
      code: why.code,
      why: why.message,
    });
    const timer = ctx.clock.after(backoffMs(this.#failures, ctx.timeoutOf(this.#peer), ctx.chance.float()), () => {
      this.#dial();
    });
    this.#state = { kind: 'waiting', timer };
  }
}
