/**
 * One end of a simulated connection: the process's queue, the kernel's window, and how it ends.
 *
 *   write -> queue (the process's) -> wire (at most a window, in order) -> received -> onData in random pieces
 *              unsentBytes                 |                                   |
 *              `sent` when taken            held while the link is cut           acknowledged, unless the way back is cut
 *
 *   open -> ending (our FIN follows the queue) -> closed        `gone`: this end is no more; data that reaches it gets a
 *   open -> reset, destroyed, process dead     -> closed, gone         reset as answer. A machine without power answers
 *                                                                nothing until it is up again.
 *
 * Invariants:
 * - bytes arrive complete and in order, or the connection ends; how they are cut into pieces means nothing
 * - onClose exactly once, last; after `destroy` nothing but onClose is called
 * - a dead process hears nothing, and nothing that its code still does to a socket has an effect
 */
import { Errno, type IoSocket, type SocketHandler, type Timer } from '../types.ts';
import type { Counters } from './counters.ts';
import type { Link } from './link.ts';
import type { Owned, Process } from './process.ts';
import { Received, type Segment } from './received.ts';
import type { Stream } from './seed.ts';
import { copyOf } from './slab.ts';
import { Wire } from './wire.ts';

export interface SocketContext {
  stream: Stream;
  counters: Counters;
  /** Bytes under way and not yet read by the receiver, for each direction. */
  windowBytes: number;
}

interface Queued {
  bytes: Uint8Array;
  taken: number;
  sent: (() => void) | undefined;
}

/** After `end`, a peer that never closes its side is not waited for longer. */
const END_LINGER_MS = 10_000;
/** Largest piece that a process reads at once. */
const PIECE_MAX_BYTES = 64 * 1024;

export class SimSocket implements IoSocket, Owned {
  readonly remote: string;
  readonly #process: Process;
  readonly #context: SocketContext;
  readonly #wire: Wire;
  #peer: SimSocket | undefined;
  #handler: SocketHandler | undefined;
  #paused = false;
  /** A delivery to the process is scheduled. */
  #ringing = false;

  #queue: Queued[] = [];
  #queuedBytes = 0;
  #windowUsed = 0;
  #sent: (() => void)[] = [];
  #drainWanted = false;
  #writableScheduled = false;
  #ending = false;
  #finSent = false;
  #linger: Timer | undefined;

  readonly #received = new Received();
  #finReceived = false;

  #gone = false;
  #closed: number | undefined;
  #closeTold = false;

  constructor(process: Process, remote: string, out: Link, machineIsUp: Wire['machineIsUp'], context: SocketContext) {
    this.#process = process;
    this.remote = remote;
    this.#context = context;
    this.#wire = new Wire(process.schedule, out, machineIsUp, context.counters);
    process.own(this);
  }

  /** Joins two ends; each sends over its own link. */
  static join(a: SimSocket, b: SimSocket): void {
    a.#peer = b;
    b.#peer = a;
    a.#wire.deliverTo(b);
    b.#wire.deliverTo(a);
  }

