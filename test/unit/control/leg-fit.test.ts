import { describe, expect, it } from 'vitest';
import { makeLegFile } from '../../../src/control/leg-fit.ts';
import { Errno, IoError, type OpenOptions } from '../../../src/io/types.ts';
import { MIB, Sim } from './sim.ts';

/** Names what has which sectors, what is allowed, and the remedy. */
const tooLarge = /server2: \/4kn has sectors of 4096 bytes, and mirror t of 512: at most that is allowed; .*create --sector-size 4096$/;

/** In sync on two nodes, and a disk of large sectors on the second. */
async function twoNodes(sim: Sim): Promise<void> {
  await sim.mirror({ failover: 'off' });
  sim.world.node('server2').createFile('/4kn', MIB, 'block', 4096);
}

describe('a leg of sectors larger than those of the mirror', () => {
  it('is refused by extend', async () => {
    await Sim.run({}, async (sim) => {
      sim.world.node('server2').createFile('/4kn', MIB, 'block', 4096);
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.refuses('server1', 'extend', sim.extendParams('server2', 10, { leg: '/4kn' }), 'refused', tooLarge);
    });
  });

  it('is refused by replace before the old leg is given up', async () => {
    await Sim.run({}, async (sim) => {
      await twoNodes(sim);
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server2', leg: '/4kn' }, 'refused', tooLarge);
      await sim.inSync('server1', 'server2');
      await sim.write('server1', 0, 4096, 9);
    });
  });
});

describe('replace', () => {
  it('refuses a leg that is too small before the old one is given up', async () => {
    await Sim.run({}, async (sim) => {
      await twoNodes(sim);
      sim.world.node('server2').createFile('/small', 4096, 'block');
      const small = /server2: \/small has 4096 bytes, the mirror needs 1048576$/;
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server2', leg: '/small' }, 'refused', small);
      await sim.inSync('server1', 'server2');
    });
  });
});

describe('a foreign target of blocks larger than the sectors of the mirror', () => {
  it('is refused by extend, with what is allowed', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      for (const o of [{ tag: 'u', leg: '/u', sectorBytes: 4096 }, {}]) await sim.call('server1', 'create', sim.createParams(o));
      for (const tag of ['u', 't']) await sim.call('server1', 'in-service', { tag });
      const foreign = sim.extendParams('elsewhere', 10, { leg: null, foreignUri: 'nbd+unix:///u?socket=/var/run/nbd.sock' });
      const message = /^elsewhere can not be a target of t: nbd\+unix.* takes only blocks of 4096 bytes, and mirror t of 512: .*--sector-size 4096$/;
      await sim.refuses('server1', 'extend', foreign, 'refused', message);
    });
  });
});

describe('a leg file that is made', () => {
  it('is still there, under its name, after a power failure (M1)', async () => {
    for (let seed = 1; seed <= 8; seed += 1) {
      await Sim.run({ seed }, async (sim) => {
        await sim.mirror();
        for (const n of sim.names) sim.world.node(n).powerFail();
        expect(sim.names.map((n) => sim.world.node(n).peek('/leg')?.length)).toEqual([MIB, MIB]);
      });
    }
  });

  it('is gone again where it can not be made durable', async () => {
    await Sim.run({}, async (sim) => {
      sim.world.node('server1').fail('/', { op: 'sync', errno: Errno.EIO, times: 1 });
      await sim.refuses('server1', 'create', sim.createParams(), 'io', /EIO/);
      await sim.mirror();
    });
  });

  it('and can not be removed is left, and said to be', async () => {
    await Sim.run({}, async (sim) => {
      const { files } = sim.world.client('server1');
      const broken = {
        stat: (path: string) => files.stat(path),
        open: (path: string, o: OpenOptions) => files.open(path, o),
        syncDirectory: () => Promise.reject(new IoError(Errno.EIO, 'the folder')),
        unlink: () => Promise.reject(new IoError(Errno.EROFS, 'the file')),
      };
      const why = /the folder; and \/leg is left there: .*the file/;
      await expect(makeLegFile(broken, '/leg', MIB)).rejects.toMatchObject({ errno: Errno.EIO, message: expect.stringMatching(why) as unknown });
      expect(sim.world.node('server1').peek('/leg')?.length).toBe(MIB);
    });
  });
});

describe('a mirror that is made larger out of service', () => {
  it('has a leg of that size also after a power failure, and goes in service', async () => {
    for (let seed = 1; seed <= 8; seed += 1) {
      await Sim.run({ nodes: ['server1'], seed }, async (sim) => {
        await sim.call('server1', 'create', sim.createParams());
        await sim.call('server1', 'resize', { tag: 't', sizeBytes: 4 * MIB, force: false });
        sim.world.node('server1').powerFail();
        expect(sim.world.node('server1').peek('/leg')).toHaveLength(4 * MIB);
        await sim.start('server1');
        await sim.call('server1', 'in-service', { tag: 't' });
      });
    }
  });

  it('is refused where its disk does not answer a sync in time, and can be made larger when it does (M14)', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      sim.world.node('server1').createFile('/leg', 4 * MIB, 'block');
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: 2 * MIB, force: false });
      sim.world.node('server1').stall('/leg');
      const larger = { tag: 't', sizeBytes: 4 * MIB, force: false };
      await expect(sim.call('server1', 'resize', larger)).rejects.toThrow(/a sync of \/leg has not ended in time/);
      expect((await sim.status('server1')).sizeBytes).toBe(2 * MIB);
      sim.world.node('server1').repairDisk();
      expect((await sim.call('server1', 'resize', larger)).sizeBytes).toBe(4 * MIB);
    });
  });
});
