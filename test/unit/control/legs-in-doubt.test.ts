import { describe, expect, it } from 'vitest';
import { doubtLegs, legsInDoubt } from '../../../src/control/legs-in-doubt.ts';
import { legsInDoubtPath, statePath } from '../../../src/failover/paths.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { Errno, type Io } from '../../../src/io/types.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, Sim } from './sim.ts';

const FILE = legsInDoubtPath('/var');

const BOOT: unknown = expect.stringMatching(/^in this boot of the machine a mirror was deleted here/);

async function inWorld(story: (io: Io, world: SimWorld) => Promise<void>): Promise<void> {
  const world = new SimWorld(1);
  const io = world.node('n').boot();
  await world.run(
    (async () => {
      await io.files.mkdir('/var');
      await story(io, world);
    })(),
  );
}

describe('legs in doubt (M3)', () => {
  it('are so in that boot and in no other', async () => {
    await inWorld(async ({ files }) => {
      expect(await legsInDoubt(files, '/var', 'a')).toBeNull();
      await doubtLegs(files, '/var', 'a');
      await doubtLegs(files, '/var', 'a');
      expect([await legsInDoubt(files, '/var', 'a'), await legsInDoubt(files, '/var', 'b')]).toEqual([BOOT, null]);
      await doubtLegs(files, '/var', 'b');
      expect([await legsInDoubt(files, '/var', 'a'), await legsInDoubt(files, '/var', 'b')]).toEqual([null, BOOT]);
    });
  });

  it('are so whatever has become of the file, and a disk that does not answer is an error', async () => {
    await inWorld(async ({ files }, world) => {
      await doubtLegs(files, '/var', 'a');
      const whole = await files.readFile(FILE, 512);
      for (const damaged of [
        whole.map((b, i) => (i === whole.length - 2 ? b ^ 3 : b)),
        whole.subarray(0, 20),
        new Uint8Array(0),
        new Uint8Array(600),
      ]) {
        await files.unlink(FILE);
        const f = await files.open(FILE, { write: true, create: true });
        if (damaged.length > 0) await f.write(damaged, 0);
        await f.close();
        expect(await legsInDoubt(files, '/var', 'z')).toMatch(/legs_in_doubt was damaged/);
        expect([await legsInDoubt(files, '/var', 'z'), await legsInDoubt(files, '/var', 'next')]).toEqual([BOOT, null]);
      }
      world.node('n').fail(FILE, { op: 'read', errno: Errno.EIO });
      await expect(legsInDoubt(files, '/var', 'a')).rejects.toMatchObject({ errno: Errno.EIO });
    });
  });
});

/** What server2 answered before its sync failed is in its page cache, and nowhere else; then its daemon is killed, and the record is gone. */
async function lost(sim: Sim, how: 'damaged' | 'sound'): Promise<void> {
  const two = sim.world.node('server2');
  await sim.mirror();
  await sim.write('server1', 0, MIB / 4, 6);
  two.fail('/leg', { op: 'sync', errno: Errno.EIO, times: 1 });
  const c = await sim.client('server1');
  await c.writeBytes(0, new Uint8Array(MIB / 2).fill(7));
  await c.flushNow();
  await c.disconnect();
  sim.crash('server2');
  await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
  if (how === 'damaged') {
    const f = await sim.world.client('server2').files.open(statePath('/var', 't'), { write: true });
    await f.write(new Uint8Array(1), 172);
    await f.close();
  }
  await sim.start('server2');
  await sim.until('they hear each other', () => sim.daemon('server1').env.cluster.connected('server2'));
  if (how === 'damaged') expect(sim.daemon('server2').broken.has('t')).toBe(true);
}

const EQUAL_SKIPPED = { settings: { resync: { ...DEFAULT_SETTINGS.resync, skipEqual: true } } };
const keptByTheDisk = (sim: Sim, node: string): boolean => {
  sim.world.node(node).powerFail();
  const leg = sim.world.node(node).peek('/leg') ?? new Uint8Array(0);
  return leg.length === MIB && leg.subarray(0, MIB / 2).every((b) => b === 7);
};

