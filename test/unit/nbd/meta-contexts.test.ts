import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Device, MetaContext, StatusExtent } from '../../../src/nbd/device.ts';
import { CONTEXTS_MAX, contextsAsked, contextsOf, selectedOn, statusChunks } from '../../../src/nbd/meta-contexts.ts';
import { decodeBlockStatus } from '../../../src/nbd/wire/transmission.ts';
import { deviceWith, INFO } from './plain-device.ts';

const ask = (offset: number, length: number, oneExtent = false): { offset: number; length: number; oneExtent: boolean } => ({
  offset,
  length,
  oneExtent,
});

/** Dirty where `bits` says so, a block of 512 bytes each; nothing to be said when null. */
function context(name: string, bits: boolean[] | null = [true]): MetaContext {
  return {
    name,
    extents: (offset) => bits?.slice(offset / 512).map((b): StatusExtent => ({ length: 512, flags: b ? 1 : 0 })),
  };
}

function device(...contexts: MetaContext[]): Device {
  return { ...deviceWith(INFO), metaContexts: () => contexts };
}

const names = (queries: string[], set = false): string[] => {
  const d = device(context('qemu:dirty-bitmap:a'), context('qemu:dirty-bitmap:b'), context('netraid:dirty:server2'));
  return contextsAsked(contextsOf(d), queries, set).map((c) => c.name);
};

describe('queries', () => {
  test('a list without a query names all', () => {
    expect(names([])).toEqual(['base:allocation', 'qemu:dirty-bitmap:a', 'qemu:dirty-bitmap:b', 'netraid:dirty:server2']);
  });

  test('a list by namespace, or by what a leaf begins with up to a colon, names all of it', () => {
    expect(names(['qemu:'])).toEqual(['qemu:dirty-bitmap:a', 'qemu:dirty-bitmap:b']);
    expect(names(['qemu:dirty-bitmap:'])).toEqual(['qemu:dirty-bitmap:a', 'qemu:dirty-bitmap:b']);
    expect(names(['netraid:', 'base:'])).toEqual(['base:allocation', 'netraid:dirty:server2']);
  });

  test('a part of a name, another namespace, or a name that is not there names nothing', () => {
    for (const q of ['qemu:dirty', 'qemu', '', 'x-other:', 'qemu:dirty-bitmap:c', 'qemu:allocation-depth']) expect(names([q])).toEqual([]);
  });

  test('only whole names select, several at once, each once', () => {
    expect(names(['qemu:', 'qemu:dirty-bitmap:', 'base:'], true)).toEqual([]);
    expect(names([], true)).toEqual([]);
    expect(names(['qemu:dirty-bitmap:b', 'base:allocation', 'qemu:dirty-bitmap:b'], true)).toEqual(['base:allocation', 'qemu:dirty-bitmap:b']);
  });

  test('every context has an id of its own, and no more are offered than allowed', () => {
    const many = device(...Array.from({ length: 100 }, (_, i) => context(`qemu:dirty-bitmap:${String(i)}`)));
    const offered = contextsOf(many);
    expect(offered).toHaveLength(CONTEXTS_MAX);
    expect(new Set(offered.map((c) => c.id)).size).toBe(CONTEXTS_MAX);
    expect(offered.every((c) => c.id > 0)).toBe(true);
  });
});

describe('a selection', () => {
  test('keeps its ids when other contexts come, and is of the device as it is now', () => {
    const a = context('qemu:dirty-bitmap:a');
    const selected = contextsAsked(contextsOf(device(a)), ['qemu:dirty-bitmap:a'], true);
    const anew = context('qemu:dirty-bitmap:a');
    expect(selectedOn(device(context('qemu:dirty-bitmap:0'), anew), selected)).toEqual([{ id: 2, name: anew.name, context: anew }]);
  });

  test('is void when one of its contexts is gone', () => {
    const selected = contextsAsked(contextsOf(device(context('qemu:dirty-bitmap:a'))), ['base:allocation', 'qemu:dirty-bitmap:a'], true);
    expect(selectedOn(device(), selected)).toBeUndefined();
    expect(selectedOn(device(), selected.slice(0, 1))).toHaveLength(1);
  });
});

describe('block status', () => {
  const chunks = (d: Device, request: ReturnType<typeof ask>, max?: number): ReturnType<typeof decodeBlockStatus>[] | undefined =>
    statusChunks(request, contextsOf(d), [{ offset: 0, length: 1 << 20, hole: false, zero: false }], max)?.map(decodeBlockStatus);

  test('a chunk for each context, with its id and its own flags', () => {
    expect(chunks(device(context('q:a', [false, true, true]), context('q:b', [true])), ask(0, 1536))).toEqual([
      { contextId: 1, descriptors: [{ length: 1 << 20, flags: 0 }] },
      {
        contextId: 2,
        descriptors: [
          { length: 512, flags: 0 },
          { length: 1024, flags: 1 },
        ],
      },
      { contextId: 3, descriptors: [{ length: 512, flags: 1 }] },
    ]);
  });

  test('one extent is one descriptor of each context, no longer than the request', () => {
    expect(chunks(device(context('q:a', [true, true, false])), ask(0, 512, true))).toEqual([
      { contextId: 1, descriptors: [{ length: 512, flags: 0 }] },
      { contextId: 2, descriptors: [{ length: 512, flags: 1 }] },
    ]);
  });

  test('a context that can say nothing any more, or nothing of the first byte, fails all of it', () => {
    expect(chunks(device(context('q:a'), context('q:b', null)), ask(0, 512))).toBeUndefined();
    expect(chunks(device(context('q:a', [])), ask(0, 512))).toBeUndefined();
  });

  test('the descriptors of all contexts together are bounded, and each says a true beginning', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.boolean(), { minLength: 20, maxLength: 60 }), { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 8, max: 30 }),
        (maps, max) => {
          const d = device(...maps.map((m, i) => context(`q:${String(i)}`, m)));
          const all = chunks(d, ask(0, 20 * 512), max) ?? [];
          expect(all).toHaveLength(maps.length + 1);
          expect(all.reduce((n, c) => n + (c?.descriptors.length ?? 0), 0)).toBeLessThanOrEqual(max);
          for (const [i, m] of maps.entries()) {
            const said = (all[i + 1]?.descriptors ?? []).flatMap((x) => Array<boolean>(x.length / 512).fill(x.flags === 1));
            expect(said.length).toBeGreaterThan(0);
            expect(said).toEqual(m.slice(0, said.length));
          }
        },
      ),
    );
  });
});
