/**
 * The one door to disk, network, clock and chance.
 *
 * Everything NetRAID does to the outside world goes through an `Io`, so that the seeded simulator runs the code that
 * ships. Two storeys:
 *
 *   control plane   Files, Net, Clock, Chance, Programs: plain asynchronous calls
 *   data plane      Engine: "descriptors, not bytes". After a handshake the engine owns a connection, parses requests,
 *                   and hands over batches of descriptors; payloads stay behind integer handles
 *
 * Invariants:
 * - an operation reports exactly one `done`; fewer bytes than asked is an errno, never a short success
 * - a handle lives until its last reference is released; an operation holds its own reference until done
 * - time is monotonic; nothing here waits without a deadline given by the caller or a close that ends it
 */

import { Errno, errnoName, IoError } from './errno.ts';
import type { ConnId, Handle, LegId, OpId, RequestId } from './ids.ts';
import type { ServeRules } from './serve.ts';

export { Errno, errnoName, IoError };
export type { ConnId, Handle, LegId, OpId, RequestId };

// ---------------------------------------------------------------------------------------------- clock and chance

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds (fractions allowed) since an arbitrary origin of this process. */
  now(): number;
  /** Milliseconds since 1970, for logs, people and the dates of certificates; no decision about a mirror may use it. */
  wallNow(): number;
  /** Calls `f` once after at least `ms`. A pending timer does not keep a process alive that has nothing else to do. */
  after(ms: number, f: () => void): Timer;
  /** Calls `f` in a later turn, after everything already queued. */
  soon(f: () => void): void;
}

export interface Chance {
  /** Uniform in [0, 2^32). */
  u32(): number;
  /** Uniform 64 bits, as 16 lower-case hex digits; never all zero. */
  hex64(): string;
  /** Uniform in [0, 1). */
  float(): number;
}

// ------------------------------------------------------------------------------------------------------- files

export interface FileStat {
  kind: 'file' | 'directory' | 'block' | 'other';
  /** Bytes; for a block device its capacity. */
  sizeBytes: number;
}

export interface OpenOptions {
  write?: boolean;
  create?: boolean;
  /** With `create`: fail with EEXIST when it exists. */
  exclusive?: boolean;
  /** With `create`: readable by its owner alone, mode 0600 from the first moment. One that exists keeps its mode. A world without owners ignores it. */
  private?: boolean;
  /** Where the system can do that at less cost than a `sync` after each write, writes are durable when they end: see `IoFile.synced`. */
  synced?: boolean;
}

