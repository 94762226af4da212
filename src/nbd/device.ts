/**
 * What an export serves: the seam between the NBD server and whatever answers (a plain leg, the mirror device, a replica).
 * The server has validated every request once (range, alignment, flags, read-only); below here it is asserted.
 */
import type { ConnId, Extent, Handle, RequestId } from '../io/types.ts';

export interface DeviceInfo {
  sizeBytes: number;
  readOnly: boolean;
  /** NBD block size constraints, bytes; minimum is a power of two. */
  blockSizeMinBytes: number;
  blockSizePreferredBytes: number;
  payloadMaxBytes: number;
  canTrim: boolean;
  canWriteZeroes: boolean;
  canFastZero: boolean;
  canFua: boolean;
  /** Flush covers writes of every connection (M3). */
  multiConn: boolean;
  /** Its connections have checksums, as was agreed before there were any (src/nbd/wire/checksums.ts). */
  checksums?: boolean;
  description: string;
}

/** The way back to the connection a request came from. Exactly one call for each request. */
export interface Replier {
  ok(req: RequestId): void;
  error(req: RequestId, errno: number): void;
  /** Answers a READ; takes over the caller's reference to `h`. */
  data(req: RequestId, h: Handle, hOffset: number, length: number): void;
  /** Answers BLOCK_STATUS; extents are contiguous from the request's offset and may end before or after its end. */
  extents(req: RequestId, extents: readonly Extent[]): void;
}

/** Part of what a meta context says: so many bytes, and the context's own flags for them. */
export interface StatusExtent {
  length: number;
  flags: number;
}

/** A meta context that an export offers beside base:allocation. A request is answered by the object that its client selected, also when its name has gone to another since. */
export interface MetaContext {
  /** NAMESPACE:LEAF, as the specification has it. */
  readonly name: string;
  /**
   * Contiguous from `offset`, up to the request's end or beyond; looked at in one turn. Undefined: nothing can be said any more, and the
   * request is answered with EIO.
   */
  extents(offset: number, length: number): Iterable<StatusExtent> | undefined;
}

export interface Device {
  info(): DeviceInfo;
  /** Beside base:allocation, which every device has; at most CONTEXTS_MAX are offered. */
  metaContexts?(): readonly MetaContext[];
  read(r: Replier, req: RequestId, offset: number, length: number): void;
  /** The device owns one reference to `h`, whose first `length` bytes are the payload. */
  write(r: Replier, req: RequestId, offset: number, length: number, h: Handle, fua: boolean): void;
  flush(r: Replier, req: RequestId): void;
  trim(r: Replier, req: RequestId, offset: number, length: number, fua: boolean): void;
  writeZeroes(r: Replier, req: RequestId, offset: number, length: number, fua: boolean, mayPunch: boolean, fastOnly: boolean): void;
  blockStatus(r: Replier, req: RequestId, offset: number, length: number, oneExtent: boolean): void;
  /** A client has agreed to use it, and nothing is read of what it asks before this resolves. */
  enter?(): Promise<void>;
  /** Once for each `enter`: it has gone, or has not come. */
  leave?(): void;
  /** The first READ or WRITE has come of a connection that may write, with compact headers: the device may have the engine serve it (`Engine.serve`). */
  opened?(conn: ConnId): void;
  closed?(conn: ConnId): void;
  /** Its requests that the device was not told of. */
  servedOn?(conn: ConnId): number;
  /** One of those is being executed. */
  isBusy?(conn: ConnId): boolean;
  /** What came of a request did not match its checksum: it was not executed. `header`: nobody knows what it said, and its connection has ended. */
  damaged?(header: boolean): void;
  /** Prefetch; a device may answer at once. */
  cache(r: Replier, req: RequestId, offset: number, length: number): void;
}
