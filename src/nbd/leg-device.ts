/**
 * One leg served as it is: a plain export, and below a target's replica export.
 *
 *   request --> record (pooled) --> engine operation on the leg --> done --> reply
 *
 * Payloads pass as handles: a WRITE's handle goes to the leg, a READ's handle goes to the reply, no byte is touched here and
 * a request allocates nothing once the pool has grown to the number of requests in flight.
 *
 * Invariants:
 * - each request is answered exactly once; the handle of a WRITE is released exactly once
 * - after `stop` nothing new reaches the leg, and `drained` resolves when all that did has ended (M4)
 * - once a sync has failed, no FLUSH or FUA succeeds any more: what it should have made durable may be gone (M3)
 * - TRIM and WRITE_ZEROES leave bytes that read as zero, so that legs given the same requests stay equal
 *
 * Order between overlapping requests is the client's business; the mirror's range lock sees to it on the link between nodes.
 */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import type { Touched } from '../io/touched.ts';
import type { ServeRules } from '../io/serve.ts';
import type { ConnId, EngineValue, Handle, LegId, LegInfo, RequestId } from '../io/types.ts';
import type { Device, DeviceInfo, Replier } from './device.ts';
import { ServedConns } from './served-conns.ts';
import { NBD_DEFAULT_PAYLOAD_MAX_BYTES, NBD_EIO, NBD_ENOTSUP, NBD_ESHUTDOWN, NBD_SUCCESS } from './wire/constants.ts';

export interface LegDeviceOptions {
  description?: string;
  readOnly?: boolean;
  /** Power of two up to 65536; 1 lets clients use any offset. */
  blockSizeMinBytes?: number;
  blockSizePreferredBytes?: number;
  payloadMaxBytes?: number;
  /** See DeviceInfo. */
  checksums?: boolean;
  watch?: LegWatch;
  /** Plain writes may pass without being told to `watch`, and are marked here. */
  touched?: Touched;
}

/** Told of what passes, for whoever must know what a failed sync may have lost. */
export interface LegWatch {
  /** A change begins, or has ended and a sync began meanwhile. */
  changed(offset: number, length: number): void;
  syncBegins(): void;
  syncEnds(well: boolean): void;
  /** Once, before the answer: nothing on the leg is called durable any more. */
  syncFailed(): void;
  /** A request came damaged, and was not executed. `header`: nobody knows what it said, and its connection has ended. */
  damaged(header: boolean): void;
}

type Kind = 'read' | 'change' | 'durable-change' | 'flush' | 'block-status';

interface Record {
  replier: Replier | undefined;
  req: RequestId;
  kind: Kind;
  offset: number;
  length: number;
  /** How many syncs had begun when it began. */
  syncs: number;
}

export class LegDevice implements Device, OpOwner {
  readonly #hub: EngineHub;
  readonly #leg: LegId;
  readonly #records: Record[] = [];
  readonly #free: number[] = [];
  #info: DeviceInfo;
  #inFlight = 0;
  #refuse = NBD_SUCCESS;
  #syncFailed = false;
  readonly #watch: LegWatch | undefined;
  #syncsBegun = 0;
  #drainWaiters: (() => void)[] = [];
  readonly #served: ServedConns | undefined;

