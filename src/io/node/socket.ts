/**
 * An IoSocket on a Node stream.
 *
 * Writes of one turn leave together (cork), reading stops with Node's own buffer full, and `onClose` comes once, last,
 * whoever closed: errno 0 when the peer ended in order or we did.
 */
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Errno, IoError, type IoSocket, type SocketHandler } from '../types.ts';
import { bridge } from './bridge.ts';
import { errnoOf } from './errors.ts';
import { handleOf, stopReading } from './handle.ts';
import type { Lowering } from './kernel-tls.ts';
import { lentReads, mayLendReads } from './lent-reads.ts';
import type { Taker } from './taker.ts';

const NO_BYTES = new Uint8Array(0);

/** After `end`, a peer that never closes its side is not waited for longer. */
const END_LINGER_MS = 10_000;

export class NodeSocket implements IoSocket {
  readonly remote: string;
  #socket: Socket;
  readonly #lends: boolean;
  readonly #lowering: Lowering | undefined;
  #handler: SocketHandler | undefined;
  #reading = false;
  /** Its second owner has it for good, without TLS, and it is not read by lending so far. */
  #mayLend = false;
  #lent = false;
  #paused = false;
  /** Came before it was read by lending, and is told before what comes. */
  #unread: Uint8Array | undefined;
  #errno = 0;
  #closed = false;
  #ended = false;
  #corked = false;

  /** `lowering`: the kernel may go on with this TLS, once it is handed over. `lends`: whoever it is started for a second time gets much. */
  constructor(socket: Socket, remote: string, o: { lowering?: Lowering | undefined; lends?: boolean } = {}) {
    this.#socket = socket;
    this.#lowering = o.lowering;
    this.#lends = o.lends === true;
    this.remote = remote;
    this.#listen(socket);
  }

