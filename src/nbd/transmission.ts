/**
 * One connection after its handshake: requests in, replies out.
 *
 *   engine REQUEST --> validateRequest --> Device --> Replier (this) --> engine reply
 *                            |                            ^
 *                            +---- refused ---------------+
 *
 *   states: serving -> draining (DISC, shutdown) -> ended (close told to the engine) -> gone (CLOSED came)
 *
 * Invariants:
 * - every request gets exactly one reply, or none because the connection has gone; a late answer is dropped
 * - the payload of a WRITE that is not handed to the device is released here
 * - a request that came damaged reaches no device, and is answered EBADMSG, as nothing else is
 * - a draining connection is closed once all its requests are answered and the answers are sent: replies leave in the order
 *   they were given, so it is enough to watch the one that left nothing open behind it
 */
import type { ConnOwner, EngineHub, OpOwner } from '../io/hub.ts';
import { type Clock, type ConnId, Errno, type Extent, type Handle, type RequestId, type Timer } from '../io/types.ts';
import type { StatusRequest } from './base-allocation.ts';
import type { Device, Replier } from './device.ts';
import { LongChange, type LongChangeOwner, PIECE_MAX_BYTES } from './long-change.ts';
import { type SelectedContext, statusChunks } from './meta-contexts.ts';
import { OpenRequests } from './open-requests.ts';
import { statusFilter } from './status-filter.ts';
import { type Agreed, validateRequest } from './validate.ts';
import { CHECKSUM_EBADMSG, CMD_DAMAGED } from './wire/checksums.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ESHUTDOWN,
} from './wire/constants.ts';
import { wireError } from './wire/transmission.ts';

export interface TransmissionOptions {
  hub: EngineHub;
  device: Device;
  structuredReplies: boolean;
  extendedHeaders: boolean;
  readOnly: boolean;
  /** The meta contexts that were selected. */
  contexts: readonly SelectedContext[];
  clock: Clock;
  /** After NBD_CMD_DISC: how long requests in flight and their replies may take before the connection is cut. */
  disconnectTimeoutMs: number;
  onClosed: (errno: number) => void;
}

type State = 'serving' | 'draining' | 'ended' | 'gone';

export class Transmission implements ConnOwner, OpOwner, LongChangeOwner {
  readonly device: Device;
  readonly #hub: EngineHub;
  readonly #agreed: Agreed;
  readonly #contexts: readonly SelectedContext[];
  readonly #clock: Clock;
  readonly #disconnectTimeoutMs: number;
  readonly #onClosed: (errno: number) => void;
  /** Received and not answered. */
  readonly #open = new OpenRequests();
  /** What BLOCK_STATUS asked, until it is answered. */
  readonly #asked = new Map<RequestId, StatusRequest>();
  readonly #checksums: boolean;
  #conn: ConnId = 0;
  #state: State = 'serving';
  /** Answer to requests that come while draining. */
  #refuse = NBD_ESHUTDOWN;
  #deadline: Timer | undefined;
  /** The engine was told to end it at once. */
  #cut = false;
  #repliesWatched = 0;
  /** Of the BLOCK_STATUS that is being judged: the contexts that it names. */
  #filter: readonly number[] | undefined;
  #requests = 0;
  /** The device was not told yet that the connection is in use: one that never is takes nobody's place. */
  #mayBeServed = false;

  constructor(o: TransmissionOptions) {
    this.#hub = o.hub;
    this.device = o.device;
    const { structuredReplies, extendedHeaders, readOnly, contexts } = o;
    this.#agreed = { structuredReplies, extendedHeaders, readOnly, blockStatus: contexts.length > 0 };
    this.#contexts = contexts;
    this.#checksums = o.device.info().checksums === true;
    this.#clock = o.clock;
    this.#disconnectTimeoutMs = o.disconnectTimeoutMs;
    this.#onClosed = o.onClosed;
  }

  /** Once, with what `Engine.adopt` gave. */
  attach(conn: ConnId): void {
    this.#conn = conn;
    this.#hub.own(conn, this);
    this.#mayBeServed = this.device.opened !== undefined && !this.#agreed.readOnly && !this.#agreed.extendedHeaders;
  }

  get requestsInFlight(): number {
    return this.#open.size + (this.device.isBusy?.(this.#conn) === true ? 1 : 0);
  }

  /** See `Engine.awaited`. */
  awaited(): number | undefined {
    return this.#hub.engine.awaited(this.#conn);
  }

