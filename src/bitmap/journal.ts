/**
 * The end of a bitmap file: where flushes are appended, each durable before the next is begun.
 *
 *   | header | base | flush | flush | zeroes, written and durable beforehand |
 *                                    ^ the next flush
 *
 * A file that grows costs the file system a transaction for each flush, which also waits for whatever data is on its way to the same disk;
 * writing over zeroes that have their place already costs the disk alone. So a journal in use is made longer ahead of need, with zeroes that are
 * read as what was never written. Where there is no room for them, it grows by what it has to hold.
 */
import type { IoFile } from '../io/types.ts';
import { writeAtLeast } from './file-steps.ts';
import { SECTOR_BYTES } from './sector.ts';

const FIRST_JOURNAL_FLUSH = 2;
/** A journal that has not so many sectors is hardly in use, and its file stays small. */
const AHEAD_FROM_SECTORS = 64;
const AHEAD_SECTORS = 512;

export class Journal {
  readonly file: IoFile;
  readonly #first: number;
  /** Sectors that the file has, written or zero. */
  #end: number;
  /** Where the next sector goes. */
  #next: number;
  #flush = FIRST_JOURNAL_FLUSH;
  #mayExtend = true;

  /** `sectors`: header and base; `ahead`: sectors of zeroes that are behind them durably. */
  constructor(file: IoFile, sectors: number, ahead = 0) {
    this.file = file;
    this.#first = sectors;
    this.#next = sectors;
    this.#end = sectors + ahead;
  }

  get next(): number {
    return this.#next;
  }

  /** The number of the next flush. */
  get flush(): number {
    return this.#flush;
  }

  /** Sectors of flushes. */
  get sectors(): number {
    return this.#next - this.#first;
  }

  /** Durable when it resolves. When it rejects, nothing more may be appended. */
  async append(delta: Uint8Array): Promise<void> {
    const end = this.#next + delta.length / SECTOR_BYTES;
    const extends_ = this.#mayExtend && end > this.#end && end - this.#first > AHEAD_FROM_SECTORS;
    const bytes = extends_ ? Buffer.concat([delta], delta.length + AHEAD_SECTORS * SECTOR_BYTES) : delta;
    const written = await writeAtLeast(this.file, bytes, this.#next * SECTOR_BYTES, delta.length);
    if (this.file.synced !== true) await this.file.sync();
    if (written < bytes.length) {
      // A full disk needs the room back, for the state record and for this file's own successor; and no more is tried.
      this.#mayExtend = false;
      await this.file.truncate(end * SECTOR_BYTES);
    }
    this.#end = Math.max(this.#end, written < bytes.length ? end : this.#next + written / SECTOR_BYTES);
    this.#next = end;
    this.#flush += 1;
  }
}
