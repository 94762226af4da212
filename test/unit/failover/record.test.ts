import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeRecord,
  encodeRecord,
  endedInDoubt,
  newRecord,
  readRecord,
  RecordStore,
  viewSchema,
  writeRecord,
} from '../../../src/failover/record.ts';
import { RECORD_MAX_BYTES } from '../../../src/failover/limits.ts';
import { boundedWhy } from '../../../src/failover/record.ts';
import type { StateRecord } from '../../../src/failover/types.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { Errno, type Files } from '../../../src/io/types.ts';
import { recordOf, viewOf } from './arbitrary.ts';
import { countingChance, definition, epoch, g, record, view } from './build.ts';

const TWO = ['server1', 'server2'];
const PATH = '/state_datarep-ext3';
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytesOf = (s: string): Uint8Array => new TextEncoder().encode(s);
const damage = (bytes: Uint8Array): string => {
  const r = decodeRecord(bytes);
  return r.kind === 'damaged' ? r.why : r.kind;
};

describe('the form of a state record', () => {
  it('is one line with version, checksum and length, then JSON that a person can read', () => {
    const encoded = text(encodeRecord(record('server1', TWO)));
    expect(encoded).toMatch(/^netraid-state 1 crc32=[0-9a-f]{8} length=[1-9][0-9]*\n\{\n {2}"definition": \{\n/);
    expect(encoded.endsWith('}\n')).toBe(true);
  });

  it('is the same for any record, and comes back as it was', () => {
    fc.assert(
      fc.property(recordOf('server1'), (r) => {
        expect(decodeRecord(encodeRecord(r))).toEqual({ kind: 'ok', record: r });
      }),
      { numRuns: 300 },
    );
  });

  it('shows damage of any byte, any cut, and anything added', () => {
    const bytes = encodeRecord(record('server1', TWO));
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const bad = bytes.slice();
        bad[at] = (bad[at] ?? 0) ^ flip;
        expect(decodeRecord(bad).kind).toBe('damaged');
      }),
      { numRuns: 3000 },
    );
    for (const length of [0, 1, 20, bytes.length - 1]) expect(decodeRecord(bytes.slice(0, length)).kind).toBe('damaged');
    expect(decodeRecord(new Uint8Array([...bytes, 0x0a])).kind).toBe('damaged');
  });

  it('of a time before there was a question says that one minute is waited, and the node then stays out', () => {
    const { definition: whole, ...rest } = record('server1', TWO, { definition: definition(TWO, { failover: 'confirm' }) });
    const { confirmTimeoutSec, confirmDefault, ...old } = whole;
    // What it was written as then: the same record, without the two fields.
    const written = { ...rest, definition: old } as StateRecord;
    expect(decodeRecord(encodeRecord(written))).toMatchObject({ kind: 'ok', record: { definition: { ...old, confirmTimeoutSec, confirmDefault } } });
  });

  it('never throws, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (noise) => {
        expect(decodeRecord(noise).kind).toBe('damaged');
      }),
    );
  });

  it('says so when a newer NetRAID wrote it', () => {
    const newer = bytesOf(text(encodeRecord(record('server1', TWO))).replace('netraid-state 1 ', 'netraid-state 2 '));
    expect(damage(newer)).toContain('version 2: a newer NetRAID wrote it');
  });

  it('belongs to one node and one mirror', () => {
    const bytes = encodeRecord(record('server1', TWO));
    expect(decodeRecord(bytes, { node: 'server1', tag: 'datarep-ext3' }).kind).toBe('ok');
    expect(decodeRecord(bytes, { node: 'server2', tag: 'datarep-ext3' })).toEqual({
      kind: 'damaged',
      why: 'it is the record of node server1, and this is server2',
    });
    expect(decodeRecord(bytes, { node: 'server1', tag: 'other' })).toEqual({
      kind: 'damaged',
      why: 'it is the record of mirror datarep-ext3, and this is other',
    });
  });

  it.each<[string, object]>([
    ['an unknown key', { surprise: 1 }],
    ['a history without end', { history: Array.from({ length: 65 }, (_, i) => g(i)) }],
    ['a generation that is none', { generation: 'xyz' }],
    ['an epoch number that is no whole number', { epochSeen: { ...epoch(1), number: 1.5 } }],
    ['a node name with a slash', { inSync: ['../x'] }],
    ['nine nodes', { absentPeers: Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`n${String(i)}`, g(1)])) }],
    ['a node named twice', { paused: ['server2', 'server2'] }],
  ])('is never written with %s', (_what, over) => {
    expect(() => encodeRecord({ ...record('server1', TWO), ...over })).toThrow();
  });
});

