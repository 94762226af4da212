import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { REGION, Sim } from '../control/sim.ts';

describe('a takeover whose disk fails for a moment', () => {
  it('is tried again: the epoch is not served before the marks of the last life are durable', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 7);
      const heir = sim.world.node('server2');
      heir.fail('/var/bitmap_t*', { op: 'sync', errno: Errno.EIO, times: 1 });
      heir.fail('/var/bitmap_t*', { op: 'write', errno: Errno.EIO, times: 1 });
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      expect((await sim.status('server2')).decision?.rule).not.toBe('source-alone');
      expect((await sim.status('server2')).flags.dataCorrupt).toBe(false);
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
