/** A target whose source lives, and can not make itself understood: it may have gone on without this target (M2). */
import { describe, expect, it } from 'vitest';
import { Sim } from '../control/sim.ts';

function inContact(sim: Sim): boolean | undefined {
  return sim.daemon('server2').mirrors.get('t')?.view().contactWithSource;
}

/** server1 goes on alone: nothing is understood for a while, either way, and then nothing of what server2 says. */
async function goesOnAlone(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.write('server1', 0, 4096, 6);
  sim.world.flipBits('server1', 'server2', 1);
  const written = sim.write('server1', 0, 4096, 7);
  await sim.world.sleep(1000);
  sim.world.flipBitsOneWay('server1', 'server2', 0);
  await written;
  await sim.world.sleep(3000);
  expect(sim.daemon('server1').mirrors.get('t')?.record()).toMatchObject({ inSync: ['server1'], droppedUnconfirmed: ['server2'] });
  // By its record it is in sync, and its source has never fallen silent: all hellos come through.
  expect(sim.daemon('server2').mirrors.get('t')?.record()).toMatchObject({ inSync: ['server1', 'server2'], toldOut: null });
  expect(sim.daemon('server2').env.cluster.silentForMs('server1')).toBeLessThan(2000);
}

describe('a target that hears nothing but hellos of its source for failureTimeout', () => {
  it('is not in contact with it any more: when the source is lost, it does not take over what it lacks', async () => {
    await Sim.run({}, async (sim) => {
      await goesOnAlone(sim);
      expect(inContact(sim)).toBe(false);
      sim.crash('server1');
      sim.world.flipBits('server1', 'server2', 0);
      await sim.world.sleep(20_000);
      const s = await sim.status('server2');
      expect([s.inService, s.decision?.rule]).toEqual([false, 'target-alone']);
      await sim.start('server1');
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      await sim.inSync('server1', 'server2');
      expect((await sim.read('server1', 0, 512))[0]).toBe(7);
    });
  });

  it('does not come in contact again by what another life of the source says', async () => {
    await Sim.run({}, async (sim) => {
      await goesOnAlone(sim);
      sim.crash('server1');
      sim.world.flipBits('server1', 'server2', 0);
      await sim.start('server1');
      const { cluster } = sim.daemon('server2').env;
      await sim.until('it is understood', () => cluster.mumblingForMs('server1') === 0);
      expect((await sim.status('server1')).inService).toBe(false);
      sim.crash('server1');
      await sim.world.sleep(20_000);
      expect((await sim.status('server2')).inService).toBe(false);
    });
  });

  it('comes in contact again when it is in sync again, and then takes over', async () => {
    await Sim.run({}, async (sim) => {
      await goesOnAlone(sim);
      sim.world.flipBits('server1', 'server2', 0);
      await sim.inSync('server1', 'server2');
      expect(inContact(sim)).toBe(true);
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      expect((await sim.read('server2', 0, 512))[0]).toBe(7);
    });
  });
});

it('a source whose daemon starts anew and does not know the mirror is understood: its target takes over', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, 4096, 7);
    sim.crash('server1');
    const f = await sim.world.client('server1').files.open('/var/state_t', { write: true });
    await f.write(new Uint8Array([0x21]), 200);
    await f.sync();
    await f.close();
    await sim.start('server1');
    await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
    expect((await sim.read('server2', 0, 512))[0]).toBe(7);
  });
});
