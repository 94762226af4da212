import { describe, expect, it } from 'vitest';
import { DEFAULT_LATENCIES } from '../../../src/io/simulated/faults.ts';
import { Errno } from '../../../src/io/types.ts';
import type { Daemon } from '../../../src/control/daemon.ts';
import { MIB, REGION, Sim } from './sim.ts';

/** A region that nothing else is written to. */
const LATE = 9;

/** Regions under intent. */
function marks(d: Daemon): number[] {
  const map = d.mirrors.get('t')?.bitmap?.map('intent');
  return Array.from({ length: MIB / REGION }, (_, i) => i).filter((i) => map?.get(i) === true);
}

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

/** A write on its way to server2's leg until it ends, over a sync that ends well and one that fails; the source is gone then. */
async function lateWrite(sim: Sim): Promise<void> {
  await sim.mirror();
  const disk = sim.world.node('server2');
  const m = sim.daemon('server2').mirrors.get('t');
  const c = await sim.client('server1');
  const slow = { ...DEFAULT_LATENCIES, write: { fromMs: 1500, toMs: 1500 } };
  await c.writeBytes(0, new Uint8Array(4096).fill(5));
  disk.setDisk({ latencies: slow });
  void Promise.allSettled([c.writeBytes(LATE * REGION, new Uint8Array(4096).fill(7))]);
  await sim.until('it is under way', () => m?.replica.unsynced()?.get(LATE) === true);
  disk.setDisk({ latencies: DEFAULT_LATENCIES });
  await c.flushNow();
  expect([...(m?.replica.unsynced()?.runs() ?? [])]).toEqual([]);
  disk.fail('/leg', { op: 'sync', errno: Errno.EIO, times: 1 });
  await c.writeBytes(0, new Uint8Array(4096).fill(6));
  void Promise.allSettled([c.flushNow()]);
  await sim.until('its replica is in doubt', () => m?.replica.doubtful === true);
  sim.crash('server1');
  await sim.until('it stands in the record', () => m?.record().toldOut !== null);
  expect([...(m?.bitmap?.map('intent').runs() ?? [])]).toEqual([{ first: 0, length: 1 }]);
}

describe('a write that is under way while one sync of a target ends well and the next fails', () => {
  it('is written down as lost, perhaps, as soon as it has ended (M3)', async () => {
    await Sim.run({}, async (sim) => {
      await lateWrite(sim);
      await sim.world.sleep(3000);
      sim.crash('server2');
      expect(marks(await sim.start('server2'))).toEqual([0, LATE]);
    });
  });

  it('is written down by a daemon that stops in order, which waits for it', async () => {
    await Sim.run({}, async (sim) => {
      await lateWrite(sim);
      await sim.stop('server2');
      expect(marks(await sim.start('server2'))).toEqual([0, LATE]);
    });
  });

  it('keeps no daemon from stopping when it can not be written down (M14)', async () => {
    await Sim.run({}, async (sim) => {
      await lateWrite(sim);
      sim.world.node('server2').stall('/var/bitmap_t*');
      const from = sim.world.now();
      await sim.stop('server2');
      expect(sim.world.now() - from).toBeLessThan(10_000);
      sim.world.node('server2').repairDisk();
      expect((await sim.start('server2')).mirrors.get('t')?.record().toldOut).not.toBeNull();
    });
  });
});

describe('a sync that fails while its target takes over', () => {
  it('ends the claim: the node stays out, and when it is forced writes again what was lost (M3)', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const disk = sim.world.node('server2');
      await disk.localIo().files.syncDirectory('/');
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(65_536).fill(7));
      disk.setDisk({ latencies: { ...DEFAULT_LATENCIES, sync: { fromMs: 4000, toMs: 4000 } } });
      disk.fail('/leg', { op: 'sync', errno: Errno.EIO, times: 1 });
      void Promise.allSettled([c.flushNow()]);
      await sim.world.sleep(20);
      disk.setDisk({ latencies: DEFAULT_LATENCIES });
      sim.crash('server1');
      const m = sim.daemon('server2').mirrors.get('t');
      await sim.until('it has written down that it is out', () => m?.record().toldOut !== null);
      await sim.until('its claim is over', () => m?.record().claim === null);
      expect((await sim.status('server2')).inService).toBe(false);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      await (await sim.client('server2')).flushNow();
      expect(disk.peekDurable('/leg')?.[0]).toBe(7);
    });
  });
});

describe('a target whose leg is in doubt', () => {
  it('counts as in contact with its source only once it has joined: before that it must not take over', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 6);
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(MIB / 2).fill(7));
      sim.crash('server2');
      const m = (await sim.start('server2')).mirrors.get('t');
      expect(m?.replica.doubtful).toBe(true);
      const inSession: boolean[] = [];
      await sim.until('it has joined', async () => {
        for (let i = 0; i < 100; i += 1) {
          await sim.world.sleep(0.2);
          if (m?.replica.doubtful === true && m.replica.session !== undefined) inSession.push(m.view().contactWithSource);
        }
        return m?.replica.doubtful === false;
      });
      expect(inSession.length).toBeGreaterThan(0);
      expect(inSession).not.toContain(true);
      await sim.until('it is in contact', () => m?.view().contactWithSource === true);
    });
  });
});