describe('a view from another node', () => {
  it('is taken as it was said, and what a newer node added is left out', () => {
    fc.assert(
      fc.property(viewOf('server2'), (v) => {
        expect(viewSchema.parse(JSON.parse(JSON.stringify({ ...v, added: 1, record: { ...v.record, added: 1 } })))).toEqual(v);
      }),
      { numRuns: 100 },
    );
  });

  it('is refused when it is not one', () => {
    expect(viewSchema.safeParse({ ...view('server2', TWO), node: 'a/b' }).success).toBe(false);
    expect(viewSchema.safeParse({ ...view('server2', TWO), silentForMs: { server1: -1 } }).success).toBe(false);
    expect(viewSchema.safeParse(null).success).toBe(false);
  });
});

describe('a record on disk', () => {
  it('is read back, missing, or damaged, and an error of the disk is none of these', async () => {
    const world = new SimWorld(1);
    const node = world.node('a');
    const { files } = node.boot();
    expect(await world.run(readRecord(files, PATH))).toEqual({ kind: 'missing' });
    await world.run(writeRecord(files, PATH, record('server1', TWO)));
    expect(await world.run(readRecord(files, PATH))).toEqual({ kind: 'ok', record: record('server1', TWO) });
    node.fail(PATH, { op: 'read', errno: Errno.EIO });
    await expect(world.run(readRecord(files, PATH))).rejects.toMatchObject({ errno: Errno.EIO });
  });

  it('is damaged when it is longer than any record', async () => {
    const world = new SimWorld(1);
    const { files } = world.node('a').boot();
    await world.run(put(files, new Uint8Array(RECORD_MAX_BYTES + 1)));
    expect(await world.run(readRecord(files, PATH))).toMatchObject({ kind: 'damaged' });
  });

  async function put(files: Files, bytes: Uint8Array): Promise<void> {
    const f = await files.open(PATH, { write: true, create: true });
    await f.write(bytes, 0);
    await f.close();
  }
});

