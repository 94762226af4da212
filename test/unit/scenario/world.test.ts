import { expect, it } from 'vitest';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { sleep, within } from '../../../src/scenario/world.ts';

it('gives the outcome that comes in time, an error as well, and nothing for one that does not', async () => {
  const world = new SimWorld(1);
  const { clock } = world;
  await world.run(
    (async () => {
      const later = sleep(clock, 10).then(() => 7);
      expect(await within(clock, 100, later)).toEqual({ value: 7 });
      const fails = sleep(clock, 10).then(() => {
        throw new Error('no');
      });
      await expect(within(clock, 100, fails)).rejects.toThrow('no');
      const late = sleep(clock, 50).then(() => {
        throw new Error('too late for anybody');
      });
      expect(await within(clock, 20, late)).toBeUndefined();
      await sleep(clock, 100);
    })(),
  );
});