export interface Files {
  open(path: string, o: OpenOptions): Promise<IoFile>;
  /** Whole content; EFBIG when longer than `maxBytes`; ENOENT when absent. */
  readFile(path: string, maxBytes: number): Promise<Uint8Array>;
  /** Names (not paths) in a folder, sorted. */
  list(path: string): Promise<string[]>;
  stat(path: string): Promise<FileStat>;
  /** With all parents; succeeds when it exists. */
  mkdir(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** fsync of a folder: makes renames, creations and removals inside it durable. */
  syncDirectory(path: string): Promise<void>;
}

export interface IoFile {
  /** Each write is durable when it resolves, with the size that it made. */
  readonly synced?: boolean;
  /** Bytes read, which may be fewer than asked; 0 at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Bytes written, which may be fewer than asked. */
  write(from: Uint8Array, position: number): Promise<number>;
  /** Makes data and size durable. After a failure the file's unsynced writes may be lost: never retried and trusted (M3). */
  sync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  sizeBytes(): Promise<number>;
  /** Takes an exclusive advisory lock that ends with the descriptor; false when another descriptor holds it. */
  tryLock(): Promise<boolean>;
  close(): Promise<void>;
}

// --------------------------------------------------------------------------------------------------------- net

export type Address = { kind: 'tcp'; host: string; port: number } | { kind: 'unix'; path: string };

export interface Listener {
  /** The address bound, with the real port where 0 was asked for. */
  readonly address: Address;
  /** Stops accepting; connections already accepted live on. */
  close(): Promise<void>;
}

/** Why a socket closed: errno 0 is an orderly end by the peer. */
export interface SocketHandler {
  /** Bytes are lent for the call; keep a copy if needed later. */
  onData(bytes: Uint8Array): void;
  /** Exactly once, last. */
  onClose(errno: number): void;
  /** The unsent bytes have fallen to zero after a `write` that returned false. */
  onDrain?(): void;
}

export interface IoSocket {
  readonly remote: string;
  /** Delivers bytes that arrived so far and from now on; a second call hands the socket to another handler. */
  start(h: SocketHandler): void;
  /** Stops delivery until `resume`; bounded buffering below lets the peer's window close. */
  pause(): void;
  resume(): void;
  /** Queues bytes, which must not change until sent; false when the caller should wait for onDrain. `sent` is called when handed to the kernel, in the order of the writes, never after a close. */
  write(bytes: Uint8Array, sent?: () => void): boolean;
  unsentBytes(): number;
  /** Sends what is queued, then closes. */
  end(): void;
  /** Closes at once; what is queued is dropped. */
  destroy(): void;
}

/** `mayEnter`: see door.ts. `connect`: ETIMEDOUT after `timeoutMs`; TCP_NODELAY is set. */
export interface Net {
  listen(at: Address, onConnection: (s: IoSocket) => void, mayEnter?: (remote: string) => boolean): Promise<Listener>;
  connect(to: Address, timeoutMs: number): Promise<IoSocket>;
}

// ---------------------------------------------------------------------------------------------------- programs

export interface ProgramLimits {
  /** From here on it is asked to end (SIGTERM), with all that it has started. */
  timeoutMs: number;
  /** After this much more it is killed (SIGKILL), and not waited for any longer. */
  graceMs: number;
  /** Output kept, its beginning; the rest is read and thrown away. */
  outputMaxBytes: number;
}

export interface ProgramEnd {
  /** Exit status; null when a signal ended it, or nothing did in time. */
  exit: number | null;
  signal: string | null;
  timedOut: boolean;
  /** What it wrote to standard output and standard error, in the order in which it came. */
  output: string;
}

/** Programs of the machine's operator. Whatever a program has left running in the background lives on after its end. */
export interface Programs {
  /** Names of the executable files in a folder, sorted. Rejects with IoError ENOENT when it is absent. */
  list(folder: string): Promise<string[]>;
  /**
   * Runs one, without a shell, in the folder `/`, with an empty standard input and in a process group of its own. Its
   * environment is `env` and a PATH. Rejects with IoError only when it could not be started.
   */
  run(path: string, args: readonly string[], env: Readonly<Record<string, string>>, limits: ProgramLimits): Promise<ProgramEnd>;
}

// ------------------------------------------------------------------------------------------------------ engine

/** What the handshake agreed on. */
export interface WireParams {
  /** Replies as structured chunks (server: READ and BLOCK_STATUS must be; client: both kinds understood). */
  structuredReplies: boolean;
  /** Headers of 32 bytes, lengths of 64 bits, a payload wherever NBD_CMD_FLAG_PAYLOAD_LEN says so. Comes with structuredReplies. */
  extendedHeaders: boolean;
  /** Largest payload of a request or reply, bytes. A longer WRITE closes the connection. */
  payloadMaxBytes: number;
  /**
   * A checksum after each header and payload, both ways (src/nbd/wire/checksums.ts); never on a plain NBD connection. A damaged header
   * ends the connection with EPROTO. A damaged payload comes as REQUEST with `cmd` CMD_DAMAGED and no handle, to be answered with
   * EBADMSG; damaged data of a READ as DONE with EBADMSG.
   */
  checksums?: boolean;
}

export interface ConnLimits {
  /** Requests received and not yet replied to (server) or sent and not yet answered (client). */
  requestsMax: number;
  /** Payload bytes held for them. */
  bytesMax: number;
  /** Server: what it may hold of what all such connections hold together; absent: it takes no part in that. */
  shared?: SharedLimits;
}

/** Many clients that ask for much and take no reply must not each fill their own limit. */
export interface SharedLimits {
  /** Payload bytes that it never waits for others with. */
  ownBytes: number;
  /** Held by all: what would make it more waits, in line. */
  allBytesMax: number;
}

export interface LegOptions {
  write: boolean;
  /** Take the exclusive lock; EBUSY when somebody has it. */
  lock: boolean;
}

export interface LegInfo {
  leg: LegId;
  sizeBytes: number;
  /** Sector size: the smallest aligned unit the leg writes without read-modify-write; 1 for files is reported as 512. */
  blockSizeBytes: number;
  /** Holes can be made and are reported. */
  sparse: boolean;
}

export interface Extent {
  offset: number;
  length: number;
  /** Not allocated. */
  hole: boolean;
  /** Reads as zeroes. */
  zero: boolean;
}

export const EventKind = { REQUEST: 1, DONE: 2, CLOSED: 3 } as const;

/** Reused arrays; entry i of each belongs to event i; valid during the call only. Batch boundaries mean nothing. */
export interface EventBatch {
  count: number;
  kind: Uint8Array;
  /** REQUEST, CLOSED: connection. */
  conn: Uint32Array;
  /** REQUEST: request id. DONE: operation id. */
  id: Float64Array;
  /** REQUEST: NBD_CMD_* and NBD_CMD_FLAG_*. */
  cmd: Uint16Array;
  flags: Uint16Array;
  /** REQUEST: offset, bytes. */
  offset: Float64Array;
  /** REQUEST: length asked; DONE: bytes. */
  length: Float64Array;
  /** REQUEST: payload of a WRITE, or with extended headers of whatever came with PAYLOAD_LEN, whose length is then the payload's (the
   *  handler owns one reference; 0 when the payload was over a limit and thrown away).
   *  DONE of read and of send(READ): the data (the handler owns one reference). */
  handle: Uint32Array;
  /** DONE: errno (0 ok). CLOSED: errno (0: orderly). */
  errno: Int32Array;
  /** DONE of extents, of send(BLOCK_STATUS), of digest and isZero: the answer. Undefined otherwise. */
  value: (EngineValue | undefined)[];
}

export type EngineValue =
  | { kind: 'extents'; extents: Extent[] }
  | { kind: 'block-status'; contexts: { id: number; extents: { length: number; flags: number }[] }[] }
  | { kind: 'digest'; hex: string }
  /** For each granule of the handle: all zero or not. */
  | { kind: 'zeroes'; zero: boolean[] };

/** crc32 notices damage; only sha256 may stand for "the same bytes". */
export type DigestKind = 'crc32' | 'sha256';

/**
 * The data plane. Calls may be made at any time; an engine may gather them and act after the current turn.
 * No call throws for an outside reason: errors arrive in the operation's `done`.
 */
export interface Engine {
  /** One handler for the engine's life; see EngineHub for routing by connection and operation. */
  onEvents(f: (e: EventBatch) => void): void;

