/** Legs on a simulated disk: the same files as the control plane's, in the engine's callback style. */
import type { LegDone, LegFile, LegFileInfo, LegOpener } from '../leg-file.ts';
import { Errno, type Extent, IoError, type LegOptions } from '../types.ts';
import { checkFault, type DiskContext, OpenFile, submit, submitPromise } from './open-file.ts';

/** Extents reported by one call; the engine asks again for the rest. */
const EXTENTS_MAX = 16;

export class SimLegOpener implements LegOpener {
  readonly #context: DiskContext;

  constructor(context: DiskContext) {
    this.#context = context;
  }

  open(path: string, options: LegOptions): Promise<LegFile> {
    const { disk, faults, stream } = this.#context;
    return submitPromise(this.#context, path, 'disk.open', stream.latency(faults.latencies.metadata), () => {
      const file = new OpenFile(this.#context, path, disk.file(path), options.write);
      if (options.lock && !file.tryLock()) throw new IoError(Errno.EBUSY, `${path} is in use`);
      return new SimLegFile(this.#context, file);
    });
  }
}

class SimLegFile implements LegFile {
  readonly #context: DiskContext;
  readonly #file: OpenFile;
  #sizeBytes: number;

  constructor(context: DiskContext, file: OpenFile) {
    this.#context = context;
    this.#file = file;
    this.#sizeBytes = file.node.content.sizeBytes;
  }

  info(): LegFileInfo {
    return { sizeBytes: this.#sizeBytes, blockSizeBytes: this.#file.node.sectorBytes, sparse: this.#sparse };
  }

  get #sparse(): boolean {
    return this.#file.node.kind === 'file';
  }

  read(into: Uint8Array, position: number, done: LegDone): void {
    this.#transfer(
      'leg.read',
      this.#file.delay('read', into.length),
      () => this.#file.read(into, position),
      done,
      () => undefined,
    );
  }

  write(from: Uint8Array, position: number, done: LegDone): void {
    this.#transfer(
      'leg.write',
      this.#file.delay('write', from.length),
      () => this.#file.write(from, position),
      done,
      () => {
        this.#file.writePart(from, position);
      },
    );
  }

  sync(done: (errno: number) => void): void {
    const effect = this.#file.beginSync();
    this.#submit('leg.sync', this.#file.delay('sync', 0), effect, done);
  }

  zero(offset: number, length: number, mayPunch: boolean, done: (errno: number) => void): void {
    this.#submit(
      'leg.zero',
      this.#file.delay('write', 0),
      () => {
        this.#file.zero(offset, length, mayPunch && this.#sparse);
      },
      done,
    );
  }

  extents(offset: number, length: number, done: (errno: number, extents: Extent[]) => void): void {
    const work = (): Extent[] => {
      checkFault(this.#context, this.#file.path, 'read');
      if (!this.#sparse) return [{ offset, length, hole: false, zero: false }];
      const most = this.#context.stream.between(1, EXTENTS_MAX);
      return this.#file.node.content.extents(offset, length, most);
    };
    submit(
      this.#context,
      this.#file.path,
      'leg.extents',
      this.#file.delay('metadata', 0),
      work,
      (found) => {
        if (found.length === 0) done(Errno.EINVAL, []);
        else done(0, found);
      },
      (e) => {
        done(errnoOf(e), []);
      },
    );
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call('leg.truncate', () => {
      this.#file.truncate(sizeBytes);
      this.#sizeBytes = sizeBytes;
    });
  }

  sizeBytes(): Promise<number> {
    return this.#call('leg.size', () => {
      this.#sizeBytes = this.#file.node.content.sizeBytes;
      return this.#sizeBytes;
    });
  }

  close(): Promise<void> {
    return this.#call('leg.close', () => {
      this.#file.close();
    });
  }

  #call<T>(label: string, work: () => T): Promise<T> {
    return submitPromise(this.#context, this.#file.path, label, this.#file.delay('metadata', 0), work);
  }

  #submit(label: string, delayMs: number, work: () => void, done: (errno: number) => void): void {
    this.#transfer(
      label,
      delayMs,
      () => {
        work();
        return 0;
      },
      done,
      undefined,
    );
  }

  #transfer(label: string, delayMs: number, work: () => number, done: LegDone, cutShort: (() => void) | undefined): void {
    submit(
      this.#context,
      this.#file.path,
      label,
      delayMs,
      work,
      (bytes) => {
        done(0, bytes);
      },
      (e) => {
        done(errnoOf(e), 0);
      },
      cutShort,
    );
  }
}

/** An operating error's number; anything else is a broken invariant and goes up. */
function errnoOf(e: Error): number {
  if (e instanceof IoError) return e.errno;
  throw e;
}
