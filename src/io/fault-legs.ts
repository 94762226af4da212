/**
 * Legs that fail on request, for scenarios that run the real daemon: a leg obeys the file BASENAME.fault in a folder.
 *
 *   full          writes and zeroing: ENOSPC
 *   error read    reads: EIO
 *   error write   writes and zeroing: EIO
 *   error sync    syncs: EIO
 *
 * The file is looked at when an operation begins and the last look is older than 50 ms; that operation, and those that come
 * meanwhile, begin after the look. Operations already under way are not held up. Any other content is no fault.
 */
import { basename, join } from 'node:path';
import type { LegDone, LegFile, LegFileInfo, LegOpener } from './leg-file.ts';
import { type Clock, Errno, type Extent, type Files, IoError } from './types.ts';

const LOOK_EVERY_MS = 50;
const FAULT_MAX_BYTES = 256;

type Fault = 'none' | 'full' | 'error read' | 'error write' | 'error sync';
const FAULTS: readonly string[] = ['full', 'error read', 'error write', 'error sync'] satisfies Fault[];

function isFault(word: string): word is Fault {
  return FAULTS.includes(word);
}

class FaultFile {
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #path: string;
  #fault: Fault = 'none';
  #lookedAt = -Infinity;
  #waiting: ((f: Fault) => void)[] | undefined;

  constructor(files: Files, clock: Clock, path: string) {
    this.#files = files;
    this.#clock = clock;
    this.#path = path;
  }

  /** Calls `f` with the fault that holds, at once or after a look. */
  ask(f: (fault: Fault) => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(f);
    else if (this.#clock.now() - this.#lookedAt < LOOK_EVERY_MS) f(this.#fault);
    else {
      this.#waiting = [f];
      void this.#look();
    }
  }

  async #look(): Promise<void> {
    this.#fault = await this.#read();
    this.#lookedAt = this.#clock.now();
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const f of waiting) f(this.#fault);
  }

  async #read(): Promise<Fault> {
    try {
      const word = new TextDecoder().decode(await this.#files.readFile(this.#path, FAULT_MAX_BYTES)).trim();
      return isFault(word) ? word : 'none';
    } catch (e: unknown) {
      // Absent, most of the time.
      if (e instanceof IoError) return 'none';
      throw e;
    }
  }
}

class FaultyLegFile implements LegFile {
  readonly #inner: LegFile;
  readonly #faults: FaultFile;

  constructor(inner: LegFile, faults: FaultFile) {
    this.#inner = inner;
    this.#faults = faults;
  }

  info(): LegFileInfo {
    return this.#inner.info();
  }

  read(into: Uint8Array, position: number, done: LegDone): void {
    this.#faults.ask((fault) => {
      if (fault === 'error read') done(Errno.EIO, 0);
      else this.#inner.read(into, position, done);
    });
  }

  write(from: Uint8Array, position: number, done: LegDone): void {
    this.#faults.ask((fault) => {
      const errno = writeError(fault);
      if (errno !== 0) done(errno, 0);
      else this.#inner.write(from, position, done);
    });
  }

  sync(done: (errno: number) => void): void {
    this.#faults.ask((fault) => {
      if (fault === 'error sync') done(Errno.EIO);
      else this.#inner.sync(done);
    });
  }

  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void {
    this.#faults.ask((fault) => {
      const errno = writeError(fault);
      if (errno !== 0) done(errno);
      else this.#inner.zero(offset, length, mayPunch, done);
    });
  }

  extents(offset: number, length: number, done: (errno: number, extents: Extent[]) => void): void {
    this.#inner.extents(offset, length, done);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#inner.truncate(sizeBytes);
  }

  sizeBytes(): Promise<number> {
    return this.#inner.sizeBytes();
  }

  close(): Promise<void> {
    return this.#inner.close();
  }
}

function writeError(fault: Fault): number {
  if (fault === 'full') return Errno.ENOSPC;
  return fault === 'error write' ? Errno.EIO : 0;
}

export function faultyLegOpener(inner: LegOpener, files: Files, clock: Clock, controlPath: string): LegOpener {
  return {
    async open(path, options) {
      const file = await inner.open(path, options);
      return new FaultyLegFile(file, new FaultFile(files, clock, join(controlPath, `${basename(path)}.fault`)));
    },
  };
}