  /** Takes the socket over after src/nbd's handshake; `early` bytes are parsed first. */
  adopt(s: IoSocket, role: 'server' | 'client', wire: WireParams, limits: ConnLimits, early: Uint8Array): ConnId;
  /**
   * Ends a connection now. With errno 0 what was given to it before (replies, DISC) still leaves, within a deadline; requests
   * not answered are forgotten. Operations on it that are cut off finish with `errno` (ESHUTDOWN for 0). CLOSED follows, last,
   * when no operation of it is left.
   */
  close(conn: ConnId, errno: number): void;
  /** Server: stop reading further requests; those received are still answered. */
  stopReceiving(conn: ConnId): void;
  /**
   * Server. Undefined when nothing is expected from its peer: all that was given to it has left, and no request has come in half. Else a
   * count of bytes that came and went, which stands still as long as the peer does. */
  awaited(conn: ConnId): number | undefined;

  /**
   * Server. From now on requests without flags that keep the rules may be executed and answered without being told; what else comes, one that
   * fails, and one that came damaged, is REQUEST as ever. False: it will not do that, and nothing changes. Ended by exactly one `unserve`, also after CLOSED.
   */
  serve(conn: ConnId, rules: ServeRules): boolean;
  /**
   * A write that begins after this call has its bit set before the call returns, or does not begin; done when none is under way, with marks
   * when also all that has come is told. DONE's length: how many were answered.
   */
  unserve(op: OpId, conn: ConnId): void;
  /**
   * One at a time (EINVAL): DONE when more was asked for in `ServeMarks.asks` than when it was done last, and not all is answered; ESHUTDOWN,
   * before `unserve` is done, when it is not served any more.
   */
  heed(op: OpId, conn: ConnId): void;
  /** What was asked for is answered, in part at least. Nothing to one that is not served any more. */
  heeded(conn: ConnId): void;
  /** How many have been answered so since `serve`. */
  served(conn: ConnId): number;

