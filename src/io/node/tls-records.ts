/**
 * The way of a TLS connection's bytes with the records kept that passed, so that somebody else can go on with the connection
 * where Node has come to (traffic-keys.ts).
 *
 *   TLSSocket <-- RecordWay <-- Socket
 *
 * Invariant: after `letGo` nothing leaves any more, whatever Node still has to say (close_notify, when its TLSSocket is closed).
 */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { Errno, IoError } from '../types.ts';
import { goOnReading, stopReading } from './handle.ts';

export const RECORD_HEADER_BYTES = 5;
/** RFC 8446, 5.1: all that is encrypted calls itself so. */
const TYPE_DATA = 23;
/** Of one way. What is handed over is so right after it was agreed what it is for, in some thousand bytes. */
const KEPT_MAX_BYTES = 64 * 1024;

/** The encrypted records of one way. */
export class Records {
  #kept: Buffer[] = [];
  #part: Buffer = Buffer.alloc(0);
  #keptBytes = 0;
  #isLost = false;

  add(bytes: Uint8Array): void {
    if (this.#isLost) return;
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > KEPT_MAX_BYTES) {
      this.forget();
      return;
    }
    let rest = Buffer.concat([this.#part, bytes]);
    for (;;) {
      const length = rest.length < RECORD_HEADER_BYTES ? Infinity : RECORD_HEADER_BYTES + rest.readUInt16BE(3);
      if (rest.length < length) break;
      if (rest[0] === TYPE_DATA) this.#kept.push(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
    this.#part = rest;
  }

  /** Undefined: there were more than are kept, or the last has not come to its end. */
  whole(): readonly Buffer[] | undefined {
    return this.#isLost || this.#part.length > 0 ? undefined : this.#kept;
  }

  forget(): void {
    this.#isLost = true;
    this.#kept = [];
    this.#part = Buffer.alloc(0);
  }
}

export class RecordWay extends Duplex {
  readonly received = new Records();
  readonly sent = new Records();
  readonly raw: Socket;
  #isLetGo = false;

  constructor(raw: Socket) {
    // As a socket's, which Node's TLS takes over from what it is on; after the handshake it is for TLS to say (tls.ts).
    super({ allowHalfOpen: false });
    this.raw = raw;
    raw.on('data', (bytes: Buffer) => {
      this.received.add(bytes);
      if (!this.push(bytes)) raw.pause();
    });
    raw.on('end', () => this.push(null));
    raw.on('error', (e) => this.destroy(e));
    // Once both ways have ended, what has come is still to be read. Node's TLS hears of errors, and of no close.
    raw.on('close', () => {
      if (!this.#isLetGo && !(raw.readableEnded && this.writableFinished)) this.destroy(new IoError(Errno.ECONNRESET, 'the connection was closed'));
    });
    // Where Node's TLS does not hear of it, nobody needs to.
    this.on('error', () => undefined);
    if (raw.readableEnded) this.push(null);
    raw.pause();
  }

  /** Nothing is read any more, not even what has come in this turn. */
  stop(): void {
    stopReading(this.raw);
  }

  /** Reading goes on after `stop`. */
  goOn(): void {
    goOnReading(this.raw);
  }

  /** Nothing leaves any more, and the socket is somebody else's. */
  letGo(): void {
    this.#isLetGo = true;
    this.forget();
  }

  forget(): void {
    this.received.forget();
    this.sent.forget();
  }

  override _read(): void {
    if (!this.#isLetGo) this.raw.resume();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (e?: Error | null) => void): void {
    if (this.#isLetGo) {
      done();
      return;
    }
    this.sent.add(bytes);
    this.raw.write(bytes, done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: (e?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map((c) => c.chunk)), 'buffer' as BufferEncoding, done);
  }

  override _final(done: () => void): void {
    if (this.#isLetGo) done();
    else this.raw.end(done);
  }

  override _destroy(e: Error | null, done: (e?: Error | null) => void): void {
    if (!this.#isLetGo) this.raw.destroy();
    done(e);
  }
}
