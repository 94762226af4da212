import { describe, expect, it } from 'vitest';
import type { ControlEvent } from '../../../src/control/types.ts';
import { MIB, REGION, Sim } from './sim.ts';

async function overwrite(sim: Sim, node: string, path: string, text: string): Promise<void> {
  const f = await sim.world.client(node).files.open(path, { write: true, create: true });
  await f.truncate(0);
  await f.write(new TextEncoder().encode(text), 0);
  await f.sync();
  await f.close();
}

const FLAGS = '/var/subsys/scsi/resources/netraid';

describe('a daemon that starts', () => {
  it('makes its folders, knows no mirror, and stops', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      expect(sim.world.node('server1').peekFolder('/var')).toEqual(expect.arrayContaining(['run', 'subsys']));
      expect(await sim.call('server1', 'info', {})).toEqual({
        node: 'server1',
        cluster: 'c',
        version: '1.2.3',
        peers: {},
        mirrors: [],
        broken: [],
        refused: { clients: 0, nodes: 0, sessions: 0 },
        tls: null,
      });
      await sim.stop('server1');
      await sim.start('server1');
      expect(await sim.call('server1', 'list', {})).toEqual([]);
    });
  });

  it('finds its mirrors again, and goes in service by itself when the records prove it the newest', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      for (const n of ['server1', 'server2']) sim.crash(n);
      for (const n of ['server2', 'server1']) await sim.start(n);
      await sim.until('somebody serves', async () => (await sim.status('server1')).inService || (await sim.status('server2')).inService);
      expect((await sim.status('server1')).inService).toBe(true);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('after both were stopped in order goes on, without any resync', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 1);
      await sim.stop('server1');
      await sim.stop('server2');
      for (const n of ['server1', 'server2']) await sim.start(n);
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toBeNull();
    });
  });

  it('after both were stopped in order goes on alone, as every target wrote the clean stop down', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 3);
      await sim.stop('server1');
      await sim.stop('server2');
      await sim.start('server1');
      await sim.until('server1 is in service', async () => (await sim.status('server1')).inService);
      expect((await sim.status('server1')).decision).toMatchObject({ rule: 'source-alone-agreed' });
      expect((await sim.read('server1', 0, 512))[0]).toBe(3);
      await sim.write('server1', REGION, 4096, 4);
      await sim.start('server2');
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('takes over after a clean stop where the mirror is set so, and its source does not go on alone then', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ takeoverAfterCleanStop: true });
      expect((await sim.status('server2')).takeoverAfterCleanStop).toBe(true);
      await sim.stop('server1');
      await sim.until('server2 took over', () => sim.daemon('server2').recentEvents.some((e) => e.kind === 'in-service'));
      await sim.write('server2', 0, 4096, 7);
      sim.crash('server2');
      await sim.start('server1');
      await sim.world.sleep(10_000);
      expect(await sim.status('server1')).toMatchObject({ inService: false, decision: { rule: 'source-alone' } });
      await sim.start('server2');
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('while the source was stopped on purpose does not take over on silence', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await sim.stop('server1');
      await sim.world.sleep(20_000);
      expect(await sim.status('server2')).toMatchObject({ inService: false, decision: { rule: 'stopped-on-purpose' } });
    });
  });

  it('with a missing bitmap file says so, and the target is resynced in full (M13)', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await sim.stop('server1');
      await sim.world.client('server1').files.unlink('/var/bitmap_t');
      const events: ControlEvent[] = [];
      await sim.start('server1');
      events.push(...sim.daemon('server1').recentEvents);
      expect(events.filter((e) => e.kind === 'bitmap-damaged')).toHaveLength(1);
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'full', bytes: MIB });
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('with a missing state record leaves the mirror out of service with a clear error; nothing is re-created (M13)', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.stop('server1');
      await sim.world.client('server1').files.unlink('/var/state_t');
      await sim.start('server1');
      await sim.refuses('server1', 'status', { tag: 't' }, 'refused', /the state record is missing, although there is a bitmap file bitmap_t/);
      await sim.world.sleep(5000);
      expect(sim.world.node('server1').peekFolder('/var')).not.toContain('state_t');
    });
  });

  it('with garbage in one TAG_source leaves that mirror out, and serves the others (M13)', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'create', sim.createParams({ tag: 'u', leg: '/leg2' }));
      await sim.call('server1', 'in-service', { tag: 'u' });
      await sim.stop('server1');
      await overwrite(sim, 'server1', `${FLAGS}/t_source`, 'no such/name!\n');
      await sim.start('server1');
      await sim.refuses('server1', 'status', { tag: 't' }, 'refused', /t_source/);
      await sim.until('u serves', async () => (await sim.status('server1', 'u')).inService);
    });
  });

  it('with a file named as a state record of no possible tag goes on', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.stop('server1');
      await overwrite(sim, 'server1', '/var/state_a b', 'x');
      await sim.start('server1');
      expect(await sim.call('server1', 'list', {})).toEqual([]);
      expect([...sim.daemon('server1').broken.keys()]).toEqual(['a b']);
    });
  });

  it('whose leg is gone stays out of service, says why, and comes back with the leg', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.stop('server1');
      const { files } = sim.world.client('server1');
      await files.rename('/leg', '/elsewhere');
      await sim.start('server1');
      await sim.world.sleep(5000);
      expect((await sim.status('server1')).inService).toBe(false);
      await expect(sim.call('server1', 'in-service', { tag: 't' })).rejects.toMatchObject({
        code: 'io',
        message: expect.stringContaining('/leg') as unknown,
      });
      await files.rename('/elsewhere', '/leg');
      await sim.until('it serves', async () => (await sim.status('server1')).inService);
    });
  });
});

