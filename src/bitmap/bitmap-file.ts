/**
 * The file `bitmap_TAG`: typed maps behind one header, written by group commit.
 *
 *   map.set ... flush() --+
 *   map.set ... flush() --+--> one write of the changed windows + one fsync --> all of them resolve
 *   map.set ... flush() -------(came meanwhile)-----------------> the next one
 *
 * Invariants:
 * - when a flush resolves, every change made to any map before the call is durable (M1); at most one is running, one waiting
 * - after a flush failed, what is on disk is not known: the file is poisoned and nothing is written to it again; `rewrite`
 *   makes a new file whole (write, fsync, rename, fsync of the folder: M3, M13), and flushes can succeed again
 * - the journal is appended to only by the process that made the file's base or opened a file without a journal; any other
 *   file is made anew when it is opened, so that nothing is trusted that a dead process wrote and did not see synced
 */
import { exists } from '../io/atomic-file.ts';
import { Errno, type Files, IoError } from '../io/types.ts';
import { DirtyBitmap } from './dirty-bitmap.ts';
import { closeAfter, openExisting, ReplaceFailed, replaceFile } from './file-steps.ts';
import { Journal } from './journal.ts';
import { type Loaded, load } from './load.ts';
import { RecordWriter } from './record-writer.ts';
import { isMapName, MAPS_MAX } from './records.ts';
import { RegionMap } from './regions.ts';
import {
  type BitmapIdentity,
  type BitmapMeta,
  checkIdentity,
  DamagedBitmapError,
  encodeHeader,
  FORMAT_VERSION,
  type Header,
  headerCrc,
  isId,
  SECTOR_BYTES,
} from './sector.ts';

export { type BitmapIdentity, type BitmapMeta, type DamageReason, DamagedBitmapError } from './sector.ts';

/** A journal longer than this, and than four times the base, is folded into a new file at the next flush. */
const COMPACT_ABOVE_SECTORS = 2048;
const COMPACT_FACTOR = 4;

/** An earlier flush failed: flushes fail until `rewrite` has succeeded. `cause` is what failed. */
export class BitmapPoisonedError extends Error {
  constructor(cause: unknown) {
    super('an earlier write of the bitmap file failed; it must be rewritten whole first', { cause });
    this.name = 'BitmapPoisonedError';
  }
}

/** Told of each write of the file at the very moment its content is fixed, and how it ended. IntentLog is one. */
export interface FlushObserver {
  flushStarting(): number;
  flushDone(token: number): void;
  flushFailed(token: number): void;
}

type JobKind = 'flush' | 'rewrite' | 'close';
interface Job {
  kind: JobKind;
  promise: Promise<void>;
}

const NO_TOKENS: readonly { readonly observer: FlushObserver; readonly token: number }[] = [];

/** A whole file, ready to be written. */
interface Image {
  header: Header;
  head: Buffer;
  base: Buffer;
  /** Sectors of zeroes to make behind them, as far as there is room. */
  ahead: number;
}

export class BitmapFile {
  readonly path: string;
  readonly #files: Files;
  readonly #maps: Map<string, DirtyBitmap>;
  readonly #regionCount: number;
  #journal: Journal | undefined;
  #header: Header;
  #crc = 0;
  #generation: string;
  #generationChanged = false;
  readonly #created = new Set<string>();
  readonly #dropped = new Set<string>();
  /** What it holds is being written until the running job ends. */
  readonly #records = new RecordWriter();
  #compactAbove = COMPACT_ABOVE_SECTORS;
  #compactionError: unknown;
  #poison: { cause: unknown } | undefined;
  #observers: FlushObserver[] = [];
  #running: Job | undefined;
  #waiting: Job | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #closed = false;

  private constructor(files: Files, path: string, header: Header, generation: string, maps: Map<string, DirtyBitmap>) {
    this.#files = files;
    this.path = path;
    this.#header = header;
    this.#generation = generation;
    this.#maps = maps;
    this.#regionCount = new RegionMap(header).regionCount;
  }

  /**
   * Makes the file with the maps that `fill` gives it; durable when it resolves, and never on disk without them. EEXIST when there is one and
   * `replace` is not said: a damaged file is replaced on purpose only (M13). RegionRangeError for an impossible geometry or id.
   */
  static async create(
    files: Files,
    path: string,
    meta: BitmapIdentity & { readonly generation: string },
    o: { replace?: boolean; fill?: ((file: BitmapFile) => void) | undefined } = {},
  ): Promise<BitmapFile> {
    checkIdentity(meta);
    checkGeneration(meta.generation);
    if (o.replace !== true && (await exists(files, path))) throw new IoError(Errno.EEXIST, `${path} exists`);
    const { createId, deviceBytes, regionBytes, generation } = meta;
    const header = { version: FORMAT_VERSION, createId, deviceBytes, regionBytes, generation, rewrites: 0, baseSectors: 0, closed: false };
    const file = new BitmapFile(files, path, header, generation, new Map());
    o.fill?.(file);
    await file.#replaceNow();
    return file;
  }

