/**
 * The marks of one mirror: the intent log and, for each target, the out-of-sync map, over one bitmap file.
 *
 *   begin(regions) ---- newly marked? ----> whenDurable(waiter) ---- one write+fsync for all who wait ----> onDurable
 *
 * Invariants: a request is let through only after a flush that began after its marks were set (M1). A target that has
 * no session is marked at the same moment as the intent, so that no region is ever unaccounted for between the two.
 * Each checkpoint's map is marked in that turn, too; a write waits for no flush of it, because the intent mark of a region that was written
 * since stays until a flush that has both: what clears the one writes the other (bitmap/FORMAT.md, "Reading").
 * A failed flush is reported to everybody who waited for it; the file is then rewritten whole before it is used again.
 */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import type { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { IntentLog, type Sharer } from '../bitmap/intent-log.ts';
import { checkpointMap, checkpointsIn } from '../bitmap/map-names.ts';
import type { RegionMap } from '../bitmap/regions.ts';
import type { Log } from '../io/log.ts';
import { type IntentLimits, type IntentSettings, intentLimits } from './intent-limits.ts';
import { addWithin } from './unsynced.ts';

export interface DurableWaiter {
  onDurable(tag: number, ok: boolean): void;
}

export interface TellingSharer extends Sharer {
  take(told: (first: number, last: number) => void): void;
}

/** A power of two. */
const RECENT = 4096;
/** Taking so many marks away takes a few milliseconds. */
const COLLECTED_MOST = 4096;

export class Marks {
  readonly file: BitmapFile;
  readonly intent: IntentLog;
  regions: RegionMap;
  readonly #log: Log;
  readonly #limits: IntentLimits;
  /** What was written since each checkpoint was made, by name, and for the hot path. */
  readonly #checkpoints = new Map<string, DirtyBitmap>();
  #written: readonly DirtyBitmap[] = [];
  /** Regions that all of them have, by their lowest bits. */
  readonly #inAll = new Float64Array(RECENT).fill(-1);
  #waiters: { waiter: DurableWaiter; tag: number }[] = [];
  #flushing = false;
  /** Bits set in out-of-sync maps that no finished flush covers. */
  #unflushed = false;
  #inFlush = false;
  #closed = false;
  /** Who writes without being told, and what is made of that. */
  #sharer: TellingSharer | undefined;
  #told: (first: number, last: number) => void = () => undefined;

  /** `before`: marks of a smaller size, whose file this one has been made from. */
  constructor(o: { file: BitmapFile; regions: RegionMap; limits: IntentSettings; log: Log; before?: Marks }) {
    this.file = o.file;
    this.regions = o.regions;
    this.#log = o.log;
    this.#limits = intentLimits(o.limits, o.regions.regionBytes);
    this.intent = new IntentLog(o.file.map('intent'), { markedMax: this.#limits.markedMax });
    if (o.before !== undefined) this.#carryOver(o.before.file);
    for (const name of checkpointsIn(o.file)) this.#checkpoints.set(name, o.file.map(checkpointMap(name)));
    this.#written = [...this.#checkpoints.values()];
  }

  /** What was marked, or begun, while the file was being made: it is in this one with the next flush. No write was in hand then, so that no intent is new. */
  #carryOver(before: BitmapFile): void {
    for (const name of before.mapNames) if (name !== 'intent') addWithin(this.file.map(name), before.map(name));
    const kept = checkpointsIn(before);
    for (const name of checkpointsIn(this.file)) if (!kept.includes(name)) this.file.dropMap(checkpointMap(name));
    this.#unflushed = true;
  }

  /** The map of a checkpoint that is kept; undefined: there is none. */
  checkpoint(name: string): DirtyBitmap | undefined {
    return this.#checkpoints.get(name);
  }

  /** From this turn on all that is written is marked in its map, and what is not known to be durable everywhere counts as written since. */
  addCheckpoint(name: string): void {
    this.hear();
    const map = this.file.map(checkpointMap(name));
    map.or(this.intent.unproven());
    this.#inAll.fill(-1);
    this.#checkpoints.set(name, map);
    this.#written = [...this.#checkpoints.values()];
  }

  /** The file follows with the next flush. */
  dropCheckpoint(name: string): void {
    this.file.dropMap(checkpointMap(name));
    this.#checkpoints.delete(name);
    this.#written = [...this.#checkpoints.values()];
  }

  /** To look at, and to clear. What is marked is marked by the functions below: a write must not take it for durable already (M2, M5). */
  outOfSync(node: string): DirtyBitmap {
    return this.file.map(`oos:${node}`);
  }

  get hasCheckpoints(): boolean {
    return this.#written.length > 0;
  }

  /** Bytes that `map` stands for. */
  bytes(map: DirtyBitmap): number {
    return Math.min(map.count * this.regions.regionBytes, this.regions.deviceBytes);
  }

  /** Marks intent for regions first..last; true: wait for `whenDurable` before any leg is told to write. */
  begin(first: number, last: number): boolean {
    if (this.#written.length > 0) this.#markWritten(first, last);
    return this.intent.begin(first, last) || this.#unflushed || this.#inFlush;
  }

  /** In every checkpoint. Nothing is ever cleared there, so that a region found in all of them need not be looked for again. */
  #markWritten(first: number, last: number): void {
    if (first === last) {
      const place = first & (this.#inAll.length - 1);
      if (this.#inAll[place] === first) return;
      this.#inAll[place] = first;
    }
    for (let i = 0; i < this.#written.length; i += 1) this.#written[i]?.setRange(first, last);
  }

  /** Marks regions out of sync for a node. */
  markOutOfSync(node: string, first: number, last: number): void {
    if (this.outOfSync(node).setRange(first, last) > 0) this.#unflushed = true;
  }

  /** A target has left: all that was not proven synced stays marked for it (M5). */
  keepForAbsent(node: string): void {
    this.addOutOfSync(node, this.intent.unproven());
  }

  /** A node counts from this turn on, or is taken as identical now: what is in hand may have passed it, and end on the other legs only (M5, M6). */
  markInHand(node: string): void {
    if (this.intent.pendingRegions > 0) this.addOutOfSync(node, this.intent.pending());
  }

  /** Marks for a node what others have marked. */
  addOutOfSync(node: string, regions: DirtyBitmap): void {
    this.outOfSync(node).or(regions);
    this.#unflushed = true;
  }

  markAllOutOfSync(node: string): void {
    this.outOfSync(node).setAll();
    this.#unflushed = true;
  }

  /** Calls back after a flush that covers everything marked so far. */
  whenDurable(waiter: DurableWaiter, tag: number): void {
    this.#waiters.push({ waiter, tag });
    if (!this.#flushing) this.#flush();
  }

  /** Everything marked or cleared so far is durable when this resolves; false: it could not be written. */
  durable(): Promise<boolean> {
    return new Promise((resolve) => {
      this.whenDurable(
        {
          onDurable(_tag, ok) {
            resolve(ok);
          },
        },
        0,
      );
    });
  }

  // ------------------------------------------------------------------------- writes that are told afterwards

  /** From now on others may write regions whose marks are durable; `told` is called for what they have written before anything is said of it. */
  share(sharer: TellingSharer, told: (first: number, last: number) => void): void {
    this.#sharer = sharer;
    this.#told = told;
    this.intent.share(sharer);
  }

  /** What was written without being told is told now. */
  hear(): void {
    this.#sharer?.take(this.#told);
  }

  /** See IntentLog. */
  seal(): number {
    this.hear();
    return this.intent.seal();
  }

  get hasUnproven(): boolean {
    this.hear();
    return this.intent.hasUnproven;
  }

  /** Drops intent marks that are proven, beyond those kept for the hot set; the file follows with the next flush. How many bits that cleared. */
  collect(keep: boolean): number {
    this.hear();
    return this.intent.collect({ keepMax: keep ? this.#limits.keepMax : 0 });
  }

  /** The same while requests go on: `turn` resolves when they had theirs; false: the marks are somebody else's meanwhile. */
  collectInTurns(keep: boolean, turn: () => Promise<boolean>): Promise<number> {
    return this.#collect(keep ? this.#limits.keepMax : 0, turn);
  }

  /** Of those kept for the hot set, too, as many as there is to be room for others. */
  makeRoom(turn: () => Promise<boolean>): Promise<number> {
    return this.#collect(Math.min(this.#limits.keepMax, this.intent.keptUnderPressure), turn);
  }

  /** Some at a time: requests are not to wait for all. */
  async #collect(keepMax: number, turn: () => Promise<boolean>): Promise<number> {
    let cleared = 0;
    do {
      this.hear();
      const before = this.intent.writtenRegions;
      cleared += this.intent.collect({ keepMax, most: COLLECTED_MOST });
      if (this.#closed || before - this.intent.writtenRegions < COLLECTED_MOST) break;
    } while (await turn());
    return cleared;
  }

  close(): void {
    this.#closed = true;
  }

  #flush(): void {
    this.#flushing = true;
    const going = this.#waiters;
    this.#waiters = [];
    const token = this.intent.flushStarting();
    this.#inFlush = this.#unflushed;
    this.#unflushed = false;
    const end = (ok: boolean): void => {
      if (ok) {
        this.intent.flushDone(token);
      } else {
        this.intent.flushFailed(token);
        this.#unflushed = this.#unflushed || this.#inFlush;
      }
      this.#inFlush = false;
      this.#flushing = false;
      for (const w of going) w.waiter.onDurable(w.tag, ok);
      if (this.#waiters.length > 0 && !this.#isFlushing()) this.#flush();
    };
    this.#write().then(
      () => {
        end(true);
      },
      (e: unknown) => {
        this.#log.error('bitmap file could not be written; the writes that waited for it fail', { error: String(e) });
        end(false);
      },
    );
  }

  /** A waiter may have started the next flush from inside its call. */
  #isFlushing(): boolean {
    return this.#flushing;
  }

  async #write(): Promise<void> {
    if (this.#closed) throw new Error('the bitmap file is closed');
    if (this.file.poisoned) await this.file.rewrite();
    else await this.file.flush();
  }
}
