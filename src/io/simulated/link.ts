/**
 * One direction between two nodes: how long bytes travel, how many a second, or that nothing passes.
 *
 * A cut is silent. What is under way waits, as TCP would send it again, and goes on some time after the heal.
 */
import type { Arrivals } from './arrivals.ts';
import type { LatencyMs, Stream } from './seed.ts';

export interface Slowness {
  /** Bytes a second; absent: no limit. */
  rateBytesPerSec?: number;
  /** Added to each journey. */
  delayMs?: number;
}

const SECOND_MS = 1000;
/** The longest that TCP waits between two attempts to send again. */
const RETRY_MAX_MS = 60_000;

export class Link {
  readonly from: string;
  readonly to: string;
  readonly network: string;
  readonly #now: () => number;
  readonly #stream: Stream;
  readonly #latency: LatencyMs;
  #cutSince: number | undefined;
  #slowness: Slowness = {};
  #busyUntil = 0;
  #flips = 0;
  #flipsLeastBytes = 1;
  /** Of bytes that came out undamaged at the far end, to a connection that was still open there. */
  readonly arrivals: Arrivals;
  #afterHeal: ((delayMs: number) => void)[] = [];

  constructor(from: string, to: string, network: string, now: () => number, stream: Stream, latency: LatencyMs, arrivals: Arrivals) {
    this.from = from;
    this.to = to;
    this.network = network;
    this.#now = now;
    this.#stream = stream;
    this.#latency = latency;
    this.arrivals = arrivals;
  }

  get isCut(): boolean {
    return this.#cutSince !== undefined;
  }

  /** Bits are being flipped on it. */
  get isDamaging(): boolean {
    return this.#flips > 0;
  }

  get name(): string {
    return `${this.from}>${this.to}`;
  }

  cut(): void {
    this.#cutSince ??= this.#now();
  }

  slow(slowness: Slowness): void {
    this.#slowness = slowness;
  }

  /** The share of segments, of those with so many bytes at least, in which one bit arrives flipped, as no checksum of TCP or below has noticed. */
  flip(share: number, leastBytes: number): void {
    this.#flips = share;
    this.#flipsLeastBytes = Math.max(1, leastBytes);
  }

  /** Flips a bit in place, by the seed; true: it did. */
  damage(bytes: Uint8Array): boolean {
    if (this.#flips === 0 || bytes.length < this.#flipsLeastBytes || !this.#stream.coin(this.#flips)) return false;
    const at = this.#stream.between(0, bytes.length - 1);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << this.#stream.between(0, 7));
    return true;
  }

  heal(): void {
    if (this.#cutSince === undefined) return;
    const cutForMs = this.#now() - this.#cutSince;
    this.#cutSince = undefined;
    const waiting = this.#afterHeal;
    this.#afterHeal = [];
    for (const go of waiting) {
      // TCP tries again at growing intervals, so that the wait after a long cut may be as long as the cut.
      go(1 + this.#stream.float() * (200 + Math.min(cutForMs, RETRY_MAX_MS)));
    }
  }

  /** `go` is called at the heal, with how long after it the next attempt comes. Only while cut. */
  onHeal(go: (delayMs: number) => void): void {
    this.#afterHeal.push(go);
  }

  /** Whether two writes of one moment go as one segment. */
  travelsTogether(): boolean {
    return this.#slowness.rateBytesPerSec === undefined && this.#stream.coin(0.75);
  }

  /** Milliseconds from now until these bytes have arrived. */
  journeyMs(bytes: number): number {
    const { rateBytesPerSec, delayMs } = this.#slowness;
    let sentAfter = 0;
    if (rateBytesPerSec !== undefined && bytes > 0) {
      const now = this.#now();
      this.#busyUntil = Math.max(now, this.#busyUntil) + (bytes * SECOND_MS) / rateBytesPerSec;
      sentAfter = this.#busyUntil - now;
    }
    return sentAfter + (delayMs ?? 0) + this.#stream.latency(this.#latency);
  }
}