  /**
   * Opens it to go on with. `torn`: sectors missing of a flush that was never acknowledged; `clean`: the last session closed
   * it and nothing was flushed since. DamagedBitmapError when it is absent, damaged, or not the one expected: full resync.
   */
  static async open(files: Files, path: string, expected: BitmapIdentity): Promise<{ file: BitmapFile; torn: number; clean: boolean }> {
    const io = await openExisting(files, path, true);
    let file: BitmapFile;
    let loaded: Loaded;
    try {
      loaded = await load(io);
      checkExpected(loaded.header, expected);
      const { header, content } = loaded;
      for (const map of content.maps.values()) map.takeChanges();
      file = new BitmapFile(files, path, header, content.generation, content.maps);
      file.#journal = new Journal(io, 1 + header.baseSectors);
      file.#crc = loaded.crc;
      if (loaded.journalSectors > 0) await file.#replaceNow();
    } catch (e: unknown) {
      await closeAfter(io, e);
      throw e;
    }
    return { file, torn: loaded.torn, clean: loaded.header.closed && loaded.journalSectors === 0 };
  }

  get meta(): BitmapMeta {
    const { version, createId, deviceBytes, regionBytes } = this.#header;
    return { version, createId, deviceBytes, regionBytes, generation: this.#generation };
  }

  /** Flushes fail until `rewrite` succeeds. */
  get poisoned(): boolean {
    return this.#poison !== undefined;
  }

  /** Why the journal could not be folded lately; flushes go on without. */
  get compactionError(): unknown {
    return this.#compactionError;
  }

  /** Names of the maps, sorted. */
  get mapNames(): string[] {
    return [...this.#maps.keys()].sort();
  }

  /** The map of that name; an empty one, which the next flush writes down, when there is none. */
  map(name: string): DirtyBitmap {
    const known = this.#maps.get(name);
    if (known !== undefined) return known;
    if (!isMapName(name)) throw new RangeError(`'${name}' can not be the name of a map`);
    if (this.#maps.size >= MAPS_MAX) throw new RangeError(`a bitmap file has at most ${String(MAPS_MAX)} maps`);
    const map = new DirtyBitmap(this.#regionCount, { trackChanges: true });
    this.#maps.set(name, map);
    this.#created.add(name);
    return map;
  }

  /** Forgets a map, with the next flush on disk too. False when there was none. The object is dead: a later `map` makes another. */
  dropMap(name: string): boolean {
    if (!this.#maps.delete(name)) return false;
    if (!this.#created.delete(name)) this.#dropped.add(name);
    return true;
  }

  /** Durable with the next flush. */
  setGeneration(generation: string): void {
    checkGeneration(generation);
    if (generation === this.#generation) return;
    this.#generation = generation;
    this.#generationChanged = true;
  }

  observe(observer: FlushObserver): void {
    this.#observers.push(observer);
  }

  /** Every change made before the call is durable when it resolves. Rejects with what failed, or BitmapPoisonedError. */
  flush(): Promise<void> {
    if (this.#closed) return this.#enqueue('flush');
    if (this.#waiting !== undefined) return this.#waiting.promise;
    // Nothing has changed since the running job took its snapshot: what it writes is what was asked for.
    if (this.#running !== undefined && !this.#hasChanges()) return this.#running.promise;
    return this.#enqueue('flush');
  }

  /** Makes the file anew, whole: cures a poisoned one. A rewrite that fails poisons it. */
  rewrite(): Promise<void> {
    return !this.#closed && this.#waiting?.kind === 'rewrite' ? this.#waiting.promise : this.#enqueue('rewrite');
  }

  /** Flushes, folds the journal so that any later damage shows, and closes. The descriptor is closed even when it rejects. */
  close(): Promise<void> {
    const job = this.#enqueue('close');
    this.#closed = true;
    return job;
  }

  // -------------------------------------------------------------------------------------------------------- jobs

  #enqueue(kind: JobKind): Promise<void> {
    if (this.#closed) return Promise.reject(new IoError(Errno.ESHUTDOWN, `${this.path} is closed`));
    const before = this.#tail;
    const run = async (): Promise<void> => {
      await before;
      if (this.#waiting === job) this.#waiting = undefined;
      this.#running = job;
      try {
        await this.#do(kind);
      } finally {
        this.#running = undefined;
      }
    };
    const job: Job = { kind, promise: Promise.resolve() };
    this.#waiting = job;
    job.promise = run();
    // Whoever asked holds the promise and hears of its failure; the tail only keeps the order.
    this.#tail = job.promise.then(nothing, nothing);
    return job.promise;
  }

  async #do(kind: JobKind): Promise<void> {
    if (kind === 'close') {
      await this.#doClose();
      return;
    }
    if (kind === 'rewrite') {
      await this.#observed(() => this.#prepareReplace(false));
      return;
    }
    if (this.#poison !== undefined) throw new BitmapPoisonedError(this.#poison.cause);
    if (this.#hasChanges()) await this.#observed(() => this.#prepareFlush());
  }

  async #doClose(): Promise<void> {
    try {
      const folded = this.#header.closed && this.#journal?.sectors === 0;
      if (!folded || this.#hasChanges() || this.#poison !== undefined) await this.#observed(() => this.#prepareReplace(true));
    } catch (e: unknown) {
      if (this.#journal !== undefined) await closeAfter(this.#journal.file, e);
      throw e;
    }
    await this.#journal?.file.close();
  }

  /** `prepare` fixes the content and answers how to write it; nothing may come between it and flushStarting. */
  async #observed(prepare: () => () => Promise<void>): Promise<void> {
    const tokens = this.#observers.length === 0 ? NO_TOKENS : this.#observers.map((o) => ({ observer: o, token: o.flushStarting() }));
    try {
      await prepare()();
    } catch (e: unknown) {
      const cause = e instanceof ReplaceFailed ? e.cause : e;
      this.#poison = { cause };
      for (const { observer, token } of tokens) observer.flushFailed(token);
      throw cause;
    }
    for (const { observer, token } of tokens) observer.flushDone(token);
  }

  // -------------------------------------------------------------------------------------------------------- flush

  #hasChanges(): boolean {
    if (this.#generationChanged || this.#created.size > 0 || this.#dropped.size > 0) return true;
    for (const map of this.#maps.values()) if (map.hasChanges) return true;
    return false;
  }

  #prepareFlush(): () => Promise<void> {
    const records = this.#records;
    records.reset();
    if (this.#generationChanged) records.generation(this.#generation);
    for (const name of this.#dropped) {
      records.select(name);
      records.drop();
    }
    for (const [name, map] of this.#maps) {
      const windows = map.takeChanges();
      if (windows === undefined && !this.#created.has(name)) continue;
      records.select(name);
      if (windows !== undefined) records.windows(map, windows);
    }
    this.#forgetChanges();
    const journal = this.#journal;
    if (journal === undefined) throw new Error('the bitmap file was never made');
    const delta = records.finish({ header: this.#crc, first: journal.next, flush: journal.flush });
    const sectors = journal.sectors + delta.length / SECTOR_BYTES;
    if (sectors <= Math.max(this.#compactAbove, COMPACT_FACTOR * this.#header.baseSectors)) return () => journal.append(delta);
    // It will be as long again soon.
    const image = this.#image(false, COMPACT_ABOVE_SECTORS);
    return async () => {
      try {
        await this.#replace(image);
        this.#compactionError = undefined;
      } catch (e: unknown) {
        if (!(e instanceof ReplaceFailed) || e.renamed) throw e;
        // The old file is as it was: go on with it, and try again when it has grown as much once more.
        this.#compactionError = e.cause;
        this.#compactAbove = sectors + COMPACT_ABOVE_SECTORS;
        await journal.append(delta);
      }
    };
  }

  #forgetChanges(): void {
    this.#generationChanged = false;
    this.#created.clear();
    this.#dropped.clear();
  }

  // ------------------------------------------------------------------------------------------------------ replace

  #prepareReplace(closed: boolean): () => Promise<void> {
    const image = this.#image(closed);
    return () => this.#replace(image);
  }

  async #replaceNow(): Promise<void> {
    try {
      await this.#prepareReplace(false)();
    } catch (e: unknown) {
      throw e instanceof ReplaceFailed ? e.cause : e;
    }
  }

  /** The whole file as it is in memory now; changes so far are in it. */
  #image(closed: boolean, ahead = 0): Image {
    const records = new RecordWriter();
    for (const [name, map] of this.#maps) {
      map.takeChanges();
      records.select(name);
      records.whole(map);
    }
    this.#forgetChanges();
    const { createId, deviceBytes, regionBytes, rewrites } = this.#header;
    const header = {
      version: FORMAT_VERSION,
      createId,
      deviceBytes,
      regionBytes,
      generation: this.#generation,
      rewrites: rewrites + 1,
      baseSectors: records.sectors,
      closed,
    };
    const head = encodeHeader(header);
    return { header, head, base: records.finish({ header: headerCrc(head), first: 1, flush: 1 }), ahead };
  }

  async #replace(image: Image): Promise<void> {
    const next = await replaceFile(this.#files, this.path, Buffer.concat([image.head, image.base]), image.ahead * SECTOR_BYTES);
    const old = this.#journal;
    this.#journal = new Journal(next.file, 1 + image.header.baseSectors, Math.floor(next.zeroBytes / SECTOR_BYTES));
    this.#header = image.header;
    this.#crc = headerCrc(image.head);
    this.#compactAbove = COMPACT_ABOVE_SECTORS;
    this.#poison = undefined;
    if (old !== undefined) await closeAfter(old.file, undefined);
  }
}

function nothing(): void {
  // See #enqueue.
}

function checkGeneration(generation: string): void {
  if (!isId(generation)) throw new RangeError(`generation '${generation}' is not 16 hex digits`);
}

function checkExpected(header: Header, expected: BitmapIdentity): void {
  for (const key of ['createId', 'deviceBytes', 'regionBytes'] as const) {
    if (header[key] !== expected[key]) {
      throw new DamagedBitmapError('mismatch', `the file is of another mirror: ${key} is ${String(header[key])}, not ${String(expected[key])}`);
    }
  }
}
