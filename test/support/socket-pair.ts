/**
 * Two IoSockets joined in memory: what one writes the other receives, in later microtasks, in pieces that the test may choose.
 * For handshakes and framed messages, where a real socket would add nothing but time.
 */
import { Errno, type IoSocket, type SocketHandler } from '../../src/io/types.ts';

export interface PairOptions {
  /** Longest piece delivered at once. */
  pieceBytes?: number;
  /** Bytes written and never delivered: a peer that does not read. */
  stuck?: boolean;
  /** Who the first of them is connected to. */
  remote?: string;
}

export function socketPair(o: PairOptions = {}): [MemorySocket, MemorySocket] {
  const a = new MemorySocket(o.remote ?? 'memory:a', o);
  const b = new MemorySocket('memory:b', o);
  a.join(b);
  b.join(a);
  return [a, b];
}

export class MemorySocket implements IoSocket {
  readonly remote: string;
  readonly #pieceBytes: number;
  readonly #stuck: boolean;
  #peer: MemorySocket | undefined;
  #handler: SocketHandler | undefined;
  #inbox: Uint8Array[] = [];
  #paused = false;
  /** Set when the peer ended or broke the connection: to be told after everything in the inbox. */
  #end: number | undefined;
  #closed = false;
  #scheduled = false;
  #unsent = 0;
  /** What the owner of this end did last, for assertions. */
  closedBy: 'end' | 'destroy' | 'peer' | undefined;

  constructor(remote: string, o: PairOptions) {
    this.remote = remote;
    this.#pieceBytes = o.pieceBytes ?? 65536;
    this.#stuck = o.stuck ?? false;
  }

  join(peer: MemorySocket): void {
    this.#peer = peer;
  }

  get closed(): boolean {
    return this.#closed;
  }

  start(h: SocketHandler): void {
    this.#handler = h;
    this.#schedule();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#closed) return true;
    if (this.#stuck) {
      this.#unsent += bytes.length;
      return false;
    }
    this.#peer?.receive(bytes.slice());
    if (sent !== undefined) queueMicrotask(sent);
    return true;
  }

  unsentBytes(): number {
    return this.#unsent;
  }

  end(): void {
    if (this.#closed || this.closedBy !== undefined) return;
    this.closedBy = 'end';
    this.#peer?.peerGone(0);
    if (!this.#stuck) this.#close(0);
  }

  destroy(): void {
    if (this.#closed) return;
    this.closedBy ??= 'destroy';
    this.#peer?.peerGone(Errno.ECONNRESET);
    this.#close(Errno.ECONNRESET);
  }

  receive(bytes: Uint8Array): void {
    if (this.#closed || bytes.length === 0) return;
    this.#inbox.push(bytes);
    this.#schedule();
  }

  peerGone(errno: number): void {
    this.#end ??= errno;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#handler === undefined) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (this.#closed || this.#paused || this.#handler === undefined) return;
    const first = this.#inbox.shift();
    if (first !== undefined) {
      if (first.length > this.#pieceBytes) this.#inbox.unshift(first.subarray(this.#pieceBytes));
      this.#handler.onData(first.subarray(0, this.#pieceBytes));
      this.#schedule();
    } else if (this.#end !== undefined) {
      this.closedBy ??= 'peer';
      this.#close(this.#end);
    }
  }

  #close(errno: number): void {
    this.#closed = true;
    this.#handler?.onClose(errno);
  }
}
