/**
 * One connection after its handshake: frames in, frames out, closed once with a reason.
 *
 * Invariants:
 * - a peer that does not read is cut off at `unsentMaxBytes`; a peer that talks nonsense at the first frame of it
 * - after `close` no message is delivered, whatever bytes are left
 */
import { errnoName, type IoSocket } from '../io/types.ts';
import { ClusterCode, ClusterError } from './errors.ts';
import { FrameDecoder, FrameError } from './frame.ts';
import { firstFault, type Message, messageSchema } from './messages.ts';

export interface LinkEvents {
  /** Bytes arrived, and nothing was done with them yet; may close the link, and then they are not looked at. */
  onBytes(): void;
  /** Comes before the messages in them. */
  onHeard(): void;
  onMessage(m: Message): void;
  /** Exactly once, last. */
  onClosed(why: ClusterError): void;
}

export class Link {
  readonly remote: string;
  readonly #socket: IoSocket;
  readonly #unsentMaxBytes: number;
  readonly #events: LinkEvents;
  readonly #decoder = new FrameDecoder();
  #closed = false;
  #socketClosed = false;
  #gone: (() => void) | undefined;

  constructor(socket: IoSocket, unsentMaxBytes: number, events: LinkEvents) {
    this.remote = socket.remote;
    this.#socket = socket;
    this.#unsentMaxBytes = unsentMaxBytes;
    this.#events = events;
  }

  /** Begins to listen; `early` arrived during the handshake. The socket is paused until here. */
  start(early: Uint8Array): void {
    this.#socket.start({
      onData: (bytes) => {
        this.#onData(bytes);
      },
      onClose: (errno) => {
        this.#socketClosed = true;
        this.close(new ClusterError(ClusterCode.LOST, errno === 0 ? 'the peer closed the connection' : `the connection broke: ${errnoName(errno)}`));
        this.#gone?.();
      },
    });
    if (early.length > 0) this.#onData(early);
    if (!this.#closed) this.#socket.resume();
  }

  get closed(): boolean {
    return this.#closed;
  }

  get unsentBytes(): number {
    return this.#closed ? 0 : this.#socket.unsentBytes();
  }

  /** Queues one encoded frame; false when the connection is closed, or was just closed because the peer does not read. */
  send(frame: Uint8Array): boolean {
    if (this.#closed) return false;
    if (this.#socket.unsentBytes() + frame.length > this.#unsentMaxBytes) {
      this.close(new ClusterError(ClusterCode.LOST, `more than ${String(this.#unsentMaxBytes)} bytes were waiting to be sent`));
      return false;
    }
    this.#socket.write(frame);
    return true;
  }

  close(why: ClusterError): void {
    if (this.#closed) return;
    this.#closed = true;
    if (!this.#socketClosed) this.#socket.destroy();
    this.#events.onClosed(why);
  }

  /** Resolves when the socket is gone; `close` must have been called or be certain to be. */
  gone(): Promise<void> {
    if (this.#socketClosed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#gone = resolve;
    });
  }

  #onData(bytes: Uint8Array): void {
    if (!this.#closed) this.#events.onBytes();
    if (this.#closed) return;
    this.#events.onHeard();
    try {
      this.#decoder.push(bytes, (value) => {
        if (!this.#closed) this.#onFrame(value);
      });
    } catch (e: unknown) {
      if (!(e instanceof FrameError)) throw e;
      this.close(new ClusterError(ClusterCode.PROTOCOL, e.message));
    }
  }

  #onFrame(value: unknown): void {
    const parsed = messageSchema.safeParse(value);
    if (parsed.success) this.#events.onMessage(parsed.data);
    else this.close(new ClusterError(ClusterCode.PROTOCOL, `a message that is not as agreed: ${firstFault(parsed.error)}`));
  }
}
