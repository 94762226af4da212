import { expect, it } from 'vitest';
import { nullLog } from '../../../src/io/log.ts';
import { Errno } from '../../../src/io/types.ts';
import { Snapshot } from '../../../src/mirror/snapshot.ts';
import { SnapshotExport } from '../../../src/mirror/snapshot-export.ts';
import { Snapshots } from '../../../src/mirror/snapshots.ts';
import { settle } from '../../support/manual-clock.ts';
import { type Answer, REGION, Rig, type RigOptions } from './rig.ts';
import { Copy, endOp } from './scripted-engine.ts';

const FILE_LEG = 7;
const COPY_MAX_MS = 1000;

/** A device with one snapshot, whose file is a leg of its own. */
class Taken {
  readonly file: Copy;
  readonly set: Snapshots;
  readonly snapshot: Snapshot;
  readonly export: SnapshotExport;
  lost = '';

  readonly rig: Rig;

  constructor(rig: Rig, spaceMaxBytes = rig.sizeBytes, leg = FILE_LEG, set?: Snapshots) {
    this.rig = rig;
    const { device, hub, engine, sizeBytes } = rig;
    this.file = new Copy('file', sizeBytes);
    engine.others.set(leg, this.file);
    this.set = set ?? new Snapshots({ device, log: nullLog, copyMaxMs: COPY_MAX_MS });
    this.snapshot = new Snapshot({
      hub,
      file: leg,
      sizeBytes,
      granuleBytes: this.set.granuleBytes,
      spaceMaxBytes,
      onLost: (why) => {
        this.lost = why;
        this.set.remove(this.snapshot);
      },
    });
    this.export = new SnapshotExport({ device, snapshots: this.set, snapshot: this.snapshot, description: 's', metaContexts: [] });
    this.set.add(this.snapshot);
  }

  read(offset: number, length: number): Answer {
    const { id, answer } = this.rig.request();
    this.export.read(this.rig, id, offset, length);
    return answer;
  }

  /** As `Rig.endAll`, the file included. */
  async endAll(): Promise<void> {
    do {
      await this.rig.endAll();
      for (const op of [...this.file.ops]) endOp(this.rig.engine, this.file, op, this.file.failing.get(op.kind) ?? 0);
      await settle();
    } while ([...this.rig.allCopies, this.file].some((c) => c.ops.length > 0));
  }
}

async function taken(o: RigOptions = {}, spaceMaxBytes?: number): Promise<Taken> {
  const rig = await Rig.inSync(o);
  rig.engine.leg.bytes.fill(1);
  for (const c of rig.copies.values()) c.bytes.fill(1);
  return new Taken(rig, spaceMaxBytes);
}

const all = (bytes: Uint8Array | undefined): number[] => [...new Set(bytes ?? [])];

it('a write after the moment keeps the whole granule first, and only then reaches a leg', async () => {
  const t = await taken({ targets: { b: 'sync' } });
  const w = t.rig.write(512, 512, 2);
  await settle();
  expect(t.rig.engine.leg.told).toEqual([`read 0+${String(REGION)}`]);
  expect(t.rig.copy('b').told).toEqual([]);
  t.rig.end('own', 'read');
  await settle();
  expect(t.file.told).toEqual([`write 0+${String(REGION)}`]);
  expect(t.rig.engine.leg.ops).toEqual([]);
  await t.endAll();
  expect(w.errno).toBe(0);
  expect(t.rig.differsFrom('b')).toBe(-1);
  const r = t.read(0, REGION * 2);
  await t.endAll();
  expect(all(r.data)).toEqual([1]);
  expect(t.snapshot.usedBytes).toBe(REGION);
  expect(t.rig.engine.handlesAlive).toBe(0);
});

it('the second write to a granule waits for nothing', async () => {
  const t = await taken();
  t.rig.write(0, 512, 2);
  await t.endAll();
  const { told } = t.rig.engine.leg;
  const before = told.length;
  t.rig.write(1024, 512, 3);
  await settle();
  expect(told.slice(before)).toEqual(['write 1024+512']);
});

