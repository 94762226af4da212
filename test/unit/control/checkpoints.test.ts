/** Checkpoints as an operator makes them: what they say after whatever may happen to the nodes, and when they end. */
import { describe, expect, it } from 'vitest';
import type { CheckpointStatus, ControlEvent } from '../../../src/control/types.ts';
import { statePath } from '../../../src/failover/paths.ts';
import { Errno } from '../../../src/io/types.ts';
import { MIB, REGION, Sim } from './sim.ts';

const create = (sim: Sim, name: string, node = 'server1'): Promise<CheckpointStatus> => sim.call(node, 'checkpoint-create', { tag: 't', name });

async function only(sim: Sim, node = 'server1'): Promise<CheckpointStatus | undefined> {
  return (await sim.status(node)).checkpoints[0];
}

/** Regions that the export shows as written since; undefined: it does not show the checkpoint. */
function dirty(sim: Sim, name: string, node = 'server1'): number[] | undefined {
  const source = sim.daemon(node).mirrors.get('t')?.source;
  const extents = source?.export
    .metaContexts()
    .find((c) => c.name === `qemu:dirty-bitmap:${name}`)
    ?.extents(0, source.device.sizeBytes);
  if (extents === undefined) return undefined;
  const out: number[] = [];
  let at = 0;
  for (const e of extents) {
    if (e.flags === 1) for (let r = Math.floor(at / REGION); r * REGION < at + e.length; r += 1) out.push(r);
    at += e.length;
  }
  return out;
}

async function again(sim: Sim, how: 'crash' | 'power' | 'stop', node = 'server1'): Promise<void> {
  if (how === 'stop') await sim.stop(node);
  else if (how === 'crash') sim.crash(node);
  else sim.world.node(node).powerFail();
  await sim.start(node);
  await sim.until('in service again', async () => (await sim.status(node)).inService);
}

/** What was written before has been synced, and its marks have been let go. */
async function settled(sim: Sim, node = 'server1'): Promise<void> {
  await sim.until('no intent is left', async () => (await sim.status(node)).intentBytes === 0, 120_000);
}

const QUIET = { settings: { keepIdleMs: 0, proveIdleMs: 50 } };

describe('a checkpoint', () => {
  it('says what was written since, of writes of every kind, and is gone when it is deleted', async () => {
    await Sim.run(QUIET, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await settled(sim);
      const made = await create(sim, 'monday');
      expect(made).toMatchObject({ name: 'monday', state: 'valid', void: null, dirtyRegions: 0, dirtyBytes: 0, context: 'qemu:dirty-bitmap:monday' });
      await sim.write('server1', 3 * REGION, 4096, 2);
      const c = await sim.client('server1');
      await c.disconnect();
      await settled(sim);
      expect(dirty(sim, 'monday')).toEqual([3]);
      await create(sim, 'tuesday');
      await sim.write('server1', 5 * REGION - 512, 1024, 2);
      expect([dirty(sim, 'monday'), dirty(sim, 'tuesday')]).toEqual([
        [3, 4, 5],
        [4, 5],
      ]);
      expect(await only(sim)).toMatchObject({ dirtyRegions: 3, dirtyBytes: 3 * REGION });
      expect(await sim.call('server1', 'checkpoint-delete', { tag: 't', name: 'monday' })).toEqual({ deleted: 'monday' });
      expect(dirty(sim, 'monday')).toBeUndefined();
      expect((await sim.status('server1')).checkpoints.map((x) => x.name)).toEqual(['tuesday']);
    });
  });

  it.each(['crash', 'power', 'stop'] as const)('outlives the daemon (%s), and lacks nothing of what was written before and after', async (how) => {
    await Sim.run({ nodes: ['server1'], ...QUIET }, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      await sim.write('server1', 2 * REGION, 4096, 1);
      await settled(sim);
      await sim.write('server1', 7 * REGION, 4096, 2);
      await again(sim, how);
      expect(dirty(sim, 'monday')).toEqual([2, 7]);
      await sim.write('server1', 0, 512, 3);
      await settled(sim);
      await again(sim, how);
      expect(dirty(sim, 'monday')).toEqual([0, 2, 7]);
      expect(await only(sim)).toMatchObject({ state: 'valid' });
    });
  });

  it('of a write that was answered before it was made, and that a power failure took back, says so', async () => {
    await Sim.run({ nodes: ['server1'], settings: { keepIdleMs: 0, proveIdleMs: 60_000 } }, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      await c.writeBytes(6 * REGION, new Uint8Array(4096).fill(9));
      await create(sim, 'monday');
      await again(sim, 'power');
      expect(dirty(sim, 'monday')).toContain(6);
    });
  });

  it('outlives a daemon that is back before anybody takes over, and one that was taken out of service', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      await again(sim, 'crash');
      expect(dirty(sim, 'monday')).toBeDefined();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      expect(await only(sim)).toMatchObject({ state: 'kept', context: null, dirtyRegions: null });
      await sim.call('server1', 'in-service', { tag: 't' });
      expect(await only(sim)).toMatchObject({ state: 'valid' });
    });
  });

  it('counts all that a grow adds as written, in service and out of it', async () => {
    await Sim.run(QUIET, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      await settled(sim);
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB + 2 * REGION, force: false });
      expect(dirty(sim, 'monday')).toEqual([16, 17]);
      await sim.inSync('server1', 'server2');
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB - 512, force: true });
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB + REGION, force: false });
      await sim.call('server1', 'in-service', { tag: 't' });
      expect(dirty(sim, 'monday')).toEqual([15, 16]);
    });
  });
});

