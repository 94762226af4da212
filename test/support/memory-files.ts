/**
 * Files in memory that fail on demand: for tests of what must survive a crash.
 *
 * Every change costs units: a written byte one, every other change one. When `budget` runs out the process is dead: a write
 * leaves its prefix, and every call from then on throws ProcessDied. Then
 *   afterCrash()      the process died, the machine did not: all that was written is there
 *   afterPowerLoss(r) unsynced writes survive sector by sector, unsynced sizes and names each as `r` says
 */
import { Errno, type Files, type FileStat, IoError, type IoFile, type OpenOptions } from '../../src/io/types.ts';

const SECTOR_BYTES = 512;

export class ProcessDied extends Error {}

export type Operation = 'open' | 'read' | 'write' | 'sync' | 'truncate' | 'rename' | 'unlink' | 'syncDirectory';
/** An errno to fail with; `atMostBytes` cuts a write short instead. */
export type Fault = { errno: number } | { atMostBytes: number } | undefined;

class Content {
  bytes = new Uint8Array(0);
  durable = new Uint8Array(0);
}

export class MemoryFiles implements Files {
  #names = new Map<string, Content>();
  #durableNames = new Map<string, Content>();
  budget = Infinity;
  spent = 0;
  syncs = 0;
  writes = 0;
  openFiles = 0;
  fault: (operation: Operation, path: string) => Fault = () => undefined;
  /** Told of every write before it takes effect. */
  beforeWrite: (path: string, from: Uint8Array, position: number) => void = () => undefined;
  /** Awaited by every sync before it takes effect. */
  beforeSync: () => Promise<void> = () => Promise.resolve();

  afterCrash(): MemoryFiles {
    return this.#survivor((c) => c.bytes, this.#names);
  }

  /** `keep()` decides for each unsynced sector, size and the names. */
  afterPowerLoss(keep: () => boolean): MemoryFiles {
    const mixed = new Map<Content, Uint8Array<ArrayBuffer>>();
    const mix = (c: Content): Uint8Array<ArrayBuffer> => {
      const known = mixed.get(c);
      if (known !== undefined) return known;
      const size = keep() ? c.bytes.length : Math.min(c.durable.length, c.bytes.length);
      const out = new Uint8Array(size);
      out.set(c.durable.subarray(0, size));
      for (let at = 0; at < size; at += SECTOR_BYTES) if (keep()) out.set(c.bytes.subarray(at, Math.min(at + SECTOR_BYTES, size)), at);
      mixed.set(c, out);
      return out;
    };
    return this.#survivor(mix, keep() ? this.#names : this.#durableNames);
  }

