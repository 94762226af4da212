import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Extent } from '../../../src/io/types.ts';
import { baseAllocation, DESCRIPTORS_MAX, type StatusRequest } from '../../../src/nbd/base-allocation.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../../../src/nbd/wire/constants.ts';

const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO;
const data = (offset: number, length: number): Extent => ({ offset, length, hole: false, zero: false });
const hole = (offset: number, length: number): Extent => ({ offset, length, hole: true, zero: true });
const ask = (offset: number, length: number, oneExtent = false, extended = false): StatusRequest => ({ offset, length, oneExtent, extended });

test('neighbours of one status become one descriptor', () => {
  expect(baseAllocation(ask(0, 4000), [data(0, 1000), data(1000, 1000), hole(2000, 2000)])).toEqual([
    { length: 2000, flags: 0 },
    { length: 2000, flags: HOLE },
  ]);
});

test('an extent that began before the request is cut to its beginning', () => {
  expect(baseAllocation(ask(500, 100), [data(0, 400), hole(400, 150), data(550, 50)])).toEqual([
    { length: 50, flags: HOLE },
    { length: 50, flags: 0 },
  ]);
});

test('the last descriptor may reach beyond the request, but not when one is asked for', () => {
  const extents = [hole(0, 10_000), data(10_000, 10)];
  expect(baseAllocation(ask(0, 100), extents)).toEqual([{ length: 10_000, flags: HOLE }]);
  expect(baseAllocation(ask(0, 100, true), extents)).toEqual([{ length: 100, flags: HOLE }]);
});

test('a length of more than 32 bits is cut short without extended headers, and whole with them', () => {
  const extents = [hole(0, 2 ** 46), data(2 ** 46, 4096)];
  expect(baseAllocation(ask(0, 2 ** 47), extents)).toEqual([{ length: 2 ** 32 - 65536, flags: HOLE }]);
  expect(baseAllocation(ask(0, 2 ** 47, false, true), extents)).toEqual([
    { length: 2 ** 46, flags: HOLE },
    { length: 4096, flags: 0 },
  ]);
  expect(baseAllocation(ask(0, 2 ** 45, true, true), extents)).toEqual([{ length: 2 ** 45, flags: HOLE }]);
});

test('one extent is one descriptor, merged as far as it goes', () => {
  expect(baseAllocation(ask(0, 4000, true), [data(0, 1000), data(1000, 1000), hole(2000, 2000)])).toEqual([{ length: 2000, flags: 0 }]);
});

test('a device that knows nothing, or leaves a gap at the beginning, has allocated data', () => {
  expect(baseAllocation(ask(0, 4096), [])).toEqual([{ length: 4096, flags: 0 }]);
  expect(baseAllocation(ask(0, 4096), [hole(512, 512)])).toEqual([{ length: 4096, flags: 0 }]);
});

test('a hole of terabytes is cut to what 32 bits can say', () => {
  const [first, ...rest] = baseAllocation(ask(0, 0xffff0000), [hole(0, 2 ** 42)]);
  expect(rest).toEqual([]);
  expect(first?.length).toBe(0xffff0000);
});

test('a reply has a bounded number of descriptors', () => {
  const extents = Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? data(i * 512, 512) : hole(i * 512, 512)));
  expect(baseAllocation(ask(0, 20_000 * 512), extents).length).toBe(DESCRIPTORS_MAX);
});

test('descriptors say of every byte what the extents say, without a gap', () => {
  const runs = fc.array(fc.record({ length: fc.integer({ min: 1, max: 20 }), hole: fc.boolean(), zero: fc.boolean() }), {
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(runs, fc.nat(100), fc.integer({ min: 1, max: 100 }), fc.boolean(), fc.boolean(), (parts, offset, length, oneExtent, extended) => {
      const extents: Extent[] = [];
      let at = 0;
      for (const p of parts) {
        extents.push({ offset: at, ...p });
        at += p.length;
      }
      fc.pre(offset + length <= at);
      const out = baseAllocation(ask(offset, length, oneExtent, extended), extents);
      expect(out.length).toBeGreaterThan(0);
      let pos = offset;
      for (const d of out) {
        expect(d.length).toBeGreaterThan(0);
        for (let i = pos; i < pos + d.length; i += 1) {
          const e = extents.find((x) => i >= x.offset && i < x.offset + x.length);
          expect(d.flags).toBe((e?.hole === true ? NBD_STATE_HOLE : 0) | (e?.zero === true ? NBD_STATE_ZERO : 0));
        }
        pos += d.length;
      }
      if (oneExtent) {
        expect(out.length).toBe(1);
        expect(pos).toBeLessThanOrEqual(offset + length);
      } else {
        expect(pos).toBeGreaterThanOrEqual(offset + length);
      }
    }),
  );
});
