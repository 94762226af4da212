/** A size that is taken back, and one that was given out of service: what the legs hold there is not known to be the same (M5, M6). */
import { describe, expect, it } from 'vitest';
import { MIB, Sim } from './sim.ts';

const SMALLER = MIB / 2;

const resize = (sim: Sim, node: string, sizeBytes: number) => sim.call(node, 'resize', { tag: 't', sizeBytes, force: true });
const lastResync = async (sim: Sim) => (await sim.status('server1')).targets[0]?.lastResync;

/** Each node has a disk of 2 MiB, the second one filled with another byte. */
async function disks(sim: Sim): Promise<void> {
  for (const [i, n] of sim.names.entries()) {
    sim.world.node(n).createFile('/disk', 2 * MIB, 'block');
    const f = await sim.world.client(n).files.open('/disk', { write: true });
    await f.write(new Uint8Array(MIB).fill(i + 1), MIB);
    await f.sync();
    await f.close();
  }
}

describe('a mirror that was made smaller by mistake, and larger again, out of service', () => {
  it('copies what was marked behind the cut', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.write('server1', MIB - 65_536, 4096, 7);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await resize(sim, 'server1', SMALLER);
      await resize(sim, 'server1', MIB);
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
      await sim.inSync('server1', 'server2');
      expect(await lastResync(sim)).toMatchObject({ kind: 'partial', bytes: MIB - SMALLER });
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('is copied to in what its source was writing there when it crashed', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 7);
      const c = await sim.client('server1');
      sim.world.cut('server1', 'server2');
      const write = Promise.allSettled([c.writeBytes(MIB - 4096, new Uint8Array(4096).fill(8))]);
      await sim.world.sleep(100);
      sim.crash('server1');
      await write;
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      await sim.start('server1');
      await resize(sim, 'server1', SMALLER);
      await resize(sim, 'server1', MIB);
      sim.world.healAll();
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('is copied to by a smaller one, whatever it has marked behind the end of that', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 7);
      const c = await sim.client('server1');
      sim.world.cut('server1', 'server2');
      void Promise.allSettled([c.writeBytes(MIB - 4096, new Uint8Array(4096).fill(8))]);
      await sim.world.sleep(100);
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      await sim.call('server2', 'out-of-service', { tag: 't' });
      await resize(sim, 'server2', SMALLER);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: false });
      await sim.write('server2', 65_536, 4096, 9);
      await sim.start('server1');
      expect(sim.daemon('server1').mirrors.get('t')?.view().intentBytes).toBeGreaterThan(0);
      sim.world.healAll();
      await sim.inSync('server2', 'server1');
      expect((await sim.status('server2')).targets[0]?.lastResync).toMatchObject({ kind: 'partial', bytes: 2 * 65_536 });
      expect(sim.daemon('server1').mirrors.get('t')?.record().definition.sizeBytes).toBe(SMALLER);
    });
  });

  it('or stays smaller: the other follows, and only what is marked is copied', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.write('server1', 0, 4096, 7);
      await sim.write('server1', MIB - 65_536, 4096, 7);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await resize(sim, 'server1', SMALLER);
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
      await sim.inSync('server1', 'server2');
      expect(await lastResync(sim)).toMatchObject({ kind: 'partial', bytes: 65_536 });
      expect((await sim.status('server2')).sizeBytes).toBe(SMALLER);
    });
  });
});

describe('a size that every node was given by hand while nobody served', () => {
  it.each(['server1', 'server2'])('is made alike by whoever goes in service: %s', async (first) => {
    await Sim.run({}, async (sim) => {
      await disks(sim);
      await sim.call('server1', 'create', sim.createParams({ leg: '/disk', zeroed: false }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/disk', zeroed: false }));
      await sim.inSync('server1', 'server2');
      await sim.call('server1', 'out-of-service', { tag: 't' });
      for (const n of sim.names) await resize(sim, n, 2 * MIB);
      await sim.call(first, 'in-service', { tag: 't' });
      const other = first === 'server1' ? 'server2' : 'server1';
      await sim.inSync(first, other);
      expect((await sim.status(first)).targets[0]?.lastResync).toMatchObject({ kind: 'partial', bytes: MIB });
      expect(sim.legsDiffer('server1', 'server2', '/disk')).toBe(-1);
    });
  });
});

it('a mirror whose legs were zeroed is copied to in full once it has grown: behind the old end nobody zeroed them', async () => {
  await Sim.run({}, async (sim) => {
    await disks(sim);
    await sim.call('server1', 'create', sim.createParams({ leg: '/disk' }));
    await sim.call('server1', 'in-service', { tag: 't' });
    await resize(sim, 'server1', 2 * MIB);
    await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/disk' }));
    await sim.inSync('server1', 'server2');
    expect(sim.legsDiffer('server1', 'server2', '/disk')).toBe(-1);
  });
});
