/**
 * One open description on a simulated disk, with its faults: the part that control-plane files and legs share.
 *
 * An operation is handed to the kernel, waits for the seed's latency, then has its effect and is reported, all in one
 * event. A write takes the caller's bytes at that moment, so a buffer that is used again too early is found out.
 */
import { Errno, errnoName, IoError } from '../types.ts';
import type { Counters } from './counters.ts';
import type { Disk, FileNode } from './disk.ts';
import type { DiskFaults, DiskOperation } from './faults.ts';
import type { Process } from './process.ts';
import { PAGE_BYTES, SECTOR_BYTES } from './sectors.ts';
import type { LatencyMs, Stream } from './seed.ts';

/** What every file operation of one process on one node needs. */
export interface DiskContext {
  process: Process;
  disk: Disk;
  faults: DiskFaults;
  stream: Stream;
  counters: Counters;
}

/** Bytes that the disk moves in a millisecond, beside the latency. */
const BYTES_PER_MS = 1_000_000;

/**
 * Hands one operation to the kernel. `cutShort` is what it may still do for a process that died meanwhile; without it,
 * all of `work`.
 */
export function submit<T>(
  context: DiskContext,
  path: string,
  label: string,
  delayMs: number,
  work: () => T,
  done: (result: T) => void,
  failed: (error: Error) => void,
  cutShort?: () => void,
): void {
  const run = (): void => {
    if (context.faults.holdBack(path, again)) return;
    let result: T;
    try {
      result = work();
    } catch (e: unknown) {
      failed(e instanceof Error ? e : new Error(String(e)));
      return;
    }
    done(result);
  };
  const orphan =
    cutShort ??
    ((): void => {
      withoutAudience(work);
    });
  const again = (): void => {
    context.process.callback(label, 0.01, run, orphan);
  };
  context.process.callback(label, delayMs, run, orphan);
}

/** An operating error of an operation whose process is dead has nobody to be told to. */
function withoutAudience(work: () => unknown): void {
  try {
    work();
  } catch (e: unknown) {
    if (!(e instanceof IoError)) throw e;
  }
}

export function submitPromise<T>(context: DiskContext, path: string, label: string, delayMs: number, work: () => T): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    submit(context, path, label, delayMs, work, resolve, reject);
  });
}

/** Throws the injected error for this operation, if there is one. */
export function checkFault(context: DiskContext, path: string, op: DiskOperation): void {
  const errno = context.faults.take(path, op);
  if (errno === 0) return;
  context.counters.add('diskErrors');
  throw new IoError(errno, `${path}: injected ${errnoName(errno)} on ${op}`);
}

export class OpenFile {
  readonly path: string;
  readonly node: FileNode;
  readonly #context: DiskContext;
  readonly #writable: boolean;
  #open = true;

  constructor(context: DiskContext, path: string, node: FileNode, writable: boolean) {
    this.#context = context;
    this.path = path;
    this.node = node;
    this.#writable = writable;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  delay(kind: 'read' | 'write' | 'sync' | 'metadata', bytes: number): number {
    const range: LatencyMs = this.#context.faults.latencies[kind];
    return this.#context.stream.latency(range) + bytes / BYTES_PER_MS;
  }

