import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, Sim } from './sim.ts';

const disk = (sim: Sim, node: string, path: string, sectorBytes: number, sizeBytes = MIB): void => {
  sim.world.node(node).createFile(path, sizeBytes, 'block', sectorBytes);
};

describe('the sector size of a new mirror', () => {
  it('is that of its first leg, 512 for a file', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      disk(sim, 'server1', '/4kn', 4096);
      expect(await sim.call('server1', 'create', sim.createParams({ leg: '/4kn', sizeBytes: null }))).toMatchObject({
        sectorBytes: 4096,
        sizeBytes: MIB,
      });
      expect(await sim.call('server1', 'create', sim.createParams({ tag: 'u' }))).toMatchObject({ sectorBytes: 512 });
    });
  });

  it('is what the operator says, and outlives the daemon', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      expect(await sim.call('server1', 'create', sim.createParams({ sectorBytes: 4096 }))).toMatchObject({ sectorBytes: 4096 });
      await sim.stop('server1');
      await sim.start('server1');
      expect(await sim.status('server1')).toMatchObject({ sectorBytes: 4096 });
    });
  });

  it('is not written down when it is 512, so that the record is that of an older node', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams({ sectorBytes: 512 }));
      const { facts } = await sim.call('server1', 'explain', { tag: 't', whatIf: null });
      expect(facts.record.definition).not.toHaveProperty('sectorSizeBytes');
    });
  });

  it('makes the size a multiple of itself', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      sim.world.node('server1').createFile('/odd', MIB + 1024, 'file');
      const made = await sim.call('server1', 'create', sim.createParams({ leg: '/odd', sizeBytes: null, sectorBytes: 4096 }));
      expect(made).toMatchObject({ sizeBytes: MIB });
      const odd = sim.createParams({ tag: 'u', leg: '/new', sizeBytes: MIB + 512, sectorBytes: 4096 });
      await sim.refuses('server1', 'create', odd, 'bad-request', /^size 1049088: allowed is .* in whole sectors of 4096 bytes$/);
      disk(sim, 'server1', '/4kn', 4096, 2 * MIB);
      await sim.refuses(
        'server1',
        'create',
        sim.createParams({ tag: 'u', leg: '/4kn', sizeBytes: MIB + 512 }),
        'bad-request',
        /whole sectors of 4096/,
      );
      await sim.refuses('server1', 'resize', { tag: 't', sizeBytes: 2 * MIB + 512, force: false }, 'bad-request', /whole sectors of 4096 bytes$/);
    });
  });

  it('is refused when it is none, or smaller than that of the leg', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      disk(sim, 'server1', '/4kn', 4096);
      disk(sim, 'server1', '/8k', 8192);
      for (const sectorBytes of [0, 1, 256, 1000, 8192, 512.5])
        await sim.refuses('server1', 'create', sim.createParams({ sectorBytes }), 'bad-request', /sectorBytes: .*a power of two from 512 to 4096/);
      const small = sim.createParams({ leg: '/4kn', sectorBytes: 512 });
      await sim.refuses('server1', 'create', small, 'refused', /^\/4kn has sectors of 4096 bytes, and mirror t of 512: .*create --sector-size 4096$/);
      await sim.refuses(
        'server1',
        'create',
        sim.createParams({ leg: '/8k' }),
        'refused',
        /^\/8k has sectors of 8192 bytes.*no mirror takes more than 4096$/,
      );
    });
  });
});

describe('clients of a mirror', () => {
  it('are told its sector size on every node, and must keep to it', async () => {
    await Sim.run({}, async (sim) => {
      disk(sim, 'server2', '/4kn', 4096);
      await sim.call('server1', 'create', sim.createParams({ sectorBytes: 4096 }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/4kn' }));
      await sim.inSync('server1', 'server2');
      // A replica's export says what its leg takes.
      const replica = (node: string): number | undefined => sim.daemon(node).mirrors.get('t')?.replica.session?.device.info().blockSizeMinBytes;
      expect(replica('server2')).toBe(4096);
      for (const node of ['server1', 'server2']) {
        const c = await sim.client(node);
        expect(c.info.blockSizeMinBytes).toBe(4096);
        await expect(c.writeBytes(512, new Uint8Array(4096))).rejects.toThrow(/EINVAL/);
        await expect(c.writeBytes(4096, new Uint8Array(512))).rejects.toThrow(/EINVAL/);
        await expect(c.readBytes(0, 512)).rejects.toThrow(/EINVAL/);
        await c.writeBytes(8192, new Uint8Array(4096).fill(7));
        await c.disconnect();
        if (node === 'server1') await sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      }
      await sim.inSync('server2', 'server1');
      expect(replica('server1')).toBe(512);
      expect(sim.legsDiffer('server1', 'server2', '/leg', '/4kn')).toBe(-1);
    });
  });

  it('are not the only ones: a resync and a verify take whole sectors, however much they are told to take at a time', async () => {
    const resync = { ...DEFAULT_SETTINGS.resync, copyBytes: 5000 };
    await Sim.run({ settings: { resync } }, async (sim) => {
      disk(sim, 'server2', '/4kn', 4096);
      await sim.call('server1', 'create', sim.createParams({ sectorBytes: 4096, zeroed: false }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 0, 128 * 1024, 9);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/4kn', zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2', '/leg', '/4kn')).toBe(-1);
      await sim.call('server1', 'verify', { tag: 't' });
      const result = () => sim.call('server1', 'verify-result', { tag: 't' });
      await sim.until('it has compared', async () => (await result())?.running === false);
      expect(await result()).toMatchObject({ comparedBytes: MIB, differingBytes: 0, notCompared: [] });
    });
  });

  it('may write 512 bytes where nothing else was said', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 512, 512, 7);
      await expect(sim.write('server1', 100, 512, 7)).rejects.toThrow(/EINVAL/);
    });
  });
});
