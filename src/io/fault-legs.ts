/**
 * Legs that fail on request, for scenarios that run the real daemon: a leg obeys the file BASENAME.fault in a folder.
 *
 *   full          writes and zeroing: ENOSPC
 *   error read    reads: EIO
 *   error write   writes and zeroing: EIO
 *   error sync    syncs: EIO
 *
 * One a line; all of them hold at once, and ENOSPC before EIO.
 *
 * The file is looked at when an operation begins and the last look is older than 50 ms; that operation, and those that come
 * meanwhile, begin after the look. Operations already under way are not held up. Any other line is no fault.
 */
import { basename, join } from 'node:path';
import type { LegDone, LegFile, LegFileInfo, LegOpener } from './leg-file.ts';
import { type Clock, Errno, type Extent, type Files, IoError } from './types.ts';

const LOOK_EVERY_MS = 50;
const FAULT_MAX_BYTES = 256;

type Fault = 'full' | 'error read' | 'error write' | 'error sync';
type Faults = ReadonlySet<string>;

const NONE: Faults = new Set();

function has(faults: Faults, fault: Fault): boolean {
  return faults.has(fault);
}

class FaultFile {
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #path: string;
  #faults = NONE;
  #lookedAt = -Infinity;
  #waiting: ((f: Faults) => void)[] | undefined;

  constructor(files: Files, clock: Clock, path: string) {
    this.#files = files;
    this.#clock = clock;
    this.#path = path;
  }

  /** Calls `f` with the faults that hold, at once or after a look. */
  ask(f: (faults: Faults) => void): void {
    if (this.#waiting !== undefined) this.#waiting.push(f);
    else if (this.#clock.now() - this.#lookedAt < LOOK_EVERY_MS) f(this.#faults);
    else {
      this.#waiting = [f];
      void this.#look();
    }
  }

  async #look(): Promise<void> {
    this.#faults = await this.#read();
    this.#lookedAt = this.#clock.now();
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const f of waiting) f(this.#faults);
  }

  async #read(): Promise<Faults> {
    try {
      const text = new TextDecoder().decode(await this.#files.readFile(this.#path, FAULT_MAX_BYTES));
      return new Set(text.split('\n').map((line) => line.trim()));
    } catch (e: unknown) {
      // Absent, most of the time.
      if (e instanceof IoError) return NONE;
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
    this.#faults.ask((faults) => {
      if (has(faults, 'error read')) done(Errno.EIO, 0);
      else this.#inner.read(into, position, done);
    });
  }

  write(from: Uint8Array, position: number, done: LegDone): void {
    this.#faults.ask((faults) => {
      const errno = writeError(faults);
      if (errno !== 0) done(errno, 0);
      else this.#inner.write(from, position, done);
    });
  }

  sync(done: (errno: number) => void): void {
    this.#faults.ask((faults) => {
      if (has(faults, 'error sync')) done(Errno.EIO);
      else this.#inner.sync(done);
    });
  }

  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void {
    this.#faults.ask((faults) => {
      const errno = writeError(faults);
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

function writeError(faults: Faults): number {
  if (has(faults, 'full')) return Errno.ENOSPC;
  return has(faults, 'error write') ? Errno.EIO : 0;
}

export function faultyLegOpener(inner: LegOpener, files: Files, clock: Clock, controlPath: string): LegOpener {
  return {
    async open(path, options) {
      const file = await inner.open(path, options);
      return new FaultyLegFile(file, new FaultFile(files, clock, join(controlPath, `${basename(path)}.fault`)));
    },
  };
}