it.each([
  ['zeroes', (r: Rig) => r.zero(0, REGION)],
  ['a trim', (r: Rig) => r.trim(0, REGION)],
])('%s keep what they overwrite, too', async (_what, change) => {
  const t = await taken();
  const w = change(t.rig);
  await t.endAll();
  expect(w.errno).toBe(0);
  const r = t.read(0, REGION);
  await t.endAll();
  expect(all(r.data)).toEqual([1]);
  expect(all(t.rig.engine.leg.bytes.subarray(0, REGION))).toEqual([0]);
});

it('a write that was under way at the moment belongs to it: its granule is neither copied nor read before it is done', async () => {
  const rig = await Rig.inSync();
  rig.engine.leg.bytes.fill(1);
  const early = rig.write(0, 512, 5);
  await rig.marks.durable();
  await settle();
  expect(rig.engine.leg.has('write')).toBe(true);
  const t = new Taken(rig);
  const r = t.read(0, 512);
  const late = rig.write(1024, 512, 6);
  await settle();
  expect(rig.engine.leg.ops.map((o) => o.kind)).toEqual(['write']);
  await t.endAll();
  expect([early.errno, late.errno]).toEqual([0, 0]);
  expect(all(r.data)).toEqual([5]);
  const again = t.read(0, REGION);
  await t.endAll();
  expect(all(again.data?.subarray(0, 512))).toEqual([5]);
  expect(all(again.data?.subarray(512))).toEqual([1]);
});

it('a write that waited for its mark at the moment does not belong to it', async () => {
  const rig = await Rig.inSync();
  rig.engine.leg.bytes.fill(1);
  const w = rig.write(0, 512, 5);
  const t = new Taken(rig);
  await t.endAll();
  expect(w.errno).toBe(0);
  const r = t.read(0, 512);
  await t.endAll();
  expect(all(r.data)).toEqual([1]);
});

it('no write comes between the look of a reader and its read', async () => {
  const t = await taken();
  const r = t.read(0, REGION);
  await settle();
  const w = t.rig.write(0, 512, 2);
  await settle();
  expect(t.rig.engine.leg.ops.map((o) => o.kind)).toEqual(['read']);
  await t.endAll();
  expect([all(r.data), w.errno]).toEqual([[1], 0]);
});

it('a read over kept granules and others is put together in order', async () => {
  const t = await taken();
  for (let i = 0; i < t.rig.sizeBytes / REGION; i += 1) t.rig.engine.leg.bytes.fill(10 + i, i * REGION, (i + 1) * REGION);
  for (const g of [1, 3]) t.rig.write(g * REGION, 512, 99);
  await t.endAll();
  const r = t.read(512, REGION * 4);
  await t.endAll();
  expect(r.data?.[0]).toBe(10);
  const of = (g: number): number[] => all(r.data?.subarray(g * REGION - 512, (g + 1) * REGION - 512));
  expect([1, 2, 3].map(of)).toEqual([[11], [12], [13]]);
  expect(t.rig.engine.handlesAlive).toBe(0);
});

it('zeroes take no room', async () => {
  const t = await taken();
  t.rig.engine.leg.bytes.fill(0, 0, REGION);
  t.rig.write(0, 512, 2);
  await t.endAll();
  expect([t.snapshot.usedBytes, t.file.told]).toEqual([0, []]);
  const r = t.read(0, REGION);
  await t.endAll();
  expect(all(r.data)).toEqual([0]);
});

it('when its room is used up the snapshot is lost, its readers get errors, and no write is', async () => {
  const t = await taken({}, REGION);
  const writes = [t.rig.write(0, 512, 2), t.rig.write(REGION, 512, 2)];
  await t.endAll();
  expect(writes.map((w) => w.errno)).toEqual([0, 0]);
  expect(t.lost).toBe('the 4096 bytes that it may keep are used up');
  expect(t.rig.device.keeper).toBeUndefined();
  const reads = [t.read(0, 512), t.read(REGION * 4, 512)];
  await t.endAll();
  expect(reads.map((r) => r.errno)).toEqual([Errno.EIO, Errno.EIO]);
});

it.each([
  ['write', /its file can not be written: ENOSPC/],
  ['sync', /its file can not be synced: ENOSPC/],
  ['read', /its file can not be read: ENOSPC/],
] as const)('a %s of its file that fails costs the snapshot and no write', async (op, why) => {
  const t = await taken();
  t.file.failing.set(op, Errno.ENOSPC);
  const w = t.rig.write(0, 512, 2);
  await t.endAll();
  const r = t.read(0, REGION);
  await t.endAll();
  expect([w.errno, r.errno]).toEqual([0, Errno.EIO]);
  expect(t.lost).toMatch(why);
  expect(t.rig.engine.handlesAlive).toBe(0);
});

