import BitField from 'sparse-bitfield';
import { describe, expect, it } from 'vitest';
import { PAGE_BYTES } from '../../../src/bitmap/page-bits.ts';
import { PageTable } from '../../../src/bitmap/page-table.ts';

describe('page table', () => {
  it('serves sparse-bitfield, high pages apart from low ones', () => {
    const pages = new PageTable();
    const bits = new BitField({ pageSize: PAGE_BYTES, pages });
    expect(bits.set(2 ** 30, true)).toBe(true);
    expect([bits.get(2 ** 30), bits.get(0)]).toEqual([true, false]);
    expect(pages.get(0, true)).toBeUndefined();
    expect(pages.get(32768, true)?.buffer[0]).toBe(0x80);
  });

  it('drops a page, and puts one in the place of another', () => {
    const pages = new PageTable();
    const full = Buffer.alloc(PAGE_BYTES, 0xff);
    pages.get(3);
    pages.set(3, full);
    expect(pages.get(3)).toEqual({ offset: 3 * PAGE_BYTES, buffer: full });
    pages.set(3, undefined);
    expect(pages.get(3, true)).toBeUndefined();
  });

  it('refuses what a bitmap must not ask of it', () => {
    const pages = new PageTable();
    expect(() => {
      pages.updated();
    }).toThrow('tracked');
    expect(() => {
      pages.toBuffer();
    }).toThrow('sparse');
    expect(pages.lastUpdate()).toBeNull();
  });
});