  /** The same files, durable or not, without faults. */
  copy(): MemoryFiles {
    const copies = new Map<Content, Content>();
    const copyOf = (c: Content): Content => {
      const known = copies.get(c);
      if (known !== undefined) return known;
      const made = new Content();
      made.bytes = c.bytes;
      made.durable = c.durable;
      copies.set(c, made);
      return made;
    };
    const next = new MemoryFiles();
    for (const [name, c] of this.#names) next.#names.set(name, copyOf(c));
    for (const [name, c] of this.#durableNames) next.#durableNames.set(name, copyOf(c));
    return next;
  }

  /** The bytes as they are; tests may change them in place. */
  peek(path: string): Uint8Array<ArrayBuffer> {
    return this.#content(path).bytes;
  }

  put(path: string, bytes: Uint8Array): void {
    const c = new Content();
    c.bytes = Uint8Array.from(bytes);
    c.durable = c.bytes.slice();
    this.#names.set(path, c);
    this.#durableNames.set(path, c);
  }

  // -------------------------------------------------------------------------------------------------------- Files

  async open(path: string, o: OpenOptions): Promise<IoFile> {
    await this.#step('open', path, 0);
    let c = this.#names.get(path);
    if (c !== undefined && o.exclusive === true) throw new IoError(Errno.EEXIST, path);
    if (c === undefined) {
      if (o.create !== true) throw new IoError(Errno.ENOENT, path);
      await this.#step('open', path, 1);
      c = new Content();
      this.#names.set(path, c);
    }
    this.openFiles += 1;
    return this.#file(path, c, o.write === true);
  }

  async readFile(path: string, maxBytes: number): Promise<Uint8Array> {
    await this.#step('read', path, 0);
    const { bytes } = this.#content(path);
    if (bytes.length > maxBytes) throw new IoError(Errno.EFBIG, path);
    return bytes.slice();
  }

  list(path: string): Promise<string[]> {
    return Promise.resolve(
      [...this.#names.keys()]
        .filter((n) => n.startsWith(`${path}/`))
        .map((n) => n.slice(path.length + 1))
        .sort(),
    );
  }

  async stat(path: string): Promise<FileStat> {
    await this.#step('open', path, 0);
    return { kind: 'file', sizeBytes: this.#content(path).bytes.length };
  }

  mkdir(): Promise<void> {
    return Promise.resolve();
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', to, 1);
    const c = this.#content(from);
    this.#names.delete(from);
    this.#names.set(to, c);
  }

  async unlink(path: string): Promise<void> {
    await this.#step('unlink', path, 1);
    this.#content(path);
    this.#names.delete(path);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.#step('syncDirectory', path, 1);
    this.#durableNames = new Map(this.#names);
  }

  // -------------------------------------------------------------------------------------------------------- parts

  #file(path: string, c: Content, writable: boolean): IoFile {
    let open = true;
    // A renamed file fails under its new name.
    const name = (): string => [...this.#names].find(([, content]) => content === c)?.[0] ?? path;
    const must = (): void => {
      if (!open) throw new Error(`${path} is used after its close`);
    };
    return {
      read: async (into, position) => {
        must();
        await this.#step('read', name(), 0);
        const got = c.bytes.subarray(position, position + into.length);
        into.set(got);
        return got.length;
      },
      write: async (from, position) => {
        must();
        if (!writable) throw new IoError(Errno.EACCES, path);
        const most = await this.#step('write', name(), 0);
        this.beforeWrite(name(), from, position);
        const length = Math.min(from.length, most, this.budget - this.spent);
        const grown = new Uint8Array(Math.max(c.bytes.length, position + length));
        grown.set(c.bytes);
        grown.set(from.subarray(0, length), position);
        c.bytes = grown;
        this.spent += length;
        this.writes += 1;
        if (length < Math.min(from.length, most)) throw new ProcessDied();
        return length;
      },
      sync: async () => {
        must();
        await this.beforeSync();
        await this.#step('sync', name(), 1);
        c.durable = c.bytes.slice();
        this.syncs += 1;
      },
      truncate: async (sizeBytes) => {
        must();
        await this.#step('truncate', name(), 1);
        const cut = new Uint8Array(sizeBytes);
        cut.set(c.bytes.subarray(0, sizeBytes));
        c.bytes = cut;
      },
      sizeBytes: () => {
        must();
        return Promise.resolve(c.bytes.length);
      },
      tryLock: () => Promise.resolve(true),
      close: () => {
        must();
        open = false;
        this.openFiles -= 1;
        return Promise.resolve();
      },
    };
  }

  /** The most bytes that a write may write. */
  async #step(operation: Operation, path: string, cost: number): Promise<number> {
    await Promise.resolve();
    if (this.spent >= this.budget || this.spent + cost > this.budget) {
      this.budget = this.spent;
      throw new ProcessDied();
    }
    const fault = this.fault(operation, path);
    if (fault !== undefined && 'errno' in fault) throw new IoError(fault.errno, `${operation} ${path}`);
    this.spent += cost;
    return fault?.atMostBytes ?? Infinity;
  }

  #content(path: string): Content {
    const c = this.#names.get(path);
    if (c === undefined) throw new IoError(Errno.ENOENT, path);
    return c;
  }

  #survivor(bytesOf: (c: Content) => Uint8Array, names: Map<string, Content>): MemoryFiles {
    const next = new MemoryFiles();
    for (const [name, c] of names) next.put(name, bytesOf(c));
    return next;
  }
}