it('what was kept is synced before it is read, once', async () => {
  const t = await taken();
  t.rig.write(0, 512, 2);
  await t.endAll();
  t.read(0, 512);
  await t.endAll();
  t.read(512, 512);
  await t.endAll();
  expect(t.file.told).toEqual([`write 0+${String(REGION)}`, 'sync', 'read 0+512', 'read 512+512']);
});

it.each(['own leg', 'file'] as const)('a copy that the %s holds up ends in time: the write goes on', async (slow) => {
  const t = await taken();
  const w = t.rig.write(0, 512, 2);
  await settle();
  if (slow === 'file') t.rig.end('own', 'read');
  await settle();
  t.rig.clock.advance(COPY_MAX_MS - 1);
  await settle();
  expect([t.lost, t.rig.engine.leg.has('write')]).toEqual(['', false]);
  t.rig.clock.advance(1);
  await settle();
  expect(t.lost).toBe('what was overwritten could not be copied within 1000 ms');
  t.rig.end('own', 'write');
  await settle();
  expect(w.errno).toBe(0);
  await t.endAll();
  expect(t.rig.engine.handlesAlive).toBe(0);
  // What the copy finds in the end, perhaps the new content, goes nowhere.
  expect(t.file.told).toEqual(slow === 'file' ? [`write 0+${String(REGION)}`] : []);
});

it('a granule that the own leg can not read comes from a target in sync; the own leg stays', async () => {
  const t = await taken({ targets: { b: 'sync' } });
  t.rig.engine.leg.failing.set('read', Errno.EIO);
  const w = t.rig.write(0, 512, 2);
  await t.endAll();
  const r = [t.read(0, REGION), t.read(REGION, 512)];
  await t.endAll();
  expect([w.errno, t.lost, t.rig.local.state]).toEqual([0, '', 'in']);
  expect(r.map((x) => all(x.data))).toEqual([[1], [1]]);
});

it('where nobody can read a granule, a write to it costs the snapshot, and a read of it nothing but an error', async () => {
  const t = await taken();
  t.rig.engine.leg.failing.set('read', Errno.EIO);
  const r = t.read(REGION, 512);
  await t.endAll();
  expect([r.errno, t.lost]).toEqual([Errno.EIO, '']);
  const w = t.rig.write(0, 512, 2);
  await t.endAll();
  expect([w.errno, t.lost]).toEqual([0, 'what was overwritten could not be read (bytes 0 to 4095): EIO']);
});

it('what a failed own leg lacks is not read from it: while that is decided readers wait, and then a target answers', async () => {
  const rig = await Rig.inSync({ targets: { b: 'sync' } });
  const early = rig.write(0, 512, 5);
  await rig.marks.durable();
  await settle();
  const t = new Taken(rig);
  const r = t.read(0, 512);
  rig.end('b', 'write');
  rig.end('own', 'write', Errno.EIO);
  await settle();
  expect(rig.engine.leg.ops).toEqual([]);
  rig.host.ownLeg[0]?.resolve(true);
  await settle();
  rig.host.easy = true;
  for (const g of rig.host.generations) g.resolve();
  await t.endAll();
  expect([early.errno, all(r.data), t.lost]).toEqual([0, [5], '']);
});

it('a failed sync of an own leg that stays costs every snapshot', async () => {
  const t = await taken();
  t.rig.local.syncFailed = true;
  const r = t.read(0, 512);
  await t.endAll();
  expect([r.errno, t.lost]).toEqual([Errno.EIO, 'a sync of the local leg has failed']);
});