describe('flags are real inputs', () => {
  it('data_corrupt touched by hand keeps a node out; deleted by hand, in-service equals force', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      for (const n of ['server1', 'server2']) sim.crash(n);
      await sim.start('server1');
      await sim.until('data_corrupt is set', async () => (await sim.status('server1')).flags.dataCorrupt);
      await sim.world.client('server1').files.unlink(`${FLAGS}/t_data_corrupt`);
      await sim.world.sleep(3000);
      expect(await sim.status('server1')).toMatchObject({ inService: false });
      await sim.refuses('server1', 'in-service', { tag: 't' }, 'unconfirmed', /which was not confirmed/);
      expect(await sim.call('server1', 'in-service', { tag: 't', confirmed: ['force'] })).toMatchObject({ inService: true });
    });
  });
});

describe('events', () => {
  it('reach whoever listens until he stops, and the last ones are kept', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      const heard: ControlEvent[] = [];
      const listening = await sim.control('server1').events((e) => heard.push(e));
      await sim.mirror();
      expect(heard.map((e) => e.kind)).toEqual(expect.arrayContaining(['decision', 'in-service']));
      expect(heard.find((e) => e.kind === 'in-service')).toMatchObject({
        tag: 't',
        message: expect.stringMatching(/^in service on server1: /) as unknown,
        fields: { epoch: 1 },
      });
      listening.stop();
      const n = heard.length;
      await sim.call('server1', 'out-of-service', { tag: 't' });
      expect(heard).toHaveLength(n);
      expect(
        sim
          .daemon('server1')
          .recentEvents.slice(-2)
          .map((e) => e.kind),
      ).toEqual(['out-of-service', 'decision']);
    });
  });
});

describe('adopting a mirror from another node', () => {
  it('is refused where the mirror is on another leg already, so that no replacement silently keeps the old disk', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const definition = sim.daemon('server1').mirrors.get('t')?.record().definition;
      if (definition === undefined) throw new Error('no mirror');
      const d2 = sim.daemon('server2');
      await d2.adopt('server1', definition, true);
      const moved = { ...definition, nodes: { ...definition.nodes, server2: { priority: 10, leg: '/other', mode: 'sync' as const } } };
      await expect(d2.adopt('server1', moved, true)).rejects.toThrow(/on \/leg already/);
      await expect(d2.adopt('server1', { ...definition, createId: 'f'.repeat(16) }, true)).rejects.toThrow(/another mirror t/);
      await expect(
        d2.adopt('server1', { ...definition, tag: 'v', nodes: { server1: { priority: 1, leg: '/l', mode: 'sync' } } }, true),
      ).rejects.toThrow(/does not name server2/);
    });
  });

  it('asked twice at once makes it once', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      const definition = sim.daemon('server1').mirrors.get('t')?.record().definition;
      if (definition === undefined) throw new Error('no mirror');
      const both = { ...definition, nodes: { ...definition.nodes, server2: { priority: 10, leg: '/leg', mode: 'sync' as const } } };
      const d2 = sim.daemon('server2');
      let installed = 0;
      const install = d2.install.bind(d2);
      d2.install = (...args) => {
        installed += 1;
        return install(...args);
      };
      const results = await Promise.allSettled([d2.adopt('server1', both, true), d2.adopt('server1', both, true)]);
      expect(results.map((r) => r.status)).toEqual(['fulfilled', 'fulfilled']);
      expect([...d2.mirrors.keys()]).toEqual(['t']);
      expect(installed).toBe(1);
    });
  });
});
