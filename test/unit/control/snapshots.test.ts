import { expect, it, vi } from 'vitest';
import { SNAPSHOTS_MAX } from '../../../src/failover/limits.ts';
import type { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { Errno } from '../../../src/io/types.ts';
import { MIB, REGION, Sim } from './sim.ts';

const FOLDER = '/var/snapshots';

async function content(sim: Sim, name: string, offset: number, length: number): Promise<Uint8Array> {
  const c = await sim.client('server1', name);
  const bytes = await c.readBytes(offset, length);
  await c.disconnect();
  return bytes;
}

const all = (bytes: Uint8Array): number[] => [...new Set(bytes)];
const create = (sim: Sim, name: string, spaceBytes: number | null = MIB) => sim.call('server1', 'snapshot-create', { tag: 't', name, spaceBytes });

it('holds what the mirror held, in service, while that goes on', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, MIB, 1);
    const s = await create(sim, 'monday', null);
    expect(s).toMatchObject({ name: 'monday', export: 't@monday', state: 'whole', why: '', sizeBytes: MIB, usedBytes: 0 });
    expect(s.spaceBytes).toBe(Math.ceil(MIB / 10));
    await sim.write('server1', 1000 * 512, 512, 2);
    expect(all(await content(sim, 't@monday', 0, MIB))).toEqual([1]);
    expect((await sim.read('server1', 1000 * 512, 512))[0]).toBe(2);
    expect((await sim.status('server1')).snapshots).toMatchObject([{ name: 'monday', usedBytes: REGION, clients: 0 }]);
    expect((await sim.status('server2')).snapshots).toEqual([]);
    expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
  });
});

it('has a file of its own below the root while it is there, and none afterwards', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    const { world } = sim;
    expect(world.node('server1').peekFolder(FOLDER)).toEqual(['t@a']);
    expect(await sim.call('server1', 'snapshot-delete', { tag: 't', name: 'a' })).toEqual({ deleted: 'a' });
    expect(world.node('server1').peekFolder(FOLDER)).toEqual([]);
    expect(await sim.call('server1', 'snapshot-list', { tag: 't' })).toEqual([]);
    await expect(sim.client('server1', 't@a')).rejects.toThrow();
    expect(sim.daemon('server1').recentEvents.map((e) => e.kind)).toEqual(expect.arrayContaining(['snapshot-created', 'snapshot-deleted']));
  });
});

it('is refused on a node out of service, twice by one name, under a name that is none, and beyond the most', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    const p = { tag: 't', name: 'a', spaceBytes: MIB };
    await sim.refuses('server2', 'snapshot-create', p, 'refused', /not in service on server2; run this on server1/);
    await sim.refuses('server2', 'snapshot-list', { tag: 't' }, 'refused', /not in service on server2/);
    await sim.refuses('server1', 'snapshot-create', p, 'refused', /^t has a snapshot a already$/);
    for (const name of ['', 'a b', '../x', 'a@b', 'x'.repeat(65)])
      await sim.refuses('server1', 'snapshot-create', { ...p, name }, 'bad-request', /is not a name: as the name of a snapshot; allowed are/);
    await sim.refuses('server1', 'snapshot-create', { ...p, name: 'b', spaceBytes: 0 }, 'bad-request', /at least 1 byte/);
    await sim.refuses('server1', 'snapshot-delete', { tag: 't', name: 'b' }, 'not-found', /^no snapshot b of t; snapshots: a$/);
    for (let i = 1; i < SNAPSHOTS_MAX; i += 1) await create(sim, `more${String(i)}`);
    await sim.refuses('server1', 'snapshot-create', { ...p, name: 'b' }, 'refused', /^t has 4 snapshots, which is the most: delete one first$/);
  });
});

it('writers are refused, and the default export stays the mirror', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    const c = await sim.client('server1', 't@a');
    await expect(c.writeBytes(0, new Uint8Array(512))).rejects.toMatchObject({ errno: Errno.EROFS });
    await c.disconnect();
    const byDefault = await sim.client('server1', '');
    await byDefault.writeBytes(0, new Uint8Array(512).fill(3));
    await byDefault.disconnect();
    expect((await sim.read('server1', 0, 512))[0]).toBe(3);
  });
});

it.each([
  ['its room', async (sim: Sim) => sim.write('server1', 0, MIB, 2), /that it may keep are used up/],
  [
    'its disk',
    async (sim: Sim) => {
      sim.world.node('server1').full(`${FOLDER}/*`);
      await sim.write('server1', 0, 512, 2);
    },
    /its file can not be written: ENOSPC/,
  ],
])('that is lost for want of %s says so, gives its room back, and leaves the application alone', async (_what, lose, why) => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, MIB, 1);
    await create(sim, 'a', REGION * 3);
    const reader = await sim.client('server1', 't@a');
    await lose(sim);
    expect((await sim.read('server1', 0, 512))[0]).toBe(2);
    await expect(reader.readBytes(MIB - 512, 512)).rejects.toMatchObject({ errno: Errno.EIO });
    const [s] = (await sim.status('server1')).snapshots;
    expect(s).toMatchObject({ state: 'lost', usedBytes: 0, clients: 1 });
    expect(s?.why).toMatch(why);
    await sim.until('its file is gone', () => sim.world.node('server1').peekFolder(FOLDER)?.length === 0);
    expect(sim.daemon('server1').recentEvents.filter((e) => e.kind === 'snapshot-lost')).toHaveLength(1);
    await sim.call('server1', 'snapshot-delete', { tag: 't', name: 'a' });
    expect((await sim.status('server1')).snapshots).toEqual([]);
  });
});

