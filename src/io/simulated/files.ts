/** The control plane's files on a simulated disk: `Files` and `IoFile`. */
import { Errno, type Files, type FileStat, type IoFile, IoError, type OpenOptions } from '../types.ts';
import { checkFault, type DiskContext, OpenFile, submit, submitPromise } from './open-file.ts';

export class SimFiles implements Files {
  readonly #context: DiskContext;

  constructor(context: DiskContext) {
    this.#context = context;
  }

  open(path: string, o: OpenOptions): Promise<IoFile> {
    return this.#call(path, 'disk.open', () => {
      const { disk, faults } = this.#context;
      const create = o.create === true;
      if (create) checkFault(this.#context, path, 'write');
      const node = disk.open(path, { create, exclusive: o.exclusive === true, mayAllocate: !faults.isFull(path) });
      return new SimFile(this.#context, new OpenFile(this.#context, path, node, o.write === true));
    });
  }

  readFile(path: string, maxBytes: number): Promise<Uint8Array> {
    return this.#call(path, 'disk.readFile', () => {
      checkFault(this.#context, path, 'read');
      const { content } = this.#context.disk.file(path);
      if (content.sizeBytes > maxBytes) throw new IoError(Errno.EFBIG, `${path} is longer than ${String(maxBytes)} bytes`);
      const bytes = new Uint8Array(content.sizeBytes);
      content.read(bytes, 0);
      return bytes;
    });
  }

  list(path: string): Promise<string[]> {
    return this.#call(path, 'disk.list', () => this.#context.disk.list(path));
  }

  stat(path: string): Promise<FileStat> {
    return this.#call(path, 'disk.stat', () => this.#context.disk.stat(path));
  }

  mkdir(path: string): Promise<void> {
    return this.#call(path, 'disk.mkdir', () => {
      checkFault(this.#context, path, 'write');
      this.#context.disk.mkdir(path);
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(to, 'disk.rename', () => {
      checkFault(this.#context, to, 'write');
      this.#context.disk.rename(from, to);
    });
  }

  unlink(path: string): Promise<void> {
    return this.#call(path, 'disk.unlink', () => {
      checkFault(this.#context, path, 'write');
      this.#context.disk.unlink(path);
    });
  }

  syncDirectory(path: string): Promise<void> {
    const { disk, faults, stream } = this.#context;
    const through = disk.journalNumber;
    return submitPromise(this.#context, path, 'disk.syncFolder', stream.latency(faults.latencies.sync), () => {
      checkFault(this.#context, path, 'sync');
      disk.syncFolder(disk.folder(path), through);
    });
  }

  #call<T>(path: string, label: string, work: () => T): Promise<T> {
    const { faults, stream } = this.#context;
    return submitPromise(this.#context, path, label, stream.latency(faults.latencies.metadata), work);
  }
}

class SimFile implements IoFile {
  readonly #context: DiskContext;
  readonly #file: OpenFile;

  constructor(context: DiskContext, file: OpenFile) {
    this.#context = context;
    this.#file = file;
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.#call('disk.read', this.#file.delay('read', into.length), () => this.#file.read(into, position));
  }

  write(from: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      submit(
        this.#context,
        this.#file.path,
        'disk.write',
        this.#file.delay('write', from.length),
        () => this.#file.write(from, position),
        resolve,
        reject,
        () => {
          this.#file.writePart(from, position);
        },
      );
    });
  }

  sync(): Promise<void> {
    return this.#call('disk.sync', this.#file.delay('sync', 0), this.#file.beginSync());
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#call('disk.truncate', this.#file.delay('metadata', 0), () => {
      this.#file.truncate(sizeBytes);
    });
  }

  sizeBytes(): Promise<number> {
    return this.#call('disk.size', this.#file.delay('metadata', 0), () => this.#file.node.content.sizeBytes);
  }

  tryLock(): Promise<boolean> {
    return this.#call('disk.lock', this.#file.delay('metadata', 0), () => this.#file.tryLock());
  }

  close(): Promise<void> {
    return this.#call('disk.close', this.#file.delay('metadata', 0), () => {
      this.#file.close();
    });
  }

  #call<T>(label: string, delayMs: number, work: () => T): Promise<T> {
    return submitPromise(this.#context, this.#file.path, label, delayMs, work);
  }
}