describe('the store of a record', () => {
  const store = async (world: SimWorld): Promise<RecordStore> =>
    world.run(RecordStore.create(world.node('a').boot().files, PATH, record('server1', TWO)));

  it('makes one update after the other, each durable when it resolves', async () => {
    const world = new SimWorld(2);
    const s = await store(world);
    const seen: number[] = [];
    const add = (): Promise<void> =>
      s.update((r) => {
        seen.push(r.history.length);
        return { ...r, history: [g(seen.length), ...r.history] };
      });
    await world.run(Promise.all([add(), add(), add()]));
    expect(seen).toEqual([1, 2, 3]);
    world.node('a').powerFail();
    const { files } = world.node('a').boot();
    expect(await world.run(readRecord(files, PATH))).toEqual({ kind: 'ok', record: s.record });
    expect(s.record.history).toHaveLength(4);
  });

  it('is old or new after a power failure at any moment, never damaged', async () => {
    const found = new Set<string>();
    for (let seed = 0; seed < 60; seed += 1) {
      const world = new SimWorld(seed);
      const s = await store(world);
      void s
        .update((r) => ({ ...r, generation: g(7) }))
        .then(
          () => undefined,
          () => undefined,
        );
      await world.runFor(world.chance.float() * 6);
      world.node('a').powerFail();
      const read = await world.run(readRecord(world.node('a').boot().files, PATH));
      expect(read.kind).toBe('ok');
      if (read.kind === 'ok') found.add(read.record.generation);
      if (s.record.generation === g(7)) expect(read).toMatchObject({ record: { generation: g(7) } });
    }
    expect(found).toEqual(new Set([g(1), g(7)]));
  });

  it('keeps what it had when the disk is full, is marked failed, and recovers with the next write', async () => {
    const world = new SimWorld(3);
    const s = await store(world);
    const disk = world.node('a');
    disk.full(`${PATH}*`);
    await expect(world.run(s.update((r) => ({ ...r, hadData: false })))).rejects.toMatchObject({ errno: Errno.ENOSPC });
    expect(s.record.hadData).toBe(true);
    expect(s.failed).toMatchObject({ errno: Errno.ENOSPC });
    disk.repairDisk();
    await world.run(s.update((r) => r));
    expect(s.failed).toBeNull();
    await world.run(s.update((r) => ({ ...r, hadData: false })));
    expect(s.record.hadData).toBe(false);
  });

  it('does not let one failed update hold up the next', async () => {
    const world = new SimWorld(4);
    const s = await store(world);
    world.node('a').fail(`${PATH}*`, { op: 'sync', errno: Errno.EIO, times: 1 });
    const first = s.update((r) => ({ ...r, generation: g(5) }));
    const second = s.update((r) => ({ ...r, history: [g(3)] }));
    const results = await world.run(Promise.allSettled([first, second]));
    expect(results.map((r) => r.status)).toEqual(['rejected', 'fulfilled']);
    expect(s.record).toMatchObject({ generation: g(1), history: [g(3)] });
  });

  it('writes nothing that could not be read again, and nothing when nothing changes', async () => {
    const world = new SimWorld(5);
    const s = await store(world);
    await expect(world.run(s.update((r) => ({ ...r, generation: 'x' })))).rejects.toThrow();
    expect(s.record.generation).toBe(g(1));
    world.node('a').full('*');
    await world.run(s.update((r) => r));
    expect(s.failed).toBeNull();
  });
});

describe('a new record', () => {
  it('is in sync with itself only when it is alone in the definition', () => {
    const chance = countingChance();
    expect(newRecord(definition(['server1']), 'server1', chance)).toMatchObject({
      inSync: ['server1'],
      hadData: false,
      generation: '0000000000000001',
    });
    expect(newRecord(definition(TWO), 'server2', chance)).toMatchObject({ inSync: [], hadData: false, epochServed: null });
    expect(encodeRecord(newRecord(definition(TWO), 'server2', chance)).length).toBeGreaterThan(0);
  });

  it('has room for a reason, and cuts a longer one', () => {
    expect(boundedWhy('short')).toBe('short');
    expect(boundedWhy('x'.repeat(5000))).toHaveLength(4096);
  });
});

describe('what a leg may hold that no sync has kept (M3)', () => {
  const doubt = (o: Partial<StateRecord>): ReturnType<typeof endedInDoubt> => endedInDoubt(record('server1', TWO, o), 'this boot');
  const ended = (role: 'none' | 'source' | 'target', clean: boolean, sessionBoot?: string): boolean =>
    doubt({ session: { role, clean }, ...(sessionBoot === undefined ? {} : { sessionBoot }) }).doubtful;

  it('is in doubt after a life that did not end cleanly, in the same boot or in one that nobody wrote down', () => {
    expect([ended('source', false, 'this boot'), ended('target', false, 'this boot'), ended('source', false)]).toEqual([true, true, true]);
  });

  it('is what is on disk after a clean end, after the machine has started anew, and before any session', () => {
    expect([ended('source', true, 'this boot'), ended('source', false, 'another boot'), ended('none', false, 'this boot')]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('is not trusted in a node that does not say', () => {
    const { legDoubtful, ...older } = view('server2', TWO);
    expect(legDoubtful).toBe(false);
    expect(viewSchema.parse(older)).toMatchObject({ legDoubtful: true });
  });
});