  #listen(socket: Socket): void {
    socket.on('error', (e) => {
      this.#errno = errnoOf(e) ?? Errno.EIO;
    });
    socket.on('close', () => {
      this.#closed = true;
      this.#handler?.onClose(this.#errno);
      this.#handler = undefined;
    });
    socket.on('drain', () => {
      this.#handler?.onDrain?.();
    });
  }

  start(h: SocketHandler): void {
    if (this.#closed) {
      setImmediate(() => {
        h.onClose(this.#errno);
      });
      return;
    }
    this.#handler = h;
    if (this.#reading) {
      this.#mayLend = this.#lends && !this.#lent && !(this.#socket instanceof TLSSocket);
      this.#lend();
      return;
    }
    this.#reading = true;
    this.#socket.on('data', (b: Buffer) => {
      this.#handler?.onData(b);
    });
  }

  /** What was written last leaves at the end of the turn: then it is tried again. */
  #lend(): void {
    const from = this.#socket;
    if (!this.#mayLend || this.#ended || !mayLendReads(from)) return;
    this.#mayLend = false;
    this.#lent = true;
    // All has left, but Node does not say so any more of a socket that is given up.
    const drained = from.writableNeedDrain;
    stopReading(from);
    from.removeAllListeners();
    this.#unread = this.#takeUnread();
    this.#socket = lentReads(from, (bytes) => {
      this.#handler?.onData(bytes);
    });
    this.#listen(this.#socket);
    process.nextTick(() => {
      if (drained && !this.#socket.destroyed) this.#handler?.onDrain?.();
      if (!this.#isPaused()) this.resume();
    });
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    const unread = this.#unread;
    this.#unread = undefined;
    if (unread !== undefined && !this.#socket.destroyed) this.#handler?.onData(unread);
    if (!this.#isPaused()) this.#socket.resume();
  }

  /** Whoever got what was unread may have had enough. */
  #isPaused(): boolean {
    return this.#paused;
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#ended || this.#closed || this.#socket.destroyed) return false;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#uncork();
      });
    }
    if (sent === undefined) return this.#socket.write(bytes);
    return this.#socket.write(bytes, (e) => {
      if (!(e instanceof Error) && !this.#socket.destroyed) sent();
    });
  }

  unsentBytes(): number {
    return this.#socket.writableLength;
  }

  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    this.#uncork();
    this.#socket.end();
    // Reading goes on, so that the peer's own end is seen and no unread byte turns ours into a reset.
    this.resume();
    this.#socket.resume();
    const linger = setTimeout(() => {
      this.#socket.destroy();
    }, END_LINGER_MS);
    linger.unref();
    this.#socket.once('close', () => {
      clearTimeout(linger);
    });
  }

  destroy(): void {
    this.#ended = true;
    this.#socket.destroy();
  }

  /**
   * For TLS: Node's socket, once everything written so far has left, its next bytes to be read being `early`. This one is of no use
   * afterwards, and its handler hears nothing more. Rejects with IoError when the socket closes first.
   */
  async release(early: Uint8Array): Promise<Socket> {
    const socket = this.#socket;
    this.#mayLend = false;
    socket.removeAllListeners('data');
    this.pause();
    this.#uncork();
    await new Promise<void>((resolve, reject) => {
      const gone = (errno: number): void => {
        reject(new IoError(errno === 0 ? Errno.EPIPE : errno, `${this.remote} closed the connection`));
      };
      this.#handler = { onData: () => undefined, onClose: gone };
      if (this.#closed || socket.destroyed) gone(this.#errno);
      else if (socket.writableLength === 0) resolve();
      else {
        socket.write(NO_BYTES, (e) => {
          if (!(e instanceof Error)) resolve();
        });
      }
    });
    this.#handler = undefined;
    const unread = this.#unread;
    if (unread !== undefined) socket.unshift(unread);
    if (early.length > 0) socket.unshift(early);
    return socket;
  }

  /**
   * Gives the descriptor to somebody else once everything written so far has left. Nothing is read from here on; this socket
   * is of no use afterwards, and its handler hears nothing more.
   */
  handOver(to: Taker): void {
    this.#handler = {
      onData: () => undefined,
      onClose: (errno) => {
        to.gone(errno);
      },
    };
    if (this.#closed) {
      this.#handler = undefined;
      to.gone(this.#errno);
      return;
    }
    this.#mayLend = false;
    this.#socket.removeAllListeners('data');
    this.pause();
    const socket = this.#socket;
    if (!(socket instanceof TLSSocket)) {
      stopReading(socket);
      this.#whenSent(() => {
        this.#give(to, socket);
      });
    } else if (this.#lowering === undefined) this.#bridge(socket, to);
    else {
      const lowering = this.#lowering;
      lowering.way.stop();
      this.#whenSent(() => {
        this.#lower(socket, lowering, to);
      });
    }
  }

  /** Not at all when it closes before, which is told. */
  #whenSent(f: () => void): void {
    this.#uncork();
    if (this.#socket.writableLength === 0) f();
    else {
      this.#socket.write(NO_BYTES, (e) => {
        if (!(e instanceof Error)) f();
      });
    }
  }

  #give(to: Taker, from: Socket): void {
    const handle = handleOf(from);
    // Without a handle it is closing, and tells when it has closed.
    if (this.#socket.destroyed || handle === undefined) return;
    this.#handler = undefined;
    to.take(handle.fd, this.#takeUnread() ?? NO_BYTES);
    // Closes Node's own descriptor, and sends nothing: the connection lives on in the duplicate.
    this.destroy();
  }

  #takeUnread(): Buffer | undefined {
    const chunks: Uint8Array[] = this.#unread === undefined ? [] : [this.#unread];
    for (let b: unknown = this.#socket.read(); b instanceof Uint8Array; b = this.#socket.read()) chunks.push(b);
    return chunks.length === 0 ? undefined : Buffer.concat(chunks);
  }

  /** What the descriptor carries is for TLS alone. */
  #bridge(socket: TLSSocket, to: Taker): void {
    this.#uncork();
    this.#handler = undefined;
    bridge(socket, to);
  }

  /** The descriptor itself where the kernel goes on with TLS, and a bridge where it does not. */
  #lower(socket: TLSSocket, lowering: Lowering, to: Taker): void {
    const { way } = lowering;
    const handle = handleOf(way.raw);
    if (socket.destroyed) return;
    // It is closed below, and TLS has not heard of it.
    const lowered = handle === undefined ? -Errno.ECONNRESET : lowering.lower(socket, handle.fd);
    if (lowered === 'Node') {
      way.goOn();
      this.#bridge(socket, to);
      return;
    }
    if (lowered !== 'kernel') {
      this.#errno = -lowered;
      this.destroy();
      return;
    }
    way.letGo();
    this.#give(to, way.raw);
    way.raw.destroy();
  }

  #uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
    this.#lend();
  }
}