  start(h: SocketHandler): void {
    this.#handler = h;
    if (this.#closed !== undefined) this.#tellClosedLater();
    else this.#ring();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#ring();
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    if (this.#ending || this.#mute) return false;
    this.#queue.push({ bytes, taken: 0, sent });
    this.#queuedBytes += bytes.length;
    this.#pump();
    if (this.#queuedBytes === 0) return true;
    this.#drainWanted = true;
    return false;
  }

  unsentBytes(): number {
    return this.#queuedBytes;
  }

  end(): void {
    if (this.#ending || this.#mute) return;
    this.#ending = true;
    // Reading goes on, so that the peer's own end is seen; a peer that never ends is not waited for longer.
    this.#linger = this.#process.post('timer', END_LINGER_MS, () => {
      this.destroy();
    });
    this.#pump();
    this.resume();
  }

  destroy(): void {
    if (this.#mute) return;
    this.#abandon();
    this.#finish(0, false);
  }

  /** As the kernel does for a killed process; silently when the machine lost power. */
  processDied(silently: boolean): void {
    if (this.#gone) return;
    if (silently) {
      this.#gone = true;
      this.#wire.loseSome(this.#context.stream);
    } else {
      this.#abandon();
    }
    // A harness's process lives on when its machine loses power, and is told.
    if (this.#process.alive) this.#finish(Errno.ECONNRESET, false);
    else this.#closed ??= Errno.ECONNRESET;
  }

  /** What arrived at one moment, in order; undefined is the peer's FIN. */
  receive(segments: readonly (Segment | undefined)[]): void {
    let answer = false;
    for (const segment of segments) {
      if (segment === undefined) {
        this.#finReceived = true;
      } else if (this.#gone) {
        this.#context.counters.add('bytesDropped', segment.bytes.length);
        answer = true;
      } else {
        this.#received.push(segment);
      }
    }
    if (answer) this.#sendReset(true);
    if (this.#gone) return;
    if (this.#process.running && !this.#ringing) this.#deliver();
    else this.#ring();
  }

  /** A reset arrived: what is unread is lost. */
  reset(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#context.counters.add('bytesDropped', this.#received.length + this.#queuedBytes);
    this.#received.clear();
    this.#wire.clear();
    this.#finish(Errno.ECONNRESET, true);
  }

  get #mute(): boolean {
    return this.#closed !== undefined || !this.#process.alive;
  }

  /** Takes from the queue what the window allows. */
  #pump(): void {
    const { windowBytes } = this.#context;
    while (this.#windowUsed < windowBytes) {
      const head = this.#queue[0];
      if (head === undefined) break;
      const n = Math.min(head.bytes.length - head.taken, windowBytes - this.#windowUsed, PIECE_MAX_BYTES);
      if (n > 0) {
        this.#wire.send(copyOf(head.bytes.subarray(head.taken, head.taken + n)));
        head.taken += n;
        this.#windowUsed += n;
        this.#queuedBytes -= n;
      }
      if (head.taken < head.bytes.length) continue;
      this.#queue.shift();
      if (head.sent !== undefined) this.#sent.push(head.sent);
    }
    if (this.#sent.length > 0 || (this.#drainWanted && this.#queuedBytes === 0)) this.#scheduleWritable();
    if (this.#ending && this.#queue.length === 0 && !this.#finSent) {
      this.#finSent = true;
      this.#wire.send(undefined);
      this.#ring();
    }
  }

  #scheduleWritable(): void {
    if (this.#writableScheduled) return;
    this.#writableScheduled = true;
    this.#process.post('net.writable', 0, () => {
      this.#writableScheduled = false;
      if (this.#closed !== undefined) return;
      const sent = this.#sent;
      this.#sent = [];
      for (const f of sent) {
        f();
        if (this.#isClosed()) return;
      }
      if (!this.#drainWanted || this.#queuedBytes > 0) return;
      this.#drainWanted = false;
      this.#handler?.onDrain?.();
    });
  }

  /** The receiver has read `n` bytes. Its acknowledgement travels the other way, and is lost when that is cut. */
  #acknowledged(n: number, back: Link): void {
    if (back.isCut) {
      back.onHeal((delayMs) => {
        this.#process.schedule.after(delayMs, 'net.ack', back.name, () => {
          this.#acknowledged(n, back);
        });
      });
      return;
    }
    this.#windowUsed -= n;
    if (!this.#gone) this.#pump();
  }

  #ring(): void {
    if (this.#ringing || this.#closed !== undefined) return;
    this.#ringing = true;
    this.#process.post('net.data', 0, () => {
      this.#ringing = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    const handler = this.#handler;
    if (handler === undefined || this.#paused || this.#closed !== undefined) return;
    if (this.#received.length > 0) {
      const { bytes: piece, damaged } = this.#takePiece();
      if (this.#peer !== undefined) {
        // What a process left behind in the network when it died says nothing of its node; nor does what is none of its words any more.
        if (this.#peer.#process.alive && !damaged) this.#peer.#wire.link.arrivals.arrived(this.#process.schedule.now());
        this.#peer.#acknowledged(piece.length, this.#wire.link);
      }
      this.#context.counters.add('bytesDelivered', piece.length);
      this.#process.schedule.note(piece.length);
      handler.onData(piece);
      // The bytes were lent: whoever kept them finds out.
      piece.fill(0xdb);
      if (this.#received.length > 0 || this.#finReceived) this.#ring();
      return;
    }
    if (!this.#finReceived) return;
    if (!this.#ending) {
      this.#ending = true;
      this.#pump();
    }
    if (this.#finSent) {
      this.#gone = true;
      this.#finish(0, true);
    }
  }

  /** All that is there, or, by the seed, only a part: boundaries of writes and of pieces have nothing to do with each other. */
  #takePiece(): Segment {
    const { stream, counters } = this.#context;
    let n = Math.min(this.#received.length, PIECE_MAX_BYTES);
    if (n > 1 && stream.coin(0.25)) {
      counters.add('chunksSplit');
      n = stream.coin(0.5) ? stream.between(1, Math.min(n - 1, 64)) : stream.between(1, n - 1);
    }
    return this.#received.take(n);
  }

  /** This end is given up: a FIN behind what the kernel has, or a reset when something was unread. */
  #abandon(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#context.counters.add('bytesDropped', this.#queuedBytes + this.#received.length);
    if (this.#received.length > 0) {
      this.#wire.clear();
      this.#sendReset(false);
    } else if (!this.#finSent) {
      this.#finSent = true;
      this.#wire.send(undefined);
    }
    this.#wire.orphan();
    this.#received.clear();
  }

  /** A reset is sent once; only an answer to data comes again, because the data does. */
  #sendReset(answer: boolean): void {
    const { counters } = this.#context;
    const { link } = this.#wire;
    const peer = this.#peer;
    if (peer === undefined) return;
    const go = (delayMs: number): void => {
      counters.add('resets');
      this.#process.schedule.after(delayMs, 'net.reset', link.name, () => {
        if (!link.isCut) {
          peer.#resetArrived();
          return;
        }
        counters.add('resetsLost');
        if (answer) link.onHeal(go);
      });
    };
    if (!link.isCut) {
      go(link.journeyMs(0));
      return;
    }
    counters.add('resetsLost');
    if (answer) link.onHeal(go);
  }

  /** The kernel knows at once, the process when it looks. */
  #resetArrived(): void {
    if (this.#process.running) this.reset();
    else {
      this.#process.post('net.reset', 0, () => {
        this.reset();
      });
    }
  }

  #isClosed(): boolean {
    return this.#closed !== undefined;
  }

  #finish(errno: number, now: boolean): void {
    if (this.#closed !== undefined) return;
    this.#closed = errno;
    this.#linger?.cancel();
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#sent = [];
    this.#process.disown(this);
    if (now && this.#process.running) this.#tellClosed();
    else this.#tellClosedLater();
  }

  #tellClosedLater(): void {
    this.#process.post('net.close', 0, () => {
      this.#tellClosed();
    });
  }

  #tellClosed(): void {
    if (this.#closeTold || this.#handler === undefined || this.#closed === undefined) return;
    this.#closeTold = true;
    this.#handler.onClose(this.#closed);
  }
}
