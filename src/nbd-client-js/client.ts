/**
 * An NBD client over the engine: payloads stay behind handles, requests are pipelined, one client is one export.
 *
 *   NbdClient.connect -> dial, handshake (control plane) -> engine.adopt -> read, write, flush, …   (data plane)
 *
 * Two faces. The hot one is callbacks (`owner.onDone(tag, errno, length, h, value)`) and allocates nothing per request
 * once warm; the cold one (`readBytes`, `writeBytes`, …) is promises.
 *
 * Invariants:
 * - exactly one onDone for each call, in a later turn, also when the connection is lost (see pipeline.ts)
 * - the loss of any connection is the loss of the client; `lost` says so before the first onDone that follows from it
 * - FUA and FLUSH never succeed without the server having said durable: where it can do neither, they end with ENOTSUP (M3)
 */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import { Errno, errnoName, type Extent, type Handle, type Io, IoError } from '../io/types.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from '../nbd/wire/constants.ts';
import { encodeStatusPayload, statusPayloadBytes } from '../nbd/wire/extended.ts';
import { append } from './block-status.ts';
import { dialAll, type Reach } from './dial.ts';
import type { ExportInfo } from './export-info.ts';
import { Mismatches } from './mismatches.ts';
import type { Secure } from './option-haggler.ts';
import { type Loss, Pipeline } from './pipeline.ts';

export type { Loss } from './pipeline.ts';

export interface NbdClientSettings {
  io: Pick<Io, 'clock' | 'net'>;
  hub: EngineHub;
  exportName: string;
  /** TLS is to be spoken, by STARTTLS: makes it of a socket. Absent: in clear. */
  secure?: Secure;
  /** Wanted; one is used unless the server announces CAN_MULTI_CONN. Default 1. */
  connections?: number;
  /** Short writes are spread over them too, for a server that looks at its connections in turn. Default: they stay together on one. */
  spread?: boolean;
  /** Dialling and handshake together, for each connection. Default 5000. */
  connectTimeoutMs?: number;
  /**
   * For each answer of dialling and handshake, and for each reply: a request without one for so long, since it was sent and everything sent
   * before it on its connection was answered, closes the client. Default 30000.
   */
  replyTimeoutMs?: number;
  /** On each connection, sent and not yet answered. Defaults 256, and 64 MiB of payload. */
  requestsMax?: number;
  bytesMax?: number;
  /**
   * Longest TRIM or WRITE_ZEROES in one request, bytes; a longer one is split. Default 1 GiB, for which a server may need long; with
   * extended headers 1 TiB of holes where the server announces FAST_ZERO. Beyond 32 bits it counts with extended headers alone.
   */
  discardMaxBytes?: number;
  /** Asked for; a server without them is asked for structured replies. Default true. */
  extendedHeaders?: boolean;
  /** Requests waiting in the client; more are refused with EAGAIN. Default 1024. */
  queueMax?: number;
  /** Headers and payloads have checksums (src/nbd/wire/checksums.ts), which the server must have agreed to; told of each mismatch. */
  checksums?: { onMismatch: () => void };
}
export type NbdClientOptions = NbdClientSettings & Reach;

export interface WriteZeroesOptions {
  fua: boolean;
  /** The server may make a hole. */
  mayPunch: boolean;
  /** End with ENOTSUP rather than be no faster than a write; needs `info.canFastZero`. */
  fastOnly?: boolean;
}

/** TRIM and WRITE_ZEROES have no payload; longer ones are split, so that one request keeps a server busy for a bounded time. */
const DISCARD_MAX_BYTES = 1024 * 1024 * 1024;
/** With extended headers, of what only makes holes: the answer must still come within the reply's deadline. */
const HOLE_MAX_BYTES = 1024 * DISCARD_MAX_BYTES;
/** Without extended headers the length field has 32 bits; a whole number of the largest minimum block size. */
const COMPACT_MAX_BYTES = 0x1_0000_0000 - 64 * 1024;
/** Extents of one `extents` call, and answers it takes: a server that tells of a byte at a time is not listened to for ever. */
const EXTENTS_MAX = 1024 * 1024;

