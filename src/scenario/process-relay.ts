/**
 * Every link between two nodes, through this process, so that it can be cut, one way or both, or made slow.
 *
 *   A dials B:   A ---socket--- relay(A>B) ---socket--- B
 *                  --A>B bytes-->        --A>B bytes-->        held while A>B is cut
 *                  <--B>A bytes--        <--B>A bytes--        held while B>A is cut
 *
 * A cut is silent: bytes and closes wait, as TCP would send them again, and go on at the heal. A connection that is begun
 * while either direction is cut waits for the heal as well.
 */
import { createServer, connect, type Server, type Socket } from 'node:net';
import type { NodeName } from '../failover/types.ts';
import type { Slowness } from './world.ts';

/** Bytes that a connection may have under way on a link with a rate, and without. */
const UNDER_WAY_SLOW_BYTES = 64 * 1024;
const UNDER_WAY_BYTES = 1024 * 1024;
const FULL_SPEED: Slowness = { rateBytesPerSec: null, delayMs: 0 };

/** One direction between two nodes. */
class Direction {
  #isCut = false;
  #slowness = FULL_SPEED;
  #busyUntil = 0;
  readonly #onHeal = new Set<() => void>();

  get isCut(): boolean {
    return this.#isCut;
  }

  get underWayMaxBytes(): number {
    return this.#slowness.rateBytesPerSec === null ? UNDER_WAY_BYTES : UNDER_WAY_SLOW_BYTES;
  }

  cut(): void {
    this.#isCut = true;
  }

  slow(how: Slowness): void {
    this.#slowness = how;
  }

  heal(): void {
    this.#isCut = false;
    this.#slowness = FULL_SPEED;
    for (const f of [...this.#onHeal]) f();
  }

  /** `f` is called at each heal, until the function answered is called. */
  onHeal(f: () => void): () => void {
    this.#onHeal.add(f);
    return () => this.#onHeal.delete(f);
  }

  /** When bytes that come now have arrived, on the clock of `performance.now`. */
  arrival(bytes: number): number {
    const now = performance.now();
    const { rateBytesPerSec, delayMs } = this.#slowness;
    if (rateBytesPerSec === null) return now + delayMs;
    this.#busyUntil = Math.max(now, this.#busyUntil) + (bytes * 1000) / rateBytesPerSec;
    return this.#busyUntil + delayMs;
  }
}

/** What comes from one socket goes to the other, in order, when the direction lets it. */
class Pipe {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #direction: Direction;
  readonly #stopHearing: () => void;
  #queue: { bytes: Buffer; at: number }[] = [];
  #queuedBytes = 0;
  #end: 'none' | 'end' | 'reset' = 'none';
  #timer: NodeJS.Timeout | undefined;
  #full = false;
  #over = false;

  constructor(from: Socket, to: Socket, direction: Direction) {
    this.#from = from;
    this.#to = to;
    this.#direction = direction;
    this.#stopHearing = direction.onHeal(() => {
      // What was slowed down has nothing to wait for any more.
      for (const q of this.#queue) q.at = 0;
      this.#pump();
    });
    from.on('data', (bytes: Buffer) => {
      this.#queue.push({ bytes, at: direction.arrival(bytes.length) });
      this.#queuedBytes += bytes.length;
      if (this.#queuedBytes >= direction.underWayMaxBytes) from.pause();
      this.#pump();
    });
    from.on('end', () => {
      this.#ends('end');
    });
    from.on('close', (hadError) => {
      this.#ends(hadError ? 'reset' : 'end');
    });
    to.on('drain', () => {
      this.#full = false;
      this.#pump();
    });
    to.on('close', () => {
      this.#finish();
    });
  }

  #ends(how: 'end' | 'reset'): void {
    if (this.#end === 'none' || how === 'reset') this.#end = how;
    this.#pump();
  }

  #finish(): void {
    this.#over = true;
    this.#queue = [];
    clearTimeout(this.#timer);
    this.#stopHearing();
  }

  #pump(): void {
    if (this.#over || this.#full || this.#direction.isCut) return;
    clearTimeout(this.#timer);
    for (;;) {
      const [first] = this.#queue;
      if (first === undefined) break;
      const waitMs = first.at - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => {
          this.#pump();
        }, Math.ceil(waitMs));
        return;
      }
      this.#queue.shift();
      this.#queuedBytes -= first.bytes.length;
      if (!this.#to.write(first.bytes)) {
        this.#full = true;
        return;
      }
    }
    if (this.#end === 'end') this.#to.end();
    if (this.#end === 'reset') this.#to.resetAndDestroy();
    if (this.#end !== 'none') this.#finish();
    else if (this.#from.isPaused() && this.#queuedBytes < this.#direction.underWayMaxBytes) this.#from.resume();
  }
}

export class Relays {
  readonly #directions = new Map<string, Direction>();
  readonly #servers: Server[] = [];
  readonly #sockets = new Set<Socket>();

  /** Where `from` dials to reach `to`, which listens at `host` and `port`. */
  async open(from: NodeName, to: NodeName, host: string, port: number): Promise<number> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#accept(socket, this.#direction(from, to), this.#direction(to, from), host, port);
    });
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: '127.0.0.1', port: 0 }, resolve);
    });
    const at = server.address();
    if (at === null || typeof at === 'string') throw new Error('a relay has no port');
    return at.port;
  }

  cut(from: NodeName, to: NodeName): void {
    this.#direction(from, to).cut();
  }

  heal(a: NodeName, b: NodeName): void {
    this.#direction(a, b).heal();
    this.#direction(b, a).heal();
  }

  slow(a: NodeName, b: NodeName, how: Slowness): void {
    this.#direction(a, b).slow(how);
    this.#direction(b, a).slow(how);
  }

  async close(): Promise<void> {
    const closed = this.#servers.map(
      (s) =>
        new Promise<void>((resolve) => {
          s.close(() => {
            resolve();
          });
        }),
    );
    for (const s of this.#sockets) s.destroy();
    await Promise.all(closed);
  }

  #direction(from: NodeName, to: NodeName): Direction {
    const key = `${from}>${to}`;
    const found = this.#directions.get(key) ?? new Direction();
    this.#directions.set(key, found);
    return found;
  }

  #accept(near: Socket, out: Direction, back: Direction, host: string, port: number): void {
    this.#keep(near);
    const go = (): void => {
      if (out.isCut || back.isCut || near.destroyed) return;
      stopHearing();
      const far = connect({ host, port, allowHalfOpen: true, noDelay: true });
      this.#keep(far);
      far.once('connect', () => {
        near.resume();
      });
      new Pipe(near, far, out);
      new Pipe(far, near, back);
      near.pause();
    };
    const heard = [
      out.onHeal(() => {
        go();
      }),
      back.onHeal(() => {
        go();
      }),
    ];
    const stopHearing = (): void => {
      for (const stop of heard) stop();
    };
    near.once('close', stopHearing);
    near.pause();
    go();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    // 'close' follows, and tells the other side.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