async function ended(sim: Sim, reader: NbdClient): Promise<void> {
  await expect(reader.readBytes(0, 512)).rejects.toThrow();
  await sim.until('its file is gone', () => sim.world.node('server1').peekFolder(FOLDER)?.length === 0);
}

it.each([
  ['it goes out of service', (sim: Sim) => sim.call('server1', 'out-of-service', { tag: 't' })],
  ['the source is moved', (sim: Sim) => sim.call('server1', 'switchover', { tag: 't', node: 'server2' })],
  ['the mirror is deleted', (sim: Sim) => sim.call('server1', 'delete', { tag: 't' })],
])('ends when %s', async (_what, end) => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    const reader = await sim.client('server1', 't@a');
    await end(sim);
    await ended(sim, reader);
  });
});

it('does not survive its daemon: what an earlier life has left is removed, and nothing else', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    sim.world.node('server1').createFile(`${FOLDER}/notes`, 10, 'file');
    sim.crash('server1');
    expect(sim.world.node('server1').peekFolder(FOLDER)).toEqual(['notes', 't@a']);
    await sim.start('server1');
    expect(sim.world.node('server1').peekFolder(FOLDER)).toEqual(['notes']);
  });
});

it('keeps its size when the mirror grows', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror({ sizeBytes: MIB - 512 * 3 });
    await sim.write('server1', 0, MIB - 512 * 3, 1);
    await create(sim, 'a');
    await sim.call('server1', 'resize', { tag: 't', sizeBytes: 2 * MIB, force: false });
    await sim.write('server1', MIB - REGION, REGION * 4, 2);
    const c = await sim.client('server1', 't@a');
    expect(c.info.sizeBytes).toBe(MIB - 512 * 3);
    expect(all(await c.readBytes(0, MIB - 512 * 3))).toEqual([1]);
    await c.disconnect();
    expect((await sim.status('server1')).snapshots[0]?.state).toBe('whole');
  });
});

it('a checkpoint that is made with it is of its moment', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.call('server1', 'snapshot-create', { tag: 't', name: 'full', spaceBytes: MIB, checkpoint: 'c1' });
    await sim.write('server1', REGION * 3, 512, 2);
    const { checkpoints, snapshots } = await sim.status('server1');
    expect(checkpoints).toMatchObject([{ name: 'c1', state: 'valid', dirtyRegions: 1 }]);
    expect(snapshots).toMatchObject([{ name: 'full', state: 'whole' }]);
  });
});

it('the full backup of one and what is dirty in the next, since the checkpoint of the first, make up the next', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    const added = vi.spyOn(sim.daemon('server1').env.exports, 'add');
    const writes = async (byte: number): Promise<void> => {
      for (let r = byte; r < MIB / REGION; r += 5) await sim.write('server1', r * REGION + 512 * byte, 1024, byte);
    };
    await writes(1);
    await sim.call('server1', 'snapshot-create', { tag: 't', name: 'full', spaceBytes: MIB, checkpoint: 'c1' });
    await writes(2);
    const backup = await content(sim, 't@full', 0, MIB);
    await sim.call('server1', 'snapshot-create', { tag: 't', name: 'next', spaceBytes: MIB, checkpoint: 'c2' });
    const [, device] = added.mock.calls.find(([name]) => name === 't@next') ?? [];
    const [context, ...more] = device?.metaContexts?.() ?? [];
    expect([context?.name, more.length]).toEqual(['qemu:dirty-bitmap:c1', 0]);
    // What is written, and which checkpoint is deleted, after its moment changes nothing.
    await writes(3);
    await sim.call('server1', 'checkpoint-delete', { tag: 't', name: 'c1' });
    const whole = await content(sim, 't@next', 0, MIB);
    expect(Buffer.compare(backup, whole)).not.toBe(0);
    let at = 0;
    let dirty = 0;
    for (const e of context?.extents(0, MIB) ?? []) {
      if (e.flags === 1) backup.set(whole.subarray(at, at + e.length), at);
      if (e.flags === 1) dirty += e.length;
      at += e.length;
    }
    expect([at, Buffer.compare(backup, whole)]).toEqual([MIB, 0]);
    expect(dirty).toBeLessThan(MIB);
  });
});

it('a checkpoint that can not be made gives the snapshot up', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await create(sim, 'a');
    await sim.call('server1', 'checkpoint-create', { tag: 't', name: 'c' });
    const p = { tag: 't', name: 'b', spaceBytes: MIB, checkpoint: 'c' };
    await sim.refuses('server1', 'snapshot-create', p, 'refused', /has a checkpoint c already/);
    expect((await sim.status('server1')).snapshots.map((s) => s.name)).toEqual(['a']);
    expect(sim.world.node('server1').peekFolder(FOLDER)).toEqual(['t@a']);
  });
});

it('is open to whom its mirror is, and to nobody else', async () => {
  const rules = { allow: ['10.0.0.0/8'], mirrors: { t: { allow: ['10.1.0.0/16'], readOnly: false } } };
  const { exportAccess } = await import('../../../src/control/export-access.ts');
  const access = exportAccess(rules);
  expect(['10.1.0.9:5', '10.2.0.9:5'].map((remote) => access.to('t@a', remote, null))).toEqual(['full', 'none']);
  expect(access.to('u@a', '10.2.0.9:5', null)).toBe('full');
});
