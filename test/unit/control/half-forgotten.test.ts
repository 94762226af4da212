import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { REGION, Sim } from './sim.ts';

const FLAGS = '/var/subsys/scsi/resources/netraid';

/** Neither the daemon nor the disk of the node knows the mirror any more. */
function knowsNothing(sim: Sim, node: string): void {
  expect([sim.daemon(node).mirrors.size, sim.daemon(node).broken.size]).toEqual([0, 0]);
  expect(
    Object.keys(sim.onDisk()).filter((path) => path.startsWith(`${node}:`) && /(state|bitmap)_t|t_(last_owner|source|data_corrupt)/.test(path)),
  ).toEqual([]);
}

async function addedAgain(sim: Sim): Promise<void> {
  await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
  await sim.inSync('server1', 'server2');
  expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
}

describe('a mirror that is forgotten (M14)', () => {
  it('goes also where there is no room to close its bitmap file, and can be added again', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      // Whoever was the source has a bitmap file that is written anew when it is closed.
      await sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.write('server2', 0, REGION, 7);
      await sim.inSync('server2', 'server1');
      await sim.call('server2', 'switchover', { tag: 't', node: 'server1' });
      await sim.inSync('server1', 'server2');
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.until('it is out', async () => (await sim.targetState('server1', 'server2')) === 'Paused');
      sim.world.node('server2').full('/var/*');
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      knowsNothing(sim, 'server2');
      sim.world.node('server2').repairDisk();
      await addedAgain(sim);
    });
  });

  it('goes also where its leg can not be synced, on the word of an operator there', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ failover: 'off' });
      await sim.write('server1', 0, REGION, 7);
      sim.world.cut('server1', 'server2');
      expect(sim.daemon('server2').mirrors.get('t')?.replica.session).toBeDefined();
      sim.world.node('server2').fail('/leg', { op: 'sync', errno: Errno.EIO });
      await sim.until('its source is not heard', () => !sim.daemon('server2').env.cluster.connected('server1'));
      expect(await sim.call('server2', 'delete', { tag: 't' })).toEqual({ forgotten: ['server2'], unreached: ['server1'] });
      knowsNothing(sim, 'server2');
      sim.world.node('server2').repairDisk();
      sim.world.heal('server1', 'server2');
      await sim.until('they hear each other', () => sim.daemon('server1').env.cluster.connected('server2'));
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      await addedAgain(sim);
    });
  });

  it('and whose files could not be removed is shown, and goes when it is deleted there', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.until('it is out', async () => (await sim.targetState('server1', 'server2')) === 'Paused');
      sim.world.node('server2').fail(FLAGS, { op: 'sync', errno: Errno.EIO, times: 1 });
      await expect(sim.call('server1', 'unextend', { tag: 't', node: 'server2' })).rejects.toMatchObject({ name: 'ControlError' });
      const why = /mirror t is out of service on server2: it was to be forgotten, and its files could not be removed: .*delete it here/;
      await sim.refuses('server2', 'status', { tag: 't' }, 'refused', why);
      const again = sim.extendParams('server2', 10, { zeroed: false });
      await sim.refuses('server1', 'extend', again, 'refused', /delete it there first/);
      expect(await sim.call('server2', 'delete', { tag: 't' })).toEqual({ forgotten: ['server2'], unreached: [] });
      knowsNothing(sim, 'server2');
      await addedAgain(sim);
    });
  });
});

it('a daemon that stops does not say of a mirror that it can be a target: it refuses every session', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    const definition = sim.daemon('server1').mirrors.get('t')?.record().definition;
    if (definition === undefined) throw new Error('no mirror');
    const d2 = sim.daemon('server2');
    const stopping = d2.stop();
    await expect(d2.adopt('server1', definition, true)).rejects.toMatchObject({ code: 'stopping' });
    await stopping;
  });
});