  get requestsTotal(): number {
    return this.#requests + (this.device.servedOn?.(this.#conn) ?? 0);
  }

  /** Answers new requests with `errno`, lets those in flight complete, then closes; cut off after `timeoutMs`. */
  drain(errno: number, timeoutMs: number): void {
    if (!this.#beginDraining(errno, timeoutMs)) return;
    this.#closeWhenDrained();
  }

  /** As `drain`, but answers those in flight with `errno` too, at once; what the device says of them later is dropped. */
  abandon(errno: number, timeoutMs: number): void {
    if (!this.#beginDraining(errno, timeoutMs)) return;
    for (const req of this.#open.all()) this.error(req, errno);
    this.#closeWhenDrained();
  }

  /** A later call overrides an earlier one's errno and deadline; false when the connection has ended already. */
  #beginDraining(errno: number, timeoutMs: number): boolean {
    if (this.#state === 'gone') return false;
    this.#deadline?.cancel();
    this.#deadline = this.#clock.after(timeoutMs, () => {
      this.#end(Errno.ETIMEDOUT);
    });
    if (this.#state === 'ended') return false;
    this.#state = 'draining';
    this.#refuse = errno;
    return true;
  }

  /** Ends the connection now. */
  close(errno: number): void {
    if (errno !== 0) this.#deadline?.cancel();
    this.#end(errno);
  }

  /** What the engine has of an end in order is cut off at the deadline, too. */
  #end(errno: number): void {
    if (this.#state === 'gone' || this.#cut || (this.#state === 'ended' && errno === 0)) return;
    this.#state = 'ended';
    this.#cut = errno !== 0;
    this.#hub.engine.close(this.#conn, errno);
  }

  // ---------------------------------------------------------------------------------------------------- requests

  onRequest(req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): void {
    if (this.#state === 'ended' || this.#state === 'gone') {
      this.#drop(h);
      return;
    }
    if (cmd === NBD_CMD_DISC) {
      this.#drop(h);
      this.#hub.engine.stopReceiving(this.#conn);
      this.drain(NBD_ESHUTDOWN, this.#disconnectTimeoutMs);
      return;
    }
    this.#requests += 1;
    this.#open.add(req);
    if (cmd === CMD_DAMAGED && this.#checksums) {
      this.#drop(h);
      this.device.damaged?.(false);
      if (this.#take(req)) this.#hub.engine.reply(this.#watch(), req, CHECKSUM_EBADMSG, 0, 0, 0);
      return;
    }
    if (cmd === NBD_CMD_BLOCK_STATUS && (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0) this.#filtered(req, flags, offset, h);
    else this.#judged(req, cmd, flags, offset, length, h);
  }

  /** BLOCK_STATUS whose payload says how long its range is, and of which contexts it asks. */
  #filtered(req: RequestId, flags: number, offset: number, h: Handle): void {
    const ids = this.#contexts.map((c) => c.id);
    const asked = h === 0 ? undefined : statusFilter(this.#hub.engine.view(h), ids);
    this.#drop(h);
    this.#filter = asked?.contextIds;
    // Of nothing: EINVAL.
    this.#judged(req, NBD_CMD_BLOCK_STATUS, flags, offset, asked?.length ?? 0, 0);
    this.#filter = undefined;
  }

  #judged(req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): void {
    const errno = this.#state === 'draining' ? this.#refuse : this.#judge(cmd, flags, offset, length, h);
    if (errno !== 0) {
      this.#drop(h);
      this.error(req, errno);
    } else if (length === 0 && cmd !== NBD_CMD_FLUSH) {
      // Allowed and pointless: there is nothing to do, and devices are spared the case.
      this.#drop(h);
      this.ok(req);
    } else if (length > PIECE_MAX_BYTES && (cmd === NBD_CMD_TRIM || cmd === NBD_CMD_WRITE_ZEROES)) {
      new LongChange(this, cmd, flags, offset, length).begin(req);
    } else {
      this.#dispatch(this, req, cmd, flags, offset, length, h);
    }
  }

  isOpen(req: RequestId): boolean {
    return (this.#state === 'serving' || this.#state === 'draining') && this.#open.has(req);
  }

  judgePiece(cmd: number, flags: number, offset: number, length: number): number {
    return this.#judge(cmd, flags, offset, length, 0);
  }

  beginPiece(r: Replier, req: RequestId, cmd: number, flags: number, offset: number, length: number): void {
    this.#dispatch(r, req, cmd, flags, offset, length, 0);
  }

  #judge(cmd: number, flags: number, offset: number, length: number, h: Handle): number {
    const errno = validateRequest(this.device.info(), this.#agreed, cmd, flags, offset, length);
    // The engine throws away a payload that is over a limit of the connection.
    return errno === 0 && cmd === NBD_CMD_WRITE && length > 0 && h === 0 ? NBD_EINVAL : errno;
  }

  #dispatch(r: Replier, req: RequestId, cmd: number, flags: number, offset: number, length: number, h: Handle): void {
    const fua = (flags & NBD_CMD_FLAG_FUA) !== 0;
    const { device } = this;
    if (this.#mayBeServed && (cmd === NBD_CMD_WRITE || cmd === NBD_CMD_READ)) {
      this.#mayBeServed = false;
      device.opened?.(this.#conn);
    }
    switch (cmd) {
      case NBD_CMD_READ:
        device.read(r, req, offset, length);
        return;
      case NBD_CMD_WRITE:
        device.write(r, req, offset, length, h, fua);
        return;
      case NBD_CMD_FLUSH:
        device.flush(r, req);
        return;
      case NBD_CMD_TRIM:
        device.trim(r, req, offset, length, fua);
        return;
      case NBD_CMD_CACHE:
        device.cache(r, req, offset, length);
        return;
      case NBD_CMD_WRITE_ZEROES: {
        const fastOnly = (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0;
        device.writeZeroes(r, req, offset, length, fua, (flags & NBD_CMD_FLAG_NO_HOLE) === 0, fastOnly);
        return;
      }
      case NBD_CMD_BLOCK_STATUS: {
        const oneExtent = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0;
        const extended = this.#agreed.extendedHeaders;
        const contexts = this.#filter;
        this.#asked.set(req, { offset, length, oneExtent, extended, ...(contexts === undefined ? {} : { contexts }) });
        device.blockStatus(r, req, offset, length, oneExtent);
        return;
      }
      default:
        throw new Error(`command ${String(cmd)} was validated and has no case`);
    }
  }

  // ----------------------------------------------------------------------------------------------------- replies

  ok(req: RequestId): void {
    if (this.#take(req)) this.#hub.engine.reply(this.#watch(), req, 0, 0, 0, 0);
  }

  error(req: RequestId, errno: number): void {
    if (this.#take(req)) this.#hub.engine.reply(this.#watch(), req, wireError(errno === 0 ? NBD_EIO : errno), 0, 0, 0);
  }

  data(req: RequestId, h: Handle, hOffset: number, length: number): void {
    if (this.#take(req)) this.#hub.engine.reply(this.#watch(), req, 0, h, hOffset, length);
    // The reply holds a reference of its own.
    this.#hub.engine.release(h);
  }

  extents(req: RequestId, extents: readonly Extent[]): void {
    const asked = this.#asked.get(req);
    if (!this.#take(req)) return;
    if (asked === undefined) throw new Error('extents answer a request that was not BLOCK_STATUS');
    const chunks = statusChunks(asked, this.#contexts, extents);
    if (chunks === undefined) this.#hub.engine.reply(this.#watch(), req, NBD_EIO, 0, 0, 0);
    else this.#hub.engine.replyBlockStatus(this.#watch(), req, chunks);
  }

  /** False: already answered by `abandon`, or the connection has gone; there is nobody to answer. */
  #take(req: RequestId): boolean {
    if (!this.#open.delete(req)) return false;
    if (this.#asked.size > 0) this.#asked.delete(req);
    return this.#state === 'serving' || this.#state === 'draining';
  }

  /** The operation id of a reply: only the one that leaves nothing open behind it need say when it was sent. */
  #watch(): number {
    if (this.#open.size > 0) return 0;
    this.#repliesWatched += 1;
    return this.#hub.start(this, 0);
  }

  onDone(): void {
    this.#repliesWatched -= 1;
    if (this.#state === 'draining') this.#closeWhenDrained();
  }

  #closeWhenDrained(): void {
    if (this.#state === 'draining' && this.#open.size === 0 && this.#repliesWatched === 0) this.close(0);
  }

  onClosed(errno: number): void {
    this.#state = 'gone';
    if (errno === Errno.EPROTO && this.#checksums) this.device.damaged?.(true);
    this.#deadline?.cancel();
    this.#open.clear();
    this.#asked.clear();
    this.#onClosed(errno);
    this.device.closed?.(this.#conn);
  }

  #drop(h: Handle): void {
    if (h !== 0) this.#hub.engine.release(h);
  }
}