  constructor(hub: EngineHub, leg: LegInfo, o: LegDeviceOptions = {}) {
    this.#hub = hub;
    this.#leg = leg.leg;
    this.#watch = o.watch;
    const min = o.blockSizeMinBytes ?? 1;
    this.#info = {
      sizeBytes: leg.sizeBytes,
      readOnly: o.readOnly ?? false,
      blockSizeMinBytes: min,
      blockSizePreferredBytes: o.blockSizePreferredBytes ?? Math.max(4096, leg.blockSizeBytes, min),
      payloadMaxBytes: o.payloadMaxBytes ?? NBD_DEFAULT_PAYLOAD_MAX_BYTES,
      canTrim: true,
      canWriteZeroes: true,
      canFastZero: leg.sparse,
      canFua: true,
      multiConn: true,
      checksums: o.checksums ?? false,
      description: o.description ?? '',
    };
    if (o.touched === undefined || this.#info.readOnly) return;
    const { words, regionBytes, sizeBytes } = o.touched;
    const rules: ServeRules = { leg: leg.leg, sizeBytes, blockBytes: min, touched: words, regionBytes };
    this.#served = new ServedConns({
      hub,
      rules: () => rules,
      quiet: () => {
        this.#tellDrained();
      },
    });
  }

  opened(conn: ConnId): void {
    this.#served?.opened(conn);
  }

  closed(conn: ConnId): void {
    this.#served?.closed(conn);
  }

  servedOn(conn: ConnId): number {
    return this.#served?.answeredOn(conn) ?? 0;
  }

  info(): DeviceInfo {
    return this.#info;
  }

  damaged(header: boolean): void {
    this.#watch?.damaged(header);
  }

  /** After the leg was resized; clients learn of it when they connect again. */
  setSizeBytes(sizeBytes: number): void {
    this.#info = { ...this.#info, sizeBytes };
  }

  get syncFailed(): boolean {
    return this.#syncFailed;
  }

  /** Requests that have reached the leg and are not answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Nothing but `errno` is answered from now on; what is in flight still completes. */
  stop(errno: number = NBD_ESHUTDOWN): void {
    this.#refuse = errno;
    this.#served?.stop();
  }

  /** Resolves when nothing is in flight; means most after `stop`. */
  drained(): Promise<void> {
    this.#served?.pause();
    if (this.#isDrained()) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drainWaiters.push(resolve);
    });
  }

  // ---------------------------------------------------------------------------------------------------- requests

  read(r: Replier, req: RequestId, offset: number, length: number): void {
    if (this.#refused(r, req)) return;
    this.#hub.engine.read(this.#start(r, req, 'read', offset, length), this.#leg, offset, length);
  }

  write(r: Replier, req: RequestId, offset: number, length: number, h: Handle, fua: boolean): void {
    const { engine } = this.#hub;
    if (this.#served?.paused === true && this.#drainWaiters.length === 0) this.#served.resume();
    if (!this.#refused(r, req)) {
      engine.write(this.#start(r, req, fua ? 'durable-change' : 'change', offset, length), this.#leg, offset, h, 0, length, fua);
    }
    // The operation holds a reference of its own.
    engine.release(h);
  }

  flush(r: Replier, req: RequestId): void {
    if (this.#refused(r, req)) return;
    this.#hub.engine.sync(this.#start(r, req, 'flush', 0, 0), this.#leg);
  }

  trim(r: Replier, req: RequestId, offset: number, length: number, fua: boolean): void {
    this.writeZeroes(r, req, offset, length, fua, true, false);
  }

  writeZeroes(r: Replier, req: RequestId, offset: number, length: number, fua: boolean, mayPunch: boolean, fastOnly: boolean): void {
    if (this.#refused(r, req)) return;
    // Only making a hole is known to be faster than writing the zeroes out.
    if (fastOnly && !(mayPunch && this.#info.canFastZero)) {
      r.error(req, NBD_ENOTSUP);
      return;
    }
    const op = this.#start(r, req, fua ? 'durable-change' : 'change', offset, length);
    this.#hub.engine.zero(op, this.#leg, offset, length, mayPunch, fua);
  }

  blockStatus(r: Replier, req: RequestId, offset: number, length: number): void {
    if (this.#refused(r, req)) return;
    this.#hub.engine.extents(this.#start(r, req, 'block-status', offset, length), this.#leg, offset, length);
  }

  cache(r: Replier, req: RequestId): void {
    if (this.#refused(r, req)) return;
    r.ok(req);
  }

  // ------------------------------------------------------------------------------------------------- completions

  onDone(tag: number, errno: number, length: number, h: Handle, value: EngineValue | undefined): void {
    const rec = this.#records[tag];
    const r = rec?.replier;
    if (rec === undefined || r === undefined) throw new Error(`leg operation ended for record ${String(tag)}, which is free`);
    rec.replier = undefined;
    this.#free.push(tag);
    this.#inFlight -= 1;
    this.#answer(r, rec, errno, length, h, value);
    this.#tellDrained();
  }

  #isDrained(): boolean {
    return this.#inFlight === 0 && this.#served?.underWay !== true;
  }

  #tellDrained(): void {
    if (this.#drainWaiters.length === 0 || !this.#isDrained()) return;
    const waiters = this.#drainWaiters;
    this.#drainWaiters = [];
    for (const w of waiters) w();
  }

  #answer(r: Replier, rec: Readonly<Record>, errno: number, length: number, h: Handle, value: EngineValue | undefined): void {
    switch (rec.kind) {
      case 'read':
        if (errno === 0) r.data(rec.req, h, 0, length);
        else {
          if (h !== 0) this.#hub.engine.release(h);
          r.error(rec.req, errno);
        }
        return;
      case 'block-status':
        if (value?.kind === 'extents') r.extents(rec.req, value.extents);
        else if (errno === NBD_ENOTSUP) r.extents(rec.req, [{ offset: rec.offset, length: rec.length, hole: false, zero: false }]);
        else r.error(rec.req, errno === 0 ? NBD_EIO : errno);
        return;
      case 'flush':
        this.#watch?.syncEnds(errno === 0);
        this.#durable(r, rec.req, errno);
        return;
      case 'durable-change':
        this.#changed(rec);
        this.#durable(r, rec.req, errno);
        return;
      case 'change':
        this.#changed(rec);
        this.#okOrError(r, rec.req, errno);
        return;
    }
  }

  /** A sync that succeeds after one that failed says nothing of what the failed one was to make durable (M3). */
  #durable(r: Replier, req: RequestId, errno: number): void {
    if (errno !== 0 && !this.#syncFailed) {
      this.#syncFailed = true;
      this.#watch?.syncFailed();
    }
    this.#okOrError(r, req, errno === 0 && this.#syncFailed ? NBD_EIO : errno);
  }

  #changed(rec: Readonly<Record>): void {
    if (rec.syncs !== this.#syncsBegun) this.#watch?.changed(rec.offset, rec.length);
  }

  #okOrError(r: Replier, req: RequestId, errno: number): void {
    if (errno === 0) r.ok(req);
    else r.error(req, errno);
  }

  #refused(r: Replier, req: RequestId): boolean {
    if (this.#refuse === NBD_SUCCESS) return false;
    r.error(req, this.#refuse);
    return true;
  }

  #start(r: Replier, req: RequestId, kind: Kind, offset: number, length: number): number {
    let tag = this.#free.pop();
    if (tag === undefined) {
      tag = this.#records.length;
      this.#records.push({ replier: r, req, kind, offset, length, syncs: this.#syncsBegun });
    } else {
      const rec = this.#records[tag];
      if (rec === undefined) throw new Error('the free list names a record that is not there');
      rec.replier = r;
      rec.req = req;
      rec.kind = kind;
      rec.offset = offset;
      rec.length = length;
      rec.syncs = this.#syncsBegun;
    }
    if (kind === 'flush') {
      this.#syncsBegun += 1;
      this.#watch?.syncBegins();
    } else if (kind === 'change' || kind === 'durable-change') {
      this.#watch?.changed(offset, length);
    }
    this.#inFlight += 1;
    return this.#hub.start(this, tag);
  }
}