export class NbdClient {
  readonly info: ExportInfo;
  readonly #pipeline: Pipeline;
  readonly #hub: EngineHub;
  readonly #pieceMaxBytes: number;
  readonly #discardMaxBytes: number;
  readonly #holeMaxBytes: number;
  readonly #statusMaxBytes: number;

  private constructor(info: ExportInfo, pipeline: Pipeline, hub: EngineHub, pieceMaxBytes: number, discardMaxBytes: number | undefined) {
    this.info = info;
    this.#pipeline = pipeline;
    this.#hub = hub;
    this.#pieceMaxBytes = pieceMaxBytes;
    const lengthMaxBytes = info.extended ? roundDown(Number.MAX_SAFE_INTEGER, info.blockSizeMinBytes) : COMPACT_MAX_BYTES;
    const bounded = (n: number): number => Math.max(info.blockSizeMinBytes, roundDown(Math.min(n, lengthMaxBytes), info.blockSizeMinBytes));
    this.#discardMaxBytes = bounded(discardMaxBytes ?? DISCARD_MAX_BYTES);
    // A server that makes no holes fast may write zeroes out for a TRIM too.
    this.#holeMaxBytes = bounded(discardMaxBytes ?? (info.extended && info.canFastZero ? HOLE_MAX_BYTES : DISCARD_MAX_BYTES));
    this.#statusMaxBytes = lengthMaxBytes;
  }

  /** Rejects with HandshakeError, or IoError when the server cannot be reached. */
  static async connect(o: NbdClientOptions): Promise<NbdClient> {
    const replyTimeoutMs = o.replyTimeoutMs ?? 30_000;
    const { first, further } = await dialAll(o, o.connections ?? 1, {
      io: o.io,
      exportName: o.exportName,
      // Checksums are of compact headers (src/nbd/wire/checksums.ts).
      extendedHeaders: o.checksums === undefined && (o.extendedHeaders ?? true),
      connectTimeoutMs: o.connectTimeoutMs ?? 5_000,
      replyTimeoutMs,
      secure: o.secure,
    });
    const { info } = first;
    const requestsMax = o.requestsMax ?? 256;
    const bytesMax = Math.max(o.bytesMax ?? 64 * 1024 * 1024, info.blockSizeMinBytes);
    const pieceMaxBytes = roundDown(Math.min(info.payloadMaxBytes, bytesMax), info.blockSizeMinBytes);
    const pipeline = new Pipeline({
      hub: o.hub,
      clock: o.io.clock,
      remote: first.pull.socket.remote,
      requestsMax,
      bytesMax,
      spread: o.spread === true,
      queueMax: o.queueMax ?? 1024,
      replyTimeoutMs,
      baseAllocationContextId: info.baseAllocationContextId,
      mismatches: o.checksums === undefined ? undefined : new Mismatches(o.checksums.onMismatch),
    });
    const checksums = o.checksums !== undefined;
    try {
      for (const { pull, info: own } of [first, ...further]) {
        const early = pull.detach();
        const wire = { structuredReplies: own.structured, extendedHeaders: own.extended, payloadMaxBytes: pieceMaxBytes, checksums };
        pipeline.addConnection(o.hub.engine.adopt(pull.socket, 'client', wire, { requestsMax, bytesMax }, early));
      }
    } catch (e: unknown) {
      pipeline.close(Errno.ESHUTDOWN, 'a connection was lost while connecting');
      for (const { pull } of [first, ...further]) pull.destroy();
      throw e;
    }
    return new NbdClient(info, pipeline, o.hub, pieceMaxBytes, o.discardMaxBytes);
  }

  /** In use; fewer than wanted when the server grants fewer. */
  get connections(): number {
    return this.#pipeline.connections;
  }

  /** Undefined while connected. */
  get lost(): Loss | undefined {
    return this.#pipeline.lost;
  }

  /** Calls not yet ended by onDone. */
  get requestsInFlight(): number {
    return this.#pipeline.requestsInFlight;
  }

  /** Backpressure: so many further calls are surely taken; one beyond may end with EAGAIN. 0 when lost or disconnecting. */
  room(): number {
    return this.#pipeline.room();
  }

