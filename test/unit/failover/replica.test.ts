import { expect, it } from 'vitest';
import { nullLog } from '../../../src/io/log.ts';
import { Errno, IoError } from '../../../src/io/types.ts';
import { Sim } from '../control/sim.ts';

it('what a leg still has in hand and does not end in order is logged, ends no process, and is told to whoever uses the leg next', async () => {
  const errors: string[] = [];
  const log = { ...nullLog, error: (message: string, facts?: object) => errors.push(`${message}: ${JSON.stringify(facts)}`) };
  await Sim.run({ more: () => ({ log }) }, async (sim) => {
    await sim.mirror();
    const replica = sim.daemon('server2').mirrors.get('t')?.replica;
    if (replica === undefined) throw new Error('server2 has no mirror');
    replica.follow(Promise.reject(new IoError(Errno.EIO, 'sync of /leg: EIO')));
    // Nobody asks meanwhile: a rejection that nobody has taken would end the process now.
    await sim.world.sleep(100);
    expect(errors).toEqual(['what the leg had in hand did not end in order: {"leg":"/leg","error":"IoError: sync of /leg: EIO"}']);
    await expect(replica.endWithin(1000)).rejects.toThrow('sync of /leg: EIO');
  });
});
