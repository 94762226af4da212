/**
 * The pages of one bitmap, in the shape that sparse-bitfield asks of a pager. The pager that the library brings begins with
 * a quarter of a megabyte for each bitmap, and takes its page 32768 for page 0 until a higher one was touched; this one
 * costs nothing when empty and lets a page be dropped again.
 */
import type BitField from 'sparse-bitfield';
import { PAGE_BYTES } from './page-bits.ts';

interface Page {
  /** Bytes before it. */
  offset: number;
  buffer: Buffer;
}

export class PageTable implements NonNullable<BitField.Options['pages']> {
  readonly length = 0;
  readonly #pages = new Map<number, Page>();

  get(page: number, noAllocate?: false): Page;
  get(page: number, noAllocate: true): Page | undefined;
  get(page: number, noAllocate = false): Page | undefined {
    const known = this.#pages.get(page);
    if (known !== undefined || noAllocate) return known;
    return this.#put(page, Buffer.alloc(PAGE_BYTES));
  }

  /** Undefined drops the page: all its bits are clear. */
  set(page: number, buffer: Buffer | undefined): void {
    const known = this.#pages.get(page);
    if (buffer === undefined) this.#pages.delete(page);
    else if (known === undefined) this.#put(page, buffer);
    else known.buffer = buffer;
  }

  // The rest of a pager, of which a bitmap makes no use.

  updated(): void {
    throw new Error('changes are tracked by the bitmap, not by its pages');
  }

  lastUpdate(): null {
    return null;
  }

  toBuffer(): Buffer {
    throw new Error('a sparse bitmap is not written out whole');
  }

  #put(page: number, buffer: Buffer): Page {
    const made = { offset: page * PAGE_BYTES, buffer };
    this.#pages.set(page, made);
    return made;
  }
}