describe('a leg that lost what it held, whose record an operator deletes', () => {
  for (const how of ['damaged', 'sound'] as const) {
    it(`is written all over when it is added again, equal or not (${how} record)`, async () => {
      await Sim.run(EQUAL_SKIPPED, async (sim) => {
        await lost(sim, how);
        if (how === 'damaged') await sim.call('server2', 'delete', { tag: 't' });
        await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
        // Nor is it skipped on an operator's word that it holds zeroes.
        await sim.call('server1', 'extend', sim.extendParams('server2', 10));
        await sim.inSync('server1', 'server2');
        expect(keptByTheDisk(sim, 'server2')).toBe(true);
      });
    });
  }

  it('is written all over also where an operator says that nothing is to be copied', async () => {
    await Sim.run({ tunables: { noFullSync: true } }, async (sim) => {
      await lost(sim, 'damaged');
      await sim.call('server2', 'delete', { tag: 't' });
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect(keptByTheDisk(sim, 'server2')).toBe(true);
    });
  });

  it('is not deleted before that is written down', async () => {
    await Sim.run(EQUAL_SKIPPED, async (sim) => {
      await lost(sim, 'damaged');
      sim.world.node('server2').full('/var/*');
      await expect(sim.call('server2', 'delete', { tag: 't' })).rejects.toMatchObject({ name: 'ControlError', code: 'io' });
      expect([sim.world.node('server2').peek(FILE), sim.daemon('server2').broken.has('t')]).toEqual([undefined, true]);
      sim.world.node('server2').repairDisk();
      expect(await sim.call('server2', 'delete', { tag: 't' })).toMatchObject({ forgotten: ['server2'] });
      expect(sim.world.node('server2').peek(FILE)).toBeDefined();
    });
  });

  it('is in order where it only held what was not synced yet', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(MIB / 2).fill(7));
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.until('it is out', async () => (await sim.targetState('server1', 'server2')) === 'Paused');
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect([sim.daemon('server2').mirrors.size, sim.world.node('server2').peek(FILE)]).toEqual([0, undefined]);
      expect(keptByTheDisk(sim, 'server2')).toBe(true);
    });
  });

  it('is written all over before it serves as the first of a new mirror', async () => {
    await Sim.run({}, async (sim) => {
      await lost(sim, 'damaged');
      await sim.call('server2', 'delete', { tag: 't' });
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      await sim.call('server2', 'create', sim.createParams({ tag: 'u', sizeBytes: null, zeroed: false }));
      await sim.call('server2', 'in-service', { tag: 'u' });
      const c = await sim.client('server2', 'u');
      expect((await c.readBytes(0, MIB / 2)).every((b) => b === 7)).toBe(true);
      await c.flushNow();
      expect(sim.daemon('server2').mirrors.get('u')?.record().legInDoubt).toBeUndefined();
      expect(keptByTheDisk(sim, 'server2')).toBe(true);
    });
  });

  it('is trusted after the next start of the machine, and a leg that was in order always is', async () => {
    await Sim.run(EQUAL_SKIPPED, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB / 2, 7);
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect(sim.world.node('server2').peek(FILE)).toBeUndefined();
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect(sim.daemon('server2').mirrors.get('t')?.record().legInDoubt).toBeUndefined();
    });
    await Sim.run(EQUAL_SKIPPED, async (sim) => {
      await lost(sim, 'damaged');
      await sim.call('server2', 'delete', { tag: 't' });
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect(sim.world.node('server2').peek(FILE)).toBeDefined();
      sim.world.node('server2').powerFail();
      await sim.start('server2');
      await sim.until('they hear each other', () => sim.daemon('server2').env.cluster.connected('server1'));
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      expect(sim.daemon('server2').mirrors.get('t')?.record().legInDoubt).toBeUndefined();
      await sim.inSync('server1', 'server2');
      expect(keptByTheDisk(sim, 'server2')).toBe(true);
    });
  });
});
