/**
 * A whole cluster in one process, replayable from its seed.
 *
 *   SimWorld -- Schedule (virtual time, fingerprint)
 *            -- Network  (links, hosts, connections)
 *            -- SimNode  (disk, power, the daemon's process) ... one for each name
 *
 * Invariants:
 * - no real clock, no real disk, no real network: the seed and the program decide everything
 * - the code under test sees only `Io`; the harness, only these classes
 */
import type { Clock, Io } from '../types.ts';
import { Counters } from './counters.ts';
import { DEFAULT_LATENCIES, type DiskLatencies } from './faults.ts';
import type { Slowness } from './link.ts';
import { DEFAULT_NETWORK, Network } from './network.ts';
import { simClock, SimNode } from './node.ts';
import { Process } from './process.ts';
import { type RunLimits, Schedule } from './schedule.ts';
import { type LatencyMs, Stream } from './seed.ts';

export interface SimWorldOptions {
  /** Disk latencies of all nodes. */
  disk?: Partial<DiskLatencies>;
  /** Probability that a read or write of a file moves fewer bytes than asked; 0 unless set. */
  shortTransfers?: number;
  /** One way between two nodes. */
  netLatency?: LatencyMs;
  /** Unread bytes on a connection, each way, before the sender must wait. */
  windowBytes?: number;
  /** Events remembered for a failure's report. */
  tailEvents?: number;
}

const DEFAULT_LIMITS: RunLimits = { virtualMs: 3_600_000, events: 10_000_000 };

export class SimWorld {
  readonly seed: number | string;
  readonly counters = new Counters();
  /** The harness's own stream of randomness. */
  readonly chance: Stream;
  /** The harness's own clock, in virtual time. */
  readonly clock: Clock;
  readonly #schedule: Schedule;
  readonly #network: Network;
  readonly #options: SimWorldOptions;
  readonly #nodes = new Map<string, SimNode>();

  constructor(seed: number | string, options: SimWorldOptions = {}) {
    this.seed = seed;
    this.#options = options;
    this.#schedule = new Schedule(String(seed), options.tailEvents ?? 200);
    this.chance = new Stream(seed, 'harness');
    const latency = options.netLatency ?? { fromMs: 0.05, toMs: 0.3 };
    this.#network = new Network(this.#schedule, new Stream(seed, 'network'), this.counters, latency, options.windowBytes ?? 256 * 1024);
    this.clock = this.harnessClock('harness');
  }

  /** The node of this name, made at first mention: powered, not booted. Its name is its host. */
  node(name: string): SimNode {
    let node = this.#nodes.get(name);
    if (node === undefined) {
      node = new SimNode(name, {
        seed: this.seed,
        schedule: this.#schedule,
        network: this.#network,
        counters: this.counters,
        latencies: { ...DEFAULT_LATENCIES, ...this.#options.disk },
        shortTransfers: this.#options.shortTransfers ?? 0,
      });
      this.#nodes.set(name, node);
    }
    return node;
  }

  nodes(): SimNode[] {
    return [...this.#nodes.values()];
  }

  /** A harness client's `Io` on that node's machine. */
  client(nodeName: string): Io {
    return this.node(nodeName).localIo();
  }

  /** A further address of a node, in a network of its own. */
  addHost(host: string, nodeName: string, network: string): void {
    this.node(nodeName);
    this.#network.addHost(host, nodeName, network);
  }

  /** One for a part of the harness alone: what it waits for does not shift what another part draws. */
  harnessClock(name: string): Clock {
    const process = new Process(name, this.#schedule, new Stream(this.seed, `process ${name}`));
    return simClock(process, this.#schedule, new Stream(this.seed, `clock of ${name}`));
  }

  /** Harness: exactly at this virtual time, or next when that is past. */
  at(virtualMs: number, f: () => void): void {
    this.#schedule.after(virtualMs - this.now(), 'script', 'harness', f);
  }

  /** Virtual milliseconds since the world began. */
  now(): number {
    return this.#schedule.now();
  }

  get events(): number {
    return this.#schedule.events;
  }

  /** 16 hex digits: same seed and program, same history. */
  fingerprint(): string {
    return this.#schedule.fingerprint();
  }

  /** Calls `f` before each event, at a moment when all that followed from the last one has happened. */
  betweenEvents(f: () => void): void {
    this.#schedule.beforeEvent = f;
  }

  /** The last events, oldest first. */
  tail(): readonly string[] {
    return this.#schedule.tail();
  }

  /** Lets events happen until the promise settles; what is due after that stays due. Throws SimulationError at a limit or when nothing is left. */
  run<T>(untilDone: Promise<T>, limits: Partial<RunLimits> = {}): Promise<T> {
    return this.#schedule.run(untilDone, { ...DEFAULT_LIMITS, ...limits });
  }

  /** Lets this much virtual time pass. */
  runFor(virtualMs: number): Promise<void> {
    return this.run(this.sleep(virtualMs), { virtualMs: virtualMs + 10 });
  }

  /** For harness code that runs inside `run`. */
  sleep(virtualMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.clock.after(virtualMs, resolve);
    });
  }

  /** Nothing passes between the two, in one network or all of them. */
  cut(a: string, b: string, network?: string): void {
    this.#network.cut(a, b, network);
    this.#network.cut(b, a, network);
  }

  cutOneWay(from: string, to: string, network?: string): void {
    this.#network.cut(from, to, network);
  }

  /** From and to every other node. */
  isolate(name: string): void {
    for (const other of this.#nodes.keys()) if (other !== name) this.cut(name, other);
  }

  heal(a: string, b: string, network?: string): void {
    this.#network.heal(a, b, network);
    this.#network.heal(b, a, network);
  }

  healAll(): void {
    this.#network.healAll();
  }

  /** See `flipBits`. */
  isDamaging(from: string, to: string, network: string = DEFAULT_NETWORK): boolean {
    return this.#network.isDamaging(from, to, network);
  }

  isCut(from: string, to: string, network: string = DEFAULT_NETWORK): boolean {
    return this.#network.isCut(from, to, network);
  }

  /** In milliseconds: the longest time from `since` on in which no byte of one node reached the other undamaged, on any network. */
  longestSilence(from: string, to: string, since: number): number {
    return this.#network.arrivals(from, to).longestSilence(since, this.now());
  }

  /** When a byte of one node last reached the other undamaged, on any network; -Infinity: never yet. */
  lastArrival(from: string, to: string): number {
    return this.#network.arrivals(from, to).last;
  }

  /** Both ways; `{}` ends it. */
  slow(a: string, b: string, slowness: Slowness, network?: string): void {
    this.#network.slow(a, b, slowness, network);
    this.#network.slow(b, a, slowness, network);
  }

  /** Both ways: in this share of the segments that have so many bytes at least, one bit arrives flipped; 0 ends it. */
  flipBits(a: string, b: string, share: number, leastBytes = 1): void {
    this.#network.flip(a, b, share, leastBytes);
    this.#network.flip(b, a, share, leastBytes);
  }

  /** See `flipBits`. */
  flipBitsOneWay(from: string, to: string, share: number, leastBytes = 1): void {
    this.#network.flip(from, to, share, leastBytes);
  }
}