  openLeg(path: string, o: LegOptions): Promise<LegInfo>;
  /** Waits for the leg's operations to end. */
  closeLeg(leg: LegId): Promise<void>;
  /** New size after the file or device was grown or cut by `setLegSize` or from outside. */
  legSize(leg: LegId): Promise<number>;
  /** Truncates or extends a regular file (ENOTSUP for a block device). */
  setLegSize(leg: LegId, sizeBytes: number): Promise<void>;

  read(op: OpId, leg: LegId, offset: number, length: number): void;
  /** `fua`: durable before done. */
  write(op: OpId, leg: LegId, offset: number, h: Handle, hOffset: number, length: number, fua: boolean): void;
  /**
   * Everything whose `done` came before this call is durable when it is done without error. Never are two syncs of one leg under
   * way at once, those of writes with `fua` included: what is asked for meanwhile shares the next one, and what that ends with (M3).
   */
  sync(op: OpId, leg: LegId): void;
  /** Reads as zero afterwards; `mayPunch` allows a hole. */
  zero(op: OpId, leg: LegId, offset: number, length: number, mayPunch: boolean, fua: boolean): void;
  /** Contiguous from `offset`; may end before the range does (DONE's length says how far). */
  extents(op: OpId, leg: LegId, offset: number, length: number): void;

  /**
   * Client: one NBD request; done when its reply came. A WRITE takes its payload from `h`, and with extended headers so does what has
   * the flag PAYLOAD_LEN (a WRITE is given it here); a READ's done has a handle. Beyond 32 bits of length without extended headers: EINVAL.
   */
  send(op: OpId, conn: ConnId, cmd: number, flags: number, offset: number, length: number, h: Handle, hOffset: number): void;

  /** Server: the one final answer to a request. READ: `length` bytes from `h`; else h = 0. `errno` not 0: an error reply. */
  reply(op: OpId, req: RequestId, errno: number, h: Handle, hOffset: number, length: number): void;
  /** Server, BLOCK_STATUS: one chunk for each context, already encoded; with extended headers as BLOCK_STATUS_EXT. */
  replyBlockStatus(op: OpId, req: RequestId, chunks: Uint8Array[]): void;

  /** Bytes of a handle for tests, TLS and cold paths: lent until release. */
  view(h: Handle): Uint8Array;
  /** A handle holding `length` bytes that the caller fills through `view` before using it. */
  allocate(length: number): Handle;
  retain(h: Handle): void;
  release(h: Handle): void;

  digest(op: OpId, h: Handle, offset: number, length: number, kind: DigestKind): void;
  isZero(op: OpId, h: Handle, offset: number, length: number, granuleBytes: number): void;

  /** Live counts, for metrics and for leak checks in tests. */
  usage(): { handles: number; bytes: number; operations: number; connections: number };
  /** Closes every connection and leg. */
  shutdown(): Promise<void>;
}

// ---------------------------------------------------------------------------------------------------------- io

export interface Io {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly files: Files;
  readonly net: Net;
  /** Names the time since the machine started: what a page cache holds outlives a process and no boot. */
  readonly bootId: string;
  readonly programs: Programs;
  createEngine(): Engine;
}
