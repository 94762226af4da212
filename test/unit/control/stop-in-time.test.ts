/** A mirror leaves service in time, and says truly how, also where a disk does not answer (M14). */
import { describe, expect, it } from 'vitest';
import { REGION, Sim } from './sim.ts';

const PATIENCE_MS = 60_000;

function record(sim: Sim, node: string) {
  const m = sim.daemon(node).mirrors.get('t');
  if (m === undefined) throw new Error(`${node} has no mirror`);
  return m.record();
}

describe('out of service', () => {
  it('in order says nothing to worry about, however long the disk of the bitmap file takes', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 7);
      sim.world.node('server1').setDisk({ latencies: { sync: { fromMs: 300, toMs: 400 } } });
      sim.world.node('server2').setDisk({ latencies: { sync: { fromMs: 600, toMs: 700 } } });
      const before = sim.warnings.length;
      expect(await sim.call('server1', 'out-of-service', { tag: 't' })).toMatchObject({ inService: false, clean: true });
      expect(sim.warnings.slice(before)).toEqual([]);
      expect((await sim.status('server1')).decision?.rule).toBe('stopped-on-purpose');
      // No session of the source that stops comes after its word.
      await sim.world.sleep(20_000);
      expect(record(sim, 'server2')).toMatchObject({ stoppedOnPurpose: true, session: { role: 'target', clean: true } });
      expect((await sim.status('server2')).inService).toBe(false);
    });
  });

  it.each<[string, string, (sim: Sim) => Promise<void>]>([
    ['a sync of the own leg', '/leg', () => Promise.resolve()],
    [
      'a write in hand',
      '/leg',
      async (sim) => {
        const c = await sim.client('server1');
        void Promise.allSettled([c.writeBytes(0, new Uint8Array(REGION).fill(9))]);
        await sim.world.sleep(100);
      },
    ],
  ])(
    'ends in time where %s hangs, and not as a clean stop; nothing uses the leg until it answers',
    async (_what, path, more) => {
      await Sim.run({}, async (sim) => {
        await sim.mirror();
        await sim.write('server1', 0, REGION, 7);
        sim.world.node('server1').stall(path);
        await more(sim);
        const from = sim.world.now();
        expect(await sim.call('server1', 'out-of-service', { tag: 't' })).toMatchObject({ inService: false, clean: false });
        expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
        expect(record(sim, 'server1')).toMatchObject({ session: { role: 'source', clean: false }, stoppedOnPurpose: false });
        await expect(sim.call('server1', 'in-service', { tag: 't' })).rejects.toThrow(/does not answer/);
        expect((await sim.status('server1')).inService).toBe(false);

        sim.world.node('server1').repairDisk();
        await sim.until('the leg is quiet', async () => {
          const [went] = await Promise.allSettled([sim.call('server1', 'in-service', { tag: 't' })]);
          return went.status === 'fulfilled';
        });
        await sim.inSync('server1', 'server2');
        expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      });
    },
    30_000,
  );

  it('with a bitmap file that hangs ends in time, and not as a clean stop', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 7);
      sim.world.node('server1').stall('/var/bitmap_t');
      const from = sim.world.now();
      expect(await sim.call('server1', 'out-of-service', { tag: 't' })).toMatchObject({ inService: false, clean: false });
      expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
      sim.world.node('server1').repairDisk();
    });
  });
});

describe('a source whose term is over', () => {
  it('is out of service although its leg hangs, and its new source copies to it only once the leg has done with the old term (M4)', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      sim.world.node('server1').stall('/leg');
      void Promise.allSettled([c.writeBytes(0, new Uint8Array(REGION).fill(9))]);
      await sim.world.sleep(100);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      await sim.write('server2', 0, REGION, 8);
      await sim.world.sleep(20_000);
      expect(await sim.targetState('server2', 'server1')).not.toBe('Resyncing');
      sim.world.node('server1').repairDisk();
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      expect((await sim.read('server2', 0, 512))[0]).toBe(8);
    });
  }, 30_000);
});

describe('a target', () => {
  it('whose disk hangs when the daemon stops is not written down as stopped in order', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(REGION).fill(9));
      sim.world.node('server2').stall('/leg');
      const m = sim.daemon('server2').mirrors.get('t');
      const from = sim.world.now();
      await m?.stop(true);
      expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
      expect(m?.record().session).toEqual({ role: 'target', clean: false });
      sim.world.node('server2').repairDisk();
    });
  });
});
