/**
 * An IoSocket on a Node stream.
 *
 * Writes of one turn leave together (cork), reading stops with Node's own buffer full, and `onClose` comes once, last,
 * whoever closed: errno 0 when the peer ended in order or we did.
 */
import type { Socket } from 'node:net';
import { Errno, type IoSocket, type SocketHandler } from '../types.ts';
import { errnoOf } from './errors.ts';

/** After `end`, a peer that never closes its side is not waited for longer. */
const END_LINGER_MS = 10_000;

export class NodeSocket implements IoSocket {
  readonly remote: string;
  readonly #socket: Socket;
  #handler: SocketHandler | undefined;
  #reading = false;
  #errno = 0;
  #closed = false;
  #ended = false;
  #corked = false;

  constructor(socket: Socket, remote: string) {
    this.#socket = socket;
    this.remote = remote;
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
    if (this.#reading) return;
    this.#reading = true;
    this.#socket.on('data', (b: Buffer) => {
      this.#handler?.onData(b);
    });
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
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

  #uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  }
}
