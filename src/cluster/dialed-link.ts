/**
 * The dialing side of a link: our requests and pings go out on it, the peer's answers come back.
 *
 * Invariants:
 * - pongs come in the order of the pings, or the peer is talking nonsense
 * - every request settles once: answered, timed out, or lost with the connection
 */
import type { IoSocket, Timer } from '../io/types.ts';
import { asClusterError, ClusterCode, ClusterError } from './errors.ts';
import { type ClusterContext, encodeHeartbeat } from './context.ts';
import { encodeFrame, FrameError } from './frame.ts';
import { Link } from './link.ts';
import type { Message } from './messages.ts';

/** Pings sent and not answered, above which no more are sent: the oldest decides anyway. */
const PINGS_MAX = 64;

interface Waiting {
  resolve(result: unknown): void;
  reject(e: ClusterError): void;
  timer: Timer;
}

export interface DialedLinkEvents {
  onHeard(): void;
  /** The ping that we sent at `sentAt` was answered. */
  onAnswered(sentAt: number): void;
  onClosed(why: ClusterError): void;
}

export class DialedLink {
  readonly path: string;
  readonly protocol: number;
  readonly #ctx: ClusterContext;
  readonly #peer: string;
  readonly #events: DialedLinkEvents;
  readonly #link: Link;
  readonly #pings: { id: number; sentAt: number }[] = [];
  readonly #requests = new Map<number, Waiting>();
  #nextId = 1;
  /** Before this time no ping counts as waiting: we stood still ourselves. */
  #patientSince = 0;
  #roundTripMs: number | undefined;

  constructor(ctx: ClusterContext, peer: string, path: string, protocol: number, socket: IoSocket, events: DialedLinkEvents) {
    this.#ctx = ctx;
    this.#peer = peer;
    this.path = path;
    this.protocol = protocol;
    this.#events = events;
    this.#link = new Link(socket, ctx.limits.unsentMaxBytes, {
      onBytes: () => {
        ctx.checkStall();
      },
      onHeard: () => {
        events.onHeard();
      },
      onMessage: (m) => {
        this.#onMessage(m);
      },
      onClosed: (why) => {
        this.#onClosed(why);
      },
    });
  }

  start(early: Uint8Array): void {
    this.#link.start(early);
  }

  get closed(): boolean {
    return this.#link.closed;
  }

  /** Of the last answered ping. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** How long the oldest unanswered ping has been waiting; 0 when none is. */
  waitingMs(now: number): number {
    const oldest = this.#pings[0];
    return oldest === undefined ? 0 : now - Math.max(oldest.sentAt, this.#patientSince);
  }

  /** Sends a ping, or closes the connection when one has been waiting for failureTimeout. */
  tick(now: number): void {
    if (this.waitingMs(now) >= this.#ctx.timeoutOf(this.#peer)) {
      this.close(new ClusterError(ClusterCode.LOST, `no answer to a heartbeat for ${String(Math.round(this.waitingMs(now)))} ms`));
      return;
    }
    if (this.#pings.length >= PINGS_MAX || this.#link.closed) return;
    const id = this.#nextId;
    this.#nextId += 1;
    // The frame comes first: facts are gathered by it, and an answer proves that the peer knows what held at `sentAt`.
    const frame = encodeHeartbeat(this.#ctx, this.#peer, 'ping', id);
    this.#pings.push({ id, sentAt: now });
    this.#link.send(frame);
  }

  /** After our own stall: what waited then, waits from now. */
  restartClock(now: number): void {
    this.#patientSince = now;
  }

  async request(method: string, params: unknown, timeoutMs: number): Promise<unknown> {
    if (this.#link.closed) throw new ClusterError(ClusterCode.UNREACHABLE, `the connection to ${this.#peer} is closed`);
    const id = this.#nextId;
    this.#nextId += 1;
    const frame = this.#encodeRequest(id, method, params);
    return await new Promise((resolve, reject) => {
      const timer = this.#ctx.clock.after(timeoutMs, () => {
        this.#requests.delete(id);
        reject(new ClusterError(ClusterCode.TIMEOUT, `${this.#peer} did not answer ${method} within ${String(timeoutMs)} ms`));
      });
      this.#requests.set(id, { resolve, reject, timer });
      this.#link.send(frame);
    });
  }

  close(why: ClusterError): void {
    this.#link.close(why);
  }

  gone(): Promise<void> {
    return this.#link.gone();
  }

  #encodeRequest(id: number, method: string, params: unknown): Uint8Array {
    try {
      return encodeFrame({ type: 'request', id, method, params });
    } catch (e: unknown) {
      if (e instanceof FrameError) throw new ClusterError(ClusterCode.TOO_LARGE, `${method}: ${e.message}`);
      throw e;
    }
  }

  #onMessage(m: Message): void {
    if (m.type === 'pong') this.#onPong(m.id, m.facts);
    else if (m.type === 'response') this.#onResponse(m);
    else this.#nonsense(`a ${m.type} on a connection that we dialed`);
  }

  #onPong(id: number, facts: unknown): void {
    const ping = this.#pings.shift();
    if (ping?.id !== id) {
      this.#nonsense('a pong for a ping that was not the oldest');
      return;
    }
    this.#roundTripMs = this.#ctx.clock.now() - ping.sentAt;
    this.#events.onAnswered(ping.sentAt);
    try {
      this.#ctx.onFacts(this.#peer, facts, this.path, ping.sentAt);
    } catch (e: unknown) {
      this.close(asClusterError(e, `facts of ${this.#peer}`));
    }
  }

  #onResponse(m: Message & { type: 'response' }): void {
    const waiting = this.#requests.get(m.id);
    if (waiting === undefined) {
      // An answer that came after its deadline is no fault; one to a question never asked is.
      if (m.id >= this.#nextId) this.#nonsense('an answer to a request that was never sent');
      return;
    }
    this.#requests.delete(m.id);
    waiting.timer.cancel();
    if (m.error !== undefined) waiting.reject(new ClusterError(m.error.code, m.error.message, this.#peer));
    else waiting.resolve(m.result ?? null);
  }

  #nonsense(what: string): void {
    this.close(new ClusterError(ClusterCode.PROTOCOL, `${this.#peer} sent ${what}`));
  }

  #onClosed(why: ClusterError): void {
    for (const waiting of this.#requests.values()) {
      waiting.timer.cancel();
      const code = why.code === ClusterCode.CLOSED ? ClusterCode.CLOSED : ClusterCode.LOST;
      waiting.reject(new ClusterError(code, `the connection to ${this.#peer} ended before the answer: ${why.message}`));
    }
    this.#requests.clear();
    this.#events.onClosed(why);
  }
}
