import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { MIB, Sim } from './sim.ts';

/**
 * Both daemons are killed while the target's leg holds what was never synced. Its kernel could not write back all of that, and
 * says so once: to the first who syncs.
 */
async function killed(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.write('server1', 0, 65_536, 6);
  const c = await sim.client('server1');
  await c.writeBytes(0, new Uint8Array(MIB / 2).fill(7));
  sim.crash('server2');
  sim.crash('server1');
  sim.world.node('server2').fail('/leg', { op: 'sync', errno: Errno.EIO, times: 1 });
}

const legOf = (sim: Sim, node: string): Uint8Array => sim.world.node(node).peek('/leg') ?? new Uint8Array(0);

describe('a target that was killed while it held what was never synced', () => {
  it('and is forced in service: what the kernel could not write back is written again, and FLUSH is honest (M3)', async () => {
    await Sim.run({}, async (sim) => {
      await killed(sim);
      await sim.start('server2');
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      const c = await sim.client('server2');
      expect((await c.readBytes(0, MIB / 2)).every((b) => b === 7)).toBe(true);
      await c.flushNow();
      sim.world.node('server2').powerFail();
      expect(
        legOf(sim, 'server2')
          .subarray(0, MIB / 2)
          .every((b) => b === 7),
      ).toBe(true);
    });
  });

  it('and whose source returns: all of its leg is written again, since nobody knows what is lost', async () => {
    await Sim.run({}, async (sim) => {
      await killed(sim);
      await sim.start('server2');
      await sim.start('server1');
      await sim.until('server1 is in service', () => sim.daemon('server1').mirrors.get('t')?.source?.serving === true);
      await sim.inSync('server1', 'server2');
      const t = (await sim.status('server1')).targets.find((x) => x.node === 'server2');
      expect(t?.lastResync).toMatchObject({ bytes: MIB });
      sim.world.node('server2').powerFail();
      expect(
        legOf(sim, 'server2')
          .subarray(0, MIB / 2)
          .every((b) => b === 7),
      ).toBe(true);
    });
  });

  it('and lost nothing: neither is written again in full', async () => {
    await Sim.run({}, async (sim) => {
      await killed(sim);
      sim.world.node('server2').repairDisk();
      await sim.start('server2');
      await sim.start('server1');
      await sim.until('server1 is in service', () => sim.daemon('server1').mirrors.get('t')?.source?.serving === true);
      await sim.inSync('server1', 'server2');
      const t = (await sim.status('server1')).targets.find((x) => x.node === 'server2');
      expect(t?.lastResync?.bytes).toBeLessThanOrEqual(MIB / 2);
    });
  });
});