  /** Once, when all is closed and every onDone was called; errno 0 after `disconnect`. */
  onClosed(f: (errno: number, reason: string) => void): void {
    this.#pipeline.onClosed((loss) => {
      f(loss.errno, loss.reason);
    });
  }

  /** Ends all connections now; requests end with `errno`. */
  close(errno: number, reason = `closed here (${errnoName(errno)})`): void {
    this.#pipeline.close(errno, reason);
  }

  /** Ends requests in flight first, then says NBD_CMD_DISC. Never rejects; ends one reply timeout after the last answer, and one more, at the latest. */
  disconnect(): Promise<void> {
    return this.#pipeline.disconnect();
  }

  // ------------------------------------------------------------------------------------------------------ hot paths

  /** The caller keeps its own reference to `h` and may release it at once. `length` bytes from `hOffset`. */
  write(owner: OpOwner, tag: number, offset: number, length: number, h: Handle, hOffset: number, fua: boolean): void {
    if (this.#refused(owner, tag, offset, length, true, true, fua)) return;
    const flags = fua && this.info.canFua ? NBD_CMD_FLAG_FUA : 0;
    this.#pipeline.submit(owner, tag, NBD_CMD_WRITE, flags, offset, length, h, hOffset, this.#pieceMaxBytes, fua && flags === 0);
  }

  /** onDone gives a handle with `length` bytes, which the owner releases. */
  read(owner: OpOwner, tag: number, offset: number, length: number): void {
    if (this.#refused(owner, tag, offset, length, false, true, false)) return;
    this.#pipeline.submit(owner, tag, NBD_CMD_READ, 0, offset, length, 0, 0, this.#pieceMaxBytes, false);
  }

  /** Durable: every write whose onDone came before this call, on whatever connection it went (M3). */
  flush(owner: OpOwner, tag: number): void {
    if (!this.info.canFlush) {
      this.#pipeline.refuse(owner, tag, Errno.ENOTSUP);
      return;
    }
    this.#pipeline.submit(owner, tag, NBD_CMD_FLUSH, 0, 0, 0, 0, 0, 0, false);
  }

  /** The range's content is undefined afterwards. */
  trim(owner: OpOwner, tag: number, offset: number, length: number, fua = false): void {
    if (this.#refused(owner, tag, offset, length, true, this.info.canTrim, fua)) return;
    const flags = fua && this.info.canFua ? NBD_CMD_FLAG_FUA : 0;
    this.#pipeline.submit(owner, tag, NBD_CMD_TRIM, flags, offset, length, 0, 0, this.#holeMaxBytes, fua && flags === 0);
  }

  writeZeroes(owner: OpOwner, tag: number, offset: number, length: number, o: WriteZeroesOptions): void {
    const fastOnly = o.fastOnly ?? false;
    const able = this.info.canWriteZeroes && (!fastOnly || this.info.canFastZero);
    if (this.#refused(owner, tag, offset, length, true, able, o.fua)) return;
    const fuaFlag = o.fua && this.info.canFua ? NBD_CMD_FLAG_FUA : 0;
    const flags = fuaFlag | (o.mayPunch ? 0 : NBD_CMD_FLAG_NO_HOLE) | (fastOnly ? NBD_CMD_FLAG_FAST_ZERO : 0);
    const most = o.mayPunch ? this.#holeMaxBytes : this.#discardMaxBytes;
    this.#pipeline.submit(owner, tag, NBD_CMD_WRITE_ZEROES, flags, offset, length, 0, 0, most, o.fua && fuaFlag === 0);
  }

  /** onDone's value has kind 'extents': contiguous from `offset`, `length` bytes in all, which may be fewer than asked. */
  blockStatus(owner: OpOwner, tag: number, offset: number, length: number): void {
    const { baseAllocationContextId, canFilterStatus, hasOtherContexts } = this.info;
    if (this.#refused(owner, tag, offset, length, false, baseAllocationContextId !== undefined, false)) return;
    const most = this.#statusMaxBytes;
    const asked = Math.min(length, most);
    if (baseAllocationContextId === undefined || !canFilterStatus || !hasOtherContexts) {
      this.#pipeline.submit(owner, tag, NBD_CMD_BLOCK_STATUS, 0, offset, asked, 0, 0, most, false);
      return;
    }
    // Contexts that nobody asked for cost the server and the wire: ours is named.
    const { engine } = this.#hub;
    const h = engine.allocate(statusPayloadBytes(1));
    encodeStatusPayload(engine.view(h), { length: asked, contextIds: [baseAllocationContextId] });
    this.#pipeline.submit(owner, tag, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, offset, asked, h, 0, most, false);
    engine.release(h);
  }

  #refused(owner: OpOwner, tag: number, offset: number, length: number, writes: boolean, able: boolean, fua: boolean): boolean {
    const { info } = this;
    const end = offset + length;
    const min = info.blockSizeMinBytes;
    let errno: number = Errno.OK;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length <= 0 || end > info.sizeBytes) errno = Errno.EINVAL;
    // The tail of an export whose size is no multiple of the minimum is left to the server to judge.
    else if (offset % min !== 0 || (end % min !== 0 && end !== info.sizeBytes)) errno = Errno.EINVAL;
    else if (writes && info.readOnly) errno = Errno.EROFS;
    else if (!able || (fua && !info.canFua && !info.canFlush)) errno = Errno.ENOTSUP;
    if (errno === 0) return false;
    this.#pipeline.refuse(owner, tag, errno);
    return true;
  }

  // ----------------------------------------------------------------------------------------------------- cold paths

  /** A copy of the bytes. Rejects with IoError, as all below. */
  async readBytes(offset: number, length: number): Promise<Uint8Array> {
    const { h } = await this.#ask(`read ${where(offset, length)}`, (owner) => {
      this.read(owner, 0, offset, length);
    });
    const bytes = this.#hub.engine.view(h).slice(0, length);
    this.#hub.engine.release(h);
    return bytes;
  }

  async writeBytes(offset: number, bytes: Uint8Array, fua = false): Promise<void> {
    const { engine } = this.#hub;
    const h = engine.allocate(bytes.length);
    engine.view(h).set(bytes);
    const done = this.#ask(`write ${where(offset, bytes.length)}`, (owner) => {
      this.write(owner, 0, offset, bytes.length, h, 0, fua);
    });
    engine.release(h);
    await done;
  }

  async flushNow(): Promise<void> {
    await this.#ask('flush', (owner) => {
      this.flush(owner, 0);
    });
  }

  /** The whole range, as few extents as possible; one of data where the server cannot tell. EOVERFLOW beyond 2^20 extents. */
  async extents(offset: number, length: number): Promise<Extent[]> {
    if (this.info.baseAllocationContextId === undefined) return [{ offset, length, hole: false, zero: false }];
    const all: Extent[] = [];
    const end = offset + length;
    let at = offset;
    for (let answers = 0; at < end; answers += 1) {
      const from = at;
      const { value } = await this.#ask(`block status ${where(from, end - from)}`, (owner) => {
        this.blockStatus(owner, 0, from, end - from);
      });
      if (value?.kind !== 'extents') throw new Error('a block status came without extents');
      for (const e of value.extents) {
        append(all, e);
        at = e.offset + e.length;
      }
      if (all.length > EXTENTS_MAX || answers > EXTENTS_MAX)
        throw new IoError(Errno.EOVERFLOW, `more than ${String(EXTENTS_MAX)} extents in ${where(offset, length)}`);
    }
    return all;
  }

  #ask(what: string, begin: (owner: OpOwner) => void): Promise<{ h: Handle; value: Parameters<OpOwner['onDone']>[4] }> {
    return new Promise((resolve, reject) => {
      begin({
        onDone: (_tag, errno, _length, h, value) => {
          if (errno === 0) resolve({ h, value });
          else {
            const why = this.lost === undefined ? errnoName(errno) : `${errnoName(errno)} (${this.lost.reason})`;
            reject(new IoError(errno, `${what}: ${why}`));
          }
        },
      });
    });
  }
}

function where(offset: number, length: number): string {
  return `of ${String(length)} bytes at ${String(offset)}`;
}

function roundDown(n: number, unit: number): number {
  return n - (n % unit);
}
