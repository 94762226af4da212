/**
 * A small world in memory with virtual time: nodes that freeze, paths that are cut one way, sockets with a window.
 * An address is `NODE` or `NODE%PATH`, so that one node can be reached on several paths.
 */
import {
  type Address,
  type Chance,
  type Clock,
  Errno,
  IoError,
  type IoSocket,
  type Listener,
  type Net,
  type SocketHandler,
} from '../../../src/io/types.ts';

const LATENCY_MS = 1;
const WINDOW_BYTES = 64 * 1024;

interface Event {
  at: number;
  sequence: number;
  node: string;
  run: () => void;
}

export class FakeWorld {
  #now = 0;
  #sequence = 0;
  #events: Event[] = [];
  #held: Event[] = [];
  readonly #frozen = new Set<string>();
  readonly #cuts = new Set<string>();
  readonly #listeners = new Map<string, (s: IoSocket) => void>();
  readonly #sockets: FakeSocket[] = [];

  io(node: string): { clock: Clock; chance: Chance; net: Net } {
    const clock: Clock = {
      now: () => this.#now,
      wallNow: () => this.#now,
      after: (ms, f) => this.post(node, ms, f),
      soon: (f) => {
        this.post(node, 0, f);
      },
    };
    const chance: Chance = { u32: () => 7, hex64: () => '0123456789abcdef', float: () => 0.5 };
    const net: Net = { listen: (at, f) => this.#listen(at, f), connect: (to, ms) => this.#connect(node, to, ms) };
    return { clock, chance, net };
  }

  get now(): number {
    return this.#now;
  }

  get openSockets(): number {
    return this.#sockets.filter((s) => !s.closed).length;
  }

  post(node: string, ms: number, run: () => void): { cancel(): void } {
    const event: Event = { at: this.#now + ms, sequence: (this.#sequence += 1), node, run };
    this.#events.push(event);
    return {
      cancel: () => {
        this.#events = this.#events.filter((e) => e !== event);
        this.#held = this.#held.filter((e) => e !== event);
      },
    };
  }

  /** Runs events up to `ms` from now, every promise between two of them. */
  async run(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await new Promise((resolve) => setImmediate(resolve));
      const next = this.#events.filter((e) => e.at <= until).sort((a, b) => a.at - b.at || a.sequence - b.sequence)[0];
      if (next === undefined) break;
      this.#events = this.#events.filter((e) => e !== next);
      this.#now = Math.max(this.#now, next.at);
      if (this.#frozen.has(next.node)) this.#held.push(next);
      else next.run();
    }
    this.#now = until;
  }

  /** Runs until the condition holds; throws when it does not within `withinMs`. */
  async until(what: string, holds: () => boolean, withinMs = 10_000): Promise<void> {
    const end = this.#now + withinMs;
    while (!holds()) {
      if (this.#now >= end) throw new Error(`not within ${String(withinMs)} ms: ${what}`);
      await this.run(1);
    }
  }

  /** Runs until the promise settles. */
  async settle<T>(p: Promise<T>, withinMs = 10_000): Promise<T> {
    let done = false;
    p.then(
      () => (done = true),
      () => (done = true),
    );
    await this.until('the promise settles', () => done, withinMs);
    return await p;
  }

  freeze(node: string): void {
    this.#frozen.add(node);
  }

  /** What came due meanwhile runs now: timers and data in the order given by `order`. */
  thaw(node: string, order: 'as-due' | 'reversed' = 'as-due'): void {
    this.#frozen.delete(node);
    const held = this.#held.filter((e) => e.node === node);
    this.#held = this.#held.filter((e) => e.node !== node);
    if (order === 'reversed') held.reverse();
    for (const e of held) this.#events.push({ ...e, at: this.#now, sequence: (this.#sequence += 1) });
  }

  /** Nothing gets from one node to the other, on one path or on all; what is under way arrives after the heal. */
  cut(from: string, to: string, path = '*'): void {
    this.#cuts.add(`${from}>${to}%${path}`);
  }

  heal(): void {
    this.#cuts.clear();
    for (const s of this.#sockets) s.deliver();
  }

  isCut(from: string, to: string, path: string): boolean {
    return this.#cuts.has(`${from}>${to}%*`) || this.#cuts.has(`${from}>${to}%${path}`);
  }

  /** The machine is gone: nobody is told, nothing of it runs on. */
  powerOff(node: string): void {
    this.#events = this.#events.filter((e) => e.node !== node);
    for (const key of [...this.#listeners.keys()]) if (key.startsWith(`${node}:`)) this.#listeners.delete(key);
    for (const s of this.#sockets) if (s.node === node) s.vanish();
  }

  #listen(at: Address, f: (s: IoSocket) => void): Promise<Listener> {
    if (at.kind !== 'tcp') return Promise.reject(new IoError(Errno.ENOTSUP, 'tcp only'));
    const key = `${at.host}:${String(at.port)}`;
    if (this.#listeners.has(key)) return Promise.reject(new IoError(Errno.EADDRINUSE, `${key} is in use`));
    this.#listeners.set(key, f);
    const close = (): Promise<void> => {
      this.#listeners.delete(key);
      return Promise.resolve();
    };
    return Promise.resolve({ address: at, close });
  }

  #connect(from: string, at: Address, timeoutMs: number): Promise<IoSocket> {
    if (at.kind !== 'tcp') return Promise.reject(new IoError(Errno.ENOTSUP, 'tcp only'));
    const [to = '', path = 'main'] = at.host.split('%');
    return new Promise((resolve, reject) => {
      const fail = (ms: number, errno: number): void => {
        this.post(from, ms, () => {
          reject(new IoError(errno, `connect ${at.host}: ${String(errno)}`));
        });
      };
      if (this.isCut(from, to, path) || this.isCut(to, from, path)) {
        fail(timeoutMs, Errno.ETIMEDOUT);
        return;
      }
      const accept = this.#listeners.get(`${to}:${String(at.port)}`);
      if (accept === undefined) {
        fail(2 * LATENCY_MS, Errno.ECONNREFUSED);
        return;
      }
      const a = new FakeSocket(this, from, to, path);
      const b = new FakeSocket(this, to, from, path);
      a.join(b);
      this.#sockets.push(a, b);
      this.post(to, LATENCY_MS, () => {
        accept(b);
      });
      this.post(from, 2 * LATENCY_MS, () => {
        resolve(a);
      });
    });
  }
}

class FakeSocket implements IoSocket {
  readonly node: string;
  readonly remote: string;
  closed = false;
  readonly #world: FakeWorld;
  readonly #peerNode: string;
  readonly #path: string;
  #other: FakeSocket | undefined;
  #handler: SocketHandler | undefined;
  #paused = false;
  /** Written here and not yet at the other side's process; null is the end. */
  #outgoing: (Uint8Array | null)[] = [];
  #delivering = false;
  /** Arrived and not yet taken by the handler. */
  #incoming: (Uint8Array | null)[] = [];
  #unackedBytes = 0;

  constructor(world: FakeWorld, node: string, peerNode: string, path: string) {
    this.#world = world;
    this.node = node;
    this.#peerNode = peerNode;
    this.#path = path;
    this.remote = `${peerNode}%${path}:1`;
  }

  join(other: FakeSocket): void {
    this.#other = other;
    other.#other = this;
  }

  start(h: SocketHandler): void {
    this.#handler = h;
    this.#world.post(this.node, 0, () => {
      this.#take();
    });
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#world.post(this.node, 0, () => {
      this.#take();
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.closed) return false;
    this.#outgoing.push(bytes.slice());
    this.#unackedBytes += bytes.length;
    this.deliver();
    return this.unsentBytes() === 0;
  }

  unsentBytes(): number {
    return Math.max(0, this.#unackedBytes - WINDOW_BYTES);
  }

  end(): void {
    this.#outgoing.push(null);
    this.deliver();
  }

  destroy(): void {
    if (this.closed) return;
    this.end();
    this.#close(0);
  }

  vanish(): void {
    this.closed = true;
    this.#outgoing = [];
    this.#other = undefined;
  }

  deliver(): void {
    if (this.#delivering || this.#outgoing.length === 0) return;
    this.#delivering = true;
    // The kernel of the other node takes it, whether its process is frozen or not.
    this.#world.post('the network', LATENCY_MS, () => {
      this.#delivering = false;
      if (this.#world.isCut(this.node, this.#peerNode, this.#path)) return;
      const arrived = this.#outgoing;
      this.#outgoing = [];
      this.#other?.arrive(arrived);
    });
  }

  arrive(chunks: (Uint8Array | null)[]): void {
    if (this.closed) return;
    this.#incoming.push(...chunks);
    this.#world.post(this.node, 0, () => {
      this.#take();
    });
  }

  #take(): void {
    while (!this.#paused && this.#handler !== undefined && this.#incoming.length > 0 && !this.closed) {
      const chunk = this.#incoming.shift();
      if (chunk === null || chunk === undefined) {
        this.#close(0);
        return;
      }
      if (this.#other !== undefined) this.#other.#unackedBytes -= chunk.length;
      this.#handler.onData(chunk);
    }
  }

  #close(errno: number): void {
    if (this.closed) return;
    this.closed = true;
    this.#world.post(this.node, 0, () => {
      this.#handler?.onClose(errno);
    });
  }
}
