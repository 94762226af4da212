/**
 * A socket read by asking: for handshakes and for framed messages. Every read has a deadline and a length bound by the
 * caller; what arrived beyond it is kept, and handed on by `detach` when an engine takes the socket over.
 */
import { type Clock, Errno, IoError, type IoSocket, type Timer } from './types.ts';

/** Above this many unread bytes the socket is paused. */
const UNREAD_HIGH_BYTES = 256 * 1024;

export class PullSocket {
  readonly socket: IoSocket;
  readonly #clock: Clock;
  #chunks: Uint8Array[] = [];
  #unreadBytes = 0;
  #closed: number | undefined;
  #paused = false;
  #detached = false;
  #want: { bytes: number; done: () => void } | undefined;
  #onClosed: ((errno: number) => void) | undefined;

  /** `early`: bytes that a previous reader of the socket received and did not use; read first. */
  constructor(socket: IoSocket, clock: Clock, early: Uint8Array = new Uint8Array(0)) {
    this.socket = socket;
    this.#clock = clock;
    if (early.length > 0) {
      this.#chunks.push(early);
      this.#unreadBytes = early.length;
    }
    socket.start({
      onData: (b) => {
        // Not slice: that of a Buffer shares its bytes.
        this.#chunks.push(new Uint8Array(b));
        this.#unreadBytes += b.length;
        if (!this.#paused && this.#unreadBytes > Math.max(UNREAD_HIGH_BYTES, this.#want?.bytes ?? 0)) {
          this.#paused = true;
          socket.pause();
        }
        if (this.#want !== undefined && this.#unreadBytes >= this.#want.bytes) this.#want.done();
      },
      onClose: (errno) => {
        this.#closed = errno === 0 ? Errno.EPIPE : errno;
        this.#want?.done();
        this.#onClosed?.(errno);
      },
    });
  }

  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Called once when the peer or an error closed the socket; at once if that has happened. */
  onClosed(f: (errno: number) => void): void {
    this.#onClosed = f;
    if (this.#closed !== undefined) f(this.#closed);
  }

  /** Exactly `bytes` bytes. ETIMEDOUT, or the close's errno. One read at a time. */
  async read(bytes: number, timeoutMs: number): Promise<Uint8Array> {
    if (this.#want !== undefined || this.#detached) throw new Error('PullSocket: one read at a time, none after detach');
    if (this.#unreadBytes < bytes && this.#closed === undefined) {
      let timer: Timer | undefined;
      const timedOut = await new Promise<boolean>((resolve) => {
        timer = this.#clock.after(timeoutMs, () => {
          resolve(true);
        });
        this.#want = {
          bytes,
          done: () => {
            resolve(false);
          },
        };
        if (this.#paused) {
          this.#paused = false;
          this.socket.resume();
        }
      });
      timer?.cancel();
      this.#want = undefined;
      if (timedOut && this.#unreadBytes < bytes) {
        throw new IoError(Errno.ETIMEDOUT, `no answer from ${this.socket.remote} within ${String(timeoutMs)} ms`);
      }
    }
    if (this.#unreadBytes < bytes) {
      throw new IoError(this.#closed ?? Errno.EPIPE, `${this.socket.remote} closed the connection`);
    }
    return this.#take(bytes);
  }

  #take(bytes: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.length === bytes) {
      this.#chunks.shift();
      this.#unreadBytes -= bytes;
      return first;
    }
    const out = new Uint8Array(bytes);
    let at = 0;
    while (at < bytes) {
      const c = this.#chunks[0];
      if (c === undefined) throw new Error('PullSocket: unread count is wrong');
      const n = Math.min(c.length, bytes - at);
      out.set(c.subarray(0, n), at);
      at += n;
      if (n === c.length) this.#chunks.shift();
      else this.#chunks[0] = c.subarray(n);
    }
    this.#unreadBytes -= bytes;
    return out;
  }

  /** Gives back what was read last. */
  unread(bytes: Uint8Array): void {
    this.#chunks.unshift(bytes);
    this.#unreadBytes += bytes.length;
  }

  /** Resolves when handed to the kernel; the caller must not change the bytes before. */
  write(bytes: Uint8Array): void {
    if (this.#closed === undefined) this.socket.write(bytes);
  }

  /** Hands the socket on: bytes that arrived and were not read. The socket is paused; its next owner calls `start` and `resume`. */
  detach(): Uint8Array {
    this.#detached = true;
    if (this.#closed !== undefined) throw new IoError(this.#closed, `${this.socket.remote} closed the connection`);
    this.socket.pause();
    const rest = this.#take(this.#unreadBytes);
    this.#chunks = [];
    return rest;
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
