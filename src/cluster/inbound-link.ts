/** The listening side of a link: the peer's requests and pings come in on it, our answers go back. */
import type { IoSocket } from '../io/types.ts';
import { type ClusterContext, encodeHeartbeat, HEARTBEATS } from './context.ts';
import { asClusterError, ClusterCode, ClusterError } from './errors.ts';
import { encodeFrame, FrameError } from './frame.ts';
import { Link } from './link.ts';
import type { Message } from './messages.ts';
import { type Answer, failure, type Methods } from './methods.ts';

/** Counts the requests of one peer that are being carried out, over all its connections. */
export interface RunningCount {
  requestsRunning: number;
}

export interface InboundLinkEvents {
  onHeard(): void;
  onClosed(why: ClusterError): void;
}

export class InboundLink {
  readonly path: string;
  readonly protocol: number;
  /** By TLS, and the peer has proved who it is. */
  readonly secured: boolean;
  readonly #ctx: ClusterContext;
  readonly #peer: string;
  readonly #methods: Methods;
  readonly #running: RunningCount;
  readonly #link: Link;
  #heardAt: number;
  /** How often the peer sends heartbeats, when it has said so. */
  #everyMs: number | undefined;

  constructor(
    ctx: ClusterContext,
    peer: string,
    way: { protocol: number; secured: boolean },
    socket: IoSocket,
    methods: Methods,
    running: RunningCount,
    events: InboundLinkEvents,
  ) {
    this.#ctx = ctx;
    this.#peer = peer;
    this.path = `from ${socket.remote}`;
    this.protocol = way.protocol;
    this.secured = way.secured;
    this.#methods = methods;
    this.#running = running;
    this.#heardAt = ctx.clock.now();
    this.#link = new Link(socket, ctx.limits.unsentMaxBytes, {
      onBytes: () => {
        ctx.checkStall();
      },
      onHeard: () => {
        this.#heardAt = ctx.clock.now();
        events.onHeard();
      },
      onMessage: (m) => {
        this.#onMessage(m);
      },
      onClosed: (why) => {
        events.onClosed(why);
      },
    });
  }

  start(early: Uint8Array): void {
    this.#link.start(early);
  }

  silentMs(now: number): number {
    return now - this.#heardAt;
  }

  /** Closes a connection on which the peer has stopped its heartbeats, or been silent for `patienceMs`. */
  tick(now: number, patienceMs = Infinity): void {
    if (this.silentMs(now) < Math.min(patienceMs, this.#dueMs())) return;
    this.close(new ClusterError(ClusterCode.LOST, `silent for ${String(Math.round(this.silentMs(now)))} ms`));
  }

  /** How often the peer sends them is for the peer to say: of the mirrors that hurry us it may have none. */
  #dueMs(): number {
    if (this.#everyMs === undefined) return this.#ctx.failureTimeoutMs;
    return Math.max(this.#ctx.timeoutOf(this.#peer), this.#everyMs * HEARTBEATS);
  }

  restartClock(now: number): void {
    this.#heardAt = now;
  }

  close(why: ClusterError): void {
    this.#link.close(why);
  }

  gone(): Promise<void> {
    return this.#link.gone();
  }

  #onMessage(m: Message): void {
    if (m.type === 'ping') {
      this.#everyMs = m.everyMs;
      this.#onPing(m.id, m.facts);
    } else if (m.type === 'request') void this.#onRequest(m.id, m.method, m.params);
    else this.close(new ClusterError(ClusterCode.PROTOCOL, `${this.#peer} sent a ${m.type} on a connection that it dialed`));
  }

  #onPing(id: number, facts: unknown): void {
    try {
      // Before the pong: it shall tell what we think after having heard the peer.
      this.#ctx.onFacts(this.#peer, facts, this.path, undefined);
    } catch (e: unknown) {
      this.close(asClusterError(e, `facts of ${this.#peer}`));
      return;
    }
    this.#link.send(encodeHeartbeat(this.#ctx, this.#peer, 'pong', id));
  }

  async #onRequest(id: number, method: string, params: unknown): Promise<void> {
    if (this.#running.requestsRunning >= this.#ctx.limits.requestsMax) {
      const message = `${this.#ctx.self} is carrying out ${String(this.#running.requestsRunning)} requests of ${this.#peer} already`;
      this.#respond(id, failure(ClusterCode.BUSY, message));
      return;
    }
    this.#running.requestsRunning += 1;
    const answer = await this.#methods.answer(this.#peer, method, params);
    this.#running.requestsRunning -= 1;
    this.#respond(id, answer);
  }

  #respond(id: number, answer: Answer): void {
    let frame: Uint8Array;
    try {
      frame = encodeFrame({ type: 'response', id, ...answer });
    } catch (e: unknown) {
      // A result that JSON cannot say, or that is too long for a frame.
      const code = e instanceof FrameError ? ClusterCode.TOO_LARGE : ClusterCode.INTERNAL;
      const message = e instanceof Error ? e.message : String(e);
      frame = encodeFrame({ type: 'response', id, ...failure(code, message) });
    }
    this.#link.send(frame);
  }
}
