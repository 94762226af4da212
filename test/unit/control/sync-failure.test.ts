import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { Sim } from './sim.ts';

describe('a target whose leg has failed a sync', () => {
  it('writes down that it is out as soon as its disk takes it, also when its source is gone', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 65_536, 6);
      const m = sim.daemon('server2').mirrors.get('t');
      const disk = sim.world.node('server2');
      disk.fail('/leg', { op: 'sync', errno: Errno.EIO });
      disk.fail('/var/state_t*', { op: 'write', errno: Errno.EIO });
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(65_536).fill(7));
      // Whether it is answered before the source is gone is nothing to the target.
      const flushed = c.flushNow().then(
        () => 'well',
        () => 'with an error',
      );
      await sim.until('its replica is in doubt', () => m?.replica.doubtful === true);
      sim.crash('server1');
      await flushed;
      await sim.world.sleep(500);
      expect(m?.record().toldOut).toBeNull();
      disk.repairDisk();
      await sim.until('it stands in the record', () => m?.record().toldOut !== null, 10_000);
      expect(m?.record()).toMatchObject({ toldOut: { by: 'server2' }, inSync: ['server1'] });
      await sim.stop('server2');
      const again = await sim.start('server2');
      expect(again.mirrors.get('t')?.record()).toMatchObject({ toldOut: { by: 'server2' } });
    });
  });
});