describe('a checkpoint is void', () => {
  it('once another node has served: after a switchover there and back', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      const told: ControlEvent[] = [];
      await sim.control('server1').events((e) => told.push(e));
      await sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.inSync('server2', 'server1');
      expect(await only(sim)).toMatchObject({ state: 'void', void: { rule: 'was-target' }, context: null });
      expect(await only(sim, 'server2')).toBeUndefined();
      await sim.call('server2', 'switchover', { tag: 't', node: 'server1' });
      await sim.inSync('server1', 'server2');
      expect(dirty(sim, 'monday')).toBeUndefined();
      expect(told.filter((e) => e.kind === 'checkpoint-void')).toHaveLength(1);
      await sim.refuses(
        'server1',
        'checkpoint-create',
        { tag: 't', name: 'monday' },
        'refused',
        /^t has a checkpoint monday already, which is void: delete it first$/,
      );
      await again(sim, 'crash');
      expect(await only(sim)).toMatchObject({ state: 'void' });
      await sim.call('server1', 'checkpoint-delete', { tag: 't', name: 'monday' });
      await create(sim, 'monday');
      expect(dirty(sim, 'monday')).toBeDefined();
    });
  });

  it('after a failover, also where this node knows of none, and an operator forces it', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      sim.crash('server1');
      await sim.until('server2 takes over', async () => (await sim.status('server2')).inService);
      sim.crash('server2');
      await sim.start('server1');
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force'] });
      expect(await only(sim)).toMatchObject({ state: 'void', void: { rule: 'another-may-have-served' } });
    });
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      sim.crash('server1');
      await sim.until('server2 takes over', async () => (await sim.status('server2')).inService);
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      expect(await only(sim)).toMatchObject({ state: 'void', void: { rule: 'was-target' } });
    });
  });

  it('once its bitmap file is damaged', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      await sim.stop('server1');
      const { files } = sim.world.node('server1').localIo();
      const file = await files.open('/var/bitmap_t', { write: true });
      await file.write(Uint8Array.of(7), 700);
      await file.sync();
      await file.close();
      await sim.start('server1');
      expect(await only(sim)).toMatchObject({ state: 'void', void: { rule: 'bitmap-damaged' } });
      await sim.call('server1', 'in-service', { tag: 't' });
      expect(dirty(sim, 'monday')).toBeUndefined();
    });
  });

  it('once the own leg has failed and a target went on', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await create(sim, 'monday');
      sim.world.node('server1').fail('/leg', { op: 'write', errno: Errno.EIO });
      await sim.write('server1', 0, 4096, 1);
      expect(await only(sim)).toMatchObject({ state: 'void', void: { rule: 'leg-behind' } });
      expect(dirty(sim, 'monday')).toBeUndefined();
      await sim.refuses('server1', 'checkpoint-create', { tag: 't', name: 'tuesday' }, 'refused', /^the local leg of t has failed/);
    });
  });
});

describe('is refused', () => {
  it('on a node that is not the source, with a name that is taken or none, and beyond the limit', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses(
        'server2',
        'checkpoint-create',
        { tag: 't', name: 'a' },
        'refused',
        /^mirror t is not in service on server2; run this on server1$/,
      );
      await sim.refuses('server1', 'checkpoint-delete', { tag: 't', name: 'a' }, 'refused', /^t has no checkpoint a on server1; there are: none$/);
      await sim.refuses('server1', 'checkpoint-create', { tag: 't', name: 'a:b' }, 'bad-request', /"a:b" is not a checkpoint name/);
      for (let i = 0; i < 16; i += 1) await create(sim, `c${String(i)}`);
      await sim.refuses('server1', 'checkpoint-create', { tag: 't', name: 'c3' }, 'refused', /^t has a checkpoint c3 already$/);
      await sim.refuses(
        'server1',
        'checkpoint-create',
        { tag: 't', name: 'a' },
        'refused',
        /^t has 16 checkpoints; allowed: at most 16, delete one first$/,
      );
    });
  });

  it('where the bitmap file or the record can not be written, and then there is none', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      const node = sim.world.node('server1');
      for (const pattern of ['/var/bitmap_t*', statePath('/var', 't') + '*']) {
        node.fail(pattern, { op: 'sync', errno: Errno.EIO });
        await expect(create(sim, 'monday')).rejects.toThrow(/./);
        node.repairDisk();
        expect(dirty(sim, 'monday')).toBeUndefined();
        expect(await only(sim)).toBeUndefined();
      }
      await create(sim, 'monday');
      expect(dirty(sim, 'monday')).toBeDefined();
    });
  });
});