it('one copy serves several snapshots, each of its own moment', async () => {
  const t = await taken();
  t.rig.write(0, 512, 2);
  await t.endAll();
  const second = new Taken(t.rig, t.rig.sizeBytes, FILE_LEG + 1, t.set);
  const both = async (): Promise<void> => {
    do {
      await t.endAll();
      await second.endAll();
    } while (t.file.ops.length + second.file.ops.length > 0);
  };
  t.rig.write(0, REGION * 2, 3);
  await both();
  const reads = [t.read(0, REGION * 2), second.read(0, REGION * 2)];
  await both();
  expect(t.rig.engine.leg.told.filter((x) => x.startsWith('read'))).toHaveLength(2);
  expect(all(reads[0]?.data)).toEqual([1]);
  expect(all(reads[1]?.data?.subarray(0, 512))).toEqual([2]);
  expect(all(reads[1]?.data?.subarray(512))).toEqual([1]);
});

it('a suspended device answers no reader, and a stopped one answers ESHUTDOWN (M9)', async () => {
  const t = await taken();
  t.rig.device.suspend('claim');
  const r = t.read(0, 512);
  await t.endAll();
  expect(r.answers).toBe(0);
  t.rig.device.unsuspend('claim');
  await t.endAll();
  expect(r.errno).toBe(0);
  const many = Array.from({ length: 2000 }, () => t.read(0, 512));
  t.rig.device.stop(Errno.ESHUTDOWN);
  await t.endAll();
  expect(new Set(many.map((x) => x.errno))).toEqual(new Set([Errno.ESHUTDOWN]));
  expect(t.rig.device.pool.busy).toBe(0);
});

it('a write that waits for its copy when the device stops is answered, and reaches no leg', async () => {
  const t = await taken();
  const w = t.rig.write(0, 512, 2);
  await settle();
  t.rig.device.stop(Errno.ESHUTDOWN);
  await t.endAll();
  expect(w.errno).toBe(Errno.ESHUTDOWN);
  expect(t.rig.engine.leg.told.filter((x) => x.startsWith('write'))).toEqual([]);
  expect(t.rig.device.pool.busy).toBe(0);
});

it('two requests of one number, of a connection that has gone and of another, are two', async () => {
  const t = await taken();
  t.rig.engine.leg.bytes.fill(9, REGION);
  const got: [string, number | undefined][] = [];
  const asker = (who: string) => ({
    ok: () => undefined,
    error: () => undefined,
    extents: () => undefined,
    data: (_id: number, h: number) => {
      got.push([who, t.rig.engine.view(h)[0]]);
      t.rig.engine.release(h);
    },
  });
  t.export.read(asker('gone'), 5, 0, 512);
  t.export.read(asker('new'), 5, REGION, 512);
  await t.endAll();
  expect(new Map(got)).toEqual(
    new Map([
      ['gone', 1],
      ['new', 9],
    ]),
  );
});

it('no more reads of a snapshot are in hand than leave room for the application', async () => {
  const t = await taken();
  const reads = Array.from({ length: 100 }, (_x, i) => t.read((i % 16) * REGION, 512));
  await settle();
  expect(t.rig.device.pool.busy).toBe(32);
  await t.endAll();
  expect(reads.every((r) => r.errno === 0 && r.answers === 1)).toBe(true);
});

it('what changes anything is refused, and FLUSH and CACHE have nothing to do', async () => {
  const t = await taken();
  const asked = (f: (id: number) => void): Answer => {
    const { id, answer } = t.rig.request();
    f(id);
    return answer;
  };
  const e = t.export;
  const h = t.rig.engine.allocate(512);
  const answers = [
    asked((id) => {
      e.write(t.rig, id, 0, 512, h);
    }),
    asked((id) => {
      e.trim(t.rig, id);
    }),
    asked((id) => {
      e.writeZeroes(t.rig, id);
    }),
    asked((id) => {
      e.flush(t.rig, id);
    }),
    asked((id) => {
      e.cache(t.rig, id);
    }),
    asked((id) => {
      e.blockStatus(t.rig, id, 0, 1024);
    }),
  ];
  expect(answers.map((a) => a.errno)).toEqual([Errno.EPERM, Errno.EPERM, Errno.EPERM, 0, 0, 0]);
  expect(t.rig.extentsAnswered).toEqual([{ offset: 0, length: 1024, hole: false, zero: false }]);
  expect(e.info()).toMatchObject({ readOnly: true, multiConn: true, sizeBytes: t.rig.sizeBytes });
  t.snapshot.lose('gone');
  const late = asked((id) => {
    e.blockStatus(t.rig, id, 0, 512);
  });
  expect(late.errno).toBe(Errno.EIO);
});