  read(into: Uint8Array, position: number): number {
    this.#check(false);
    this.#checkSectors(position, into.length);
    checkFault(this.#context, this.path, 'read');
    const n = this.#perhapsShort(into.length, 'shortReads');
    return this.node.content.read(n === into.length ? into : into.subarray(0, n), position);
  }

  write(from: Uint8Array, position: number): number {
    this.#check(true);
    this.#checkSectors(position, from.length);
    const { counters, disk, faults, stream } = this.#context;
    const errno = faults.take(this.path, 'write');
    if (errno !== 0) {
      counters.add('diskErrors');
      if (stream.coin(0.5)) this.writePart(from, position);
      throw new IoError(errno, `${this.path}: injected ${errnoName(errno)} on write`);
    }
    let n = this.#perhapsShort(from.length, 'shortWrites');
    n = Math.min(n, this.#room(position, n));
    if (n === 0 && from.length > 0) {
      counters.add('noSpace');
      throw new IoError(Errno.ENOSPC, `${this.path}: no space left`);
    }
    this.node.content.write(n === from.length ? from : from.subarray(0, n), position);
    disk.writeBack(this.node);
    return n;
  }

  /** Some leading sectors of a write that failed, or whose process was killed. */
  writePart(from: Uint8Array, position: number): void {
    const { sectorBytes } = this.node;
    const sectors = Math.ceil(from.length / sectorBytes);
    const n = Math.min(this.#context.stream.between(0, sectors) * sectorBytes, from.length);
    if (n === 0) return;
    this.#context.counters.add('operationsCutShort');
    this.node.content.write(from.subarray(0, Math.min(n, this.#room(position, n))), position);
  }

  zero(offset: number, length: number, punch: boolean): void {
    this.#check(true);
    this.#checkSectors(offset, length);
    checkFault(this.#context, this.path, 'write');
    if (!punch && this.#room(offset, length) < length) {
      this.#context.counters.add('noSpace');
      throw new IoError(Errno.ENOSPC, `${this.path}: no space left`);
    }
    this.node.content.zero(offset, length, punch);
  }

  truncate(sizeBytes: number): void {
    this.#check(true);
    checkFault(this.#context, this.path, 'write');
    if (this.node.kind === 'block') throw new IoError(Errno.ENOTSUP, `${this.path} is a block device`);
    this.node.content.truncate(sizeBytes);
  }

  /** Call when the sync is handed in; the function it returns is its effect. Writes that end in between may be covered. */
  beginSync(): () => void {
    const { content } = this.node;
    const began = content.beginSync();
    return () => {
      content.endSync(began);
      this.#check(false);
      const { counters, faults, stream } = this.#context;
      const through = stream.between(began, content.number);
      const errno = faults.take(this.path, 'sync');
      if (errno === 0) {
        content.commit(through);
        return;
      }
      counters.add('diskErrors');
      counters.add('sectorsDoomed', content.doom(through, stream));
      throw new IoError(errno, `${this.path}: injected ${errnoName(errno)} on sync`);
    };
  }

  /** The lock is of this open description and ends with it or with its process. */
  tryLock(): boolean {
    this.#check(false);
    const { lock } = this.node;
    if (lock === this.#lock) return true;
    if (lock?.held() === true) return false;
    this.node.lock = this.#lock;
    return true;
  }

  readonly #lock = { held: (): boolean => this.#open && this.#context.process.alive };

  close(): void {
    this.#open = false;
    if (this.node.lock === this.#lock) this.node.lock = undefined;
  }

  #check(forWrite: boolean): void {
    if (!this.#open) throw new IoError(Errno.EINVAL, `${this.path} is closed`);
    if (forWrite && !this.#writable) throw new IoError(Errno.EPERM, `${this.path} is open for reading only`);
  }

  #perhapsShort(length: number, counter: 'shortReads' | 'shortWrites'): number {
    const { counters, faults, stream } = this.#context;
    const { sectorBytes } = this.node;
    if (faults.shortTransfers === 0 || length < 2 || !stream.coin(faults.shortTransfers)) return length;
    if (this.#wholeSectors && length <= sectorBytes) return length;
    counters.add(counter);
    // A block device and a file opened for direct I/O come short by whole sectors, a cached file by any count.
    const bySectors = this.#wholeSectors || (length > sectorBytes && stream.coin(0.5));
    return bySectors ? stream.between(1, Math.ceil(length / sectorBytes) - 1) * sectorBytes : stream.between(1, length - 1);
  }

  get #wholeSectors(): boolean {
    return this.node.sectorBytes > SECTOR_BYTES;
  }

  #checkSectors(position: number, length: number): void {
    const { sectorBytes } = this.node;
    if (!this.#wholeSectors || (position % sectorBytes === 0 && length % sectorBytes === 0)) return;
    throw new IoError(Errno.EINVAL, `${this.path}: ${String(length)} bytes at ${String(position)} are not whole sectors of ${String(sectorBytes)}`);
  }

  /** How many of these bytes have a place on the disk, counted from the first. */
  #room(position: number, length: number): number {
    const { content, kind } = this.node;
    const limit = kind === 'block' ? Math.max(0, Math.min(length, content.sizeBytes - position)) : length;
    if (!this.#context.faults.isFull(this.path)) return limit;
    for (let page = Math.floor(position / PAGE_BYTES); page * PAGE_BYTES < position + limit; page += 1) {
      if (!content.isAllocated(page)) return Math.max(0, page * PAGE_BYTES - position);
    }
    return limit;
  }
}
