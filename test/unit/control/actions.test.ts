import { describe, expect, it } from 'vitest';
import { DaemonControl } from '../../../src/control/actions.ts';
import { newRecord } from '../../../src/failover/record.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, REGION, Sim } from './sim.ts';

describe('create', () => {
  it('takes regions by the size of the device where none are asked for, and none are set', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      const control = new DaemonControl(sim.daemon('server1'), { version: '1.2.3', regionBytes: null, waitForPreviousSourceSec: -1 });
      for (const [tag, sizeBytes, regionBytes] of [
        ['small', MIB, 256 * 1024],
        ['large', 8 * 1024 * MIB, 16 * 1024],
      ] as const) {
        const s = await control.call('create', sim.createParams({ tag, leg: `/${tag}`, sizeBytes }));
        expect(s).toMatchObject({ sizeBytes, regionBytes, regions: sizeBytes / regionBytes });
      }
    });
  });

  it('makes a mirror and its leg file, out of service until it is told', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      const s = await sim.call('server1', 'create', sim.createParams());
      expect(s).toMatchObject({
        tag: 't',
        node: 'server1',
        inService: false,
        state: 'Waiting',
        sizeBytes: MIB,
        regionBytes: REGION,
        regions: 16,
        leg: '/leg',
        export: null,
      });
      expect(sim.world.node('server1').peek('/leg')?.length).toBe(MIB);
      expect((await sim.call('server1', 'info', {})).mirrors).toEqual(['t']);
      const up = await sim.call('server1', 'in-service', { tag: 't' });
      expect(up).toMatchObject({ inService: true, state: 'Source', source: 'server1', export: { socketPath: '/var/run/nbd.sock', name: 't' } });
      await sim.write('server1', 99_840, 50_176, 7);
      expect((await sim.read('server1', 99_840, 50_176)).every((x) => x === 7)).toBe(true);
    });
  });

  it('takes the size of a leg that is there, whole sectors of it', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      sim.world.node('server1').createFile('/disk', 2 * MIB, 'block');
      expect(await sim.call('server1', 'create', sim.createParams({ leg: '/disk', sizeBytes: null }))).toMatchObject({ sizeBytes: 2 * MIB });
      sim.world.node('server1').createFile('/odd', MIB + 100, 'file');
      expect(await sim.call('server1', 'create', sim.createParams({ tag: 'odd', leg: '/odd', sizeBytes: null }))).toMatchObject({ sizeBytes: MIB });
    });
  });

  it('refuses what can not be, and changes nothing', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      sim.world.node('server1').createFile('/small', 4096, 'file');
      const no = (o: Parameters<Sim['createParams']>[0], code: Parameters<Sim['refuses']>[3], message: RegExp): Promise<void> =>
        sim.refuses('server1', 'create', sim.createParams(o), code, message);
      for (const sizeBytes of [1000, 4096 + 100]) await no({ sizeBytes }, 'bad-request', /^size .*allowed is 4 KiB to 64 TiB/);
      for (const sizeBytes of [0, -512, 1.5, Number.NaN, 2 ** 47]) await no({ sizeBytes }, 'bad-request', /size/i);
      for (const regionBytes of [0, 1, 1000, 2048, 65537, 2 ** 30]) await no({ regionBytes }, 'bad-request', /region.*(power of two|expected)/i);
      for (const tag of ['', '../x', 'a b', 't.tmp', '-t', 'constructor', 'x'.repeat(65)]) await no({ tag }, 'bad-request', /is not a tag/);
      await no({ leg: 'leg' }, 'bad-request', /absolute path/);
      await no({ sizeBytes: null }, 'bad-request', /\/leg does not exist; give a size/);
      await no({ leg: '/var', sizeBytes: null }, 'bad-request', /\/var is a directory/);
      await no({ leg: '/small' }, 'refused', /\/small has 4096 bytes, the mirror needs 1048576/);
      await no({ leg: '/nowhere/leg' }, 'io', /nowhere/);
      for (const priority of [-1, 1.5, Number.NaN]) await no({ priority }, 'bad-request', /priority/);
      for (const failureTimeoutMs of [0, 5, 1e12]) await no({ failureTimeoutMs }, 'bad-request', /timeout/i);
      await no({ waitForPreviousSourceSec: -2 }, 'bad-request', /wait/i);
    });
  });

  it('refuses a tag that exists, and a leg that is in use', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.refuses('server1', 'create', sim.createParams({ leg: '/other' }), 'conflict', /mirror t exists already on server1/);
      await sim.refuses('server1', 'create', sim.createParams({ tag: 'u' }), 'refused', /\/leg is the leg of mirror t/);
    });
  });

  it('asked twice at once makes one mirror', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      const both = await Promise.allSettled([
        sim.call('server1', 'create', sim.createParams()),
        sim.call('server1', 'create', sim.createParams({ leg: '/other' })),
      ]);
      expect(both.map((r) => r.status).sort()).toEqual(['fulfilled', 'rejected']);
      expect((await sim.status('server1')).leg).toBe(both[0].status === 'fulfilled' ? '/leg' : '/other');
    });
  });
});

describe('finding a mirror', () => {
  it('names what is known when asked for one that is not there', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.refuses('server1', 'status', { tag: 'x' }, 'not-found', /^no mirror x on server1; known: none$/);
      await sim.call('server1', 'create', sim.createParams());
      await sim.refuses('server1', 'status', { tag: 'x' }, 'not-found', /known: t$/);
      await sim.refuses('server1', 'status', { tag: '../x' }, 'bad-request', /is not a tag/);
    });
  });

  it('whatever needs the mirror in service says where to run it', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const elsewhere = /^mirror t is not in service on server2; run this on server1$/;
      await sim.refuses('server2', 'pause', { tag: 't', nodes: [] }, 'refused', elsewhere);
      await sim.refuses('server2', 'resume', { tag: 't', nodes: [] }, 'refused', elsewhere);
      await sim.refuses('server2', 'fullresync', { tag: 't', source: null, nodes: [] }, 'refused', elsewhere);
      await sim.refuses('server2', 'unextend', { tag: 't', node: 'server1' }, 'refused', elsewhere);
      await sim.refuses('server2', 'extend', sim.extendParams('server3', 20), 'refused', elsewhere);
      await sim.refuses('server2', 'replace', { tag: 't', node: 'server1', leg: '/x' }, 'refused', elsewhere);
      await sim.refuses('server2', 'verify', { tag: 't' }, 'refused', elsewhere);
      await sim.refuses('server2', 'clear-bitmap', { tag: 't', node: 'server1' }, 'refused', elsewhere);
      await sim.refuses('server2', 'out-of-service', { tag: 't' }, 'refused', /not in service on server2/);
    });
  });
});

describe('extend', () => {
  it('adds targets, the first copy of zeroes costs nothing', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      const s = await sim.status('server1');
      expect(s.targets.map((t) => [t.node, t.state, t.priority, t.mode, t.dirtyBytes])).toEqual([
        ['server2', 'Target', 10, 'sync', 0],
        ['server3', 'Target', 20, 'sync', 0],
      ]);
      expect(s.targets.map((t) => t.lastResync)).toEqual([null, null]);
      await sim.write('server1', 0, MIB, 5);
      for (const n of ['server2', 'server3']) expect(sim.legsDiffer('server1', n)).toBe(-1);
      expect(await sim.status('server2')).toMatchObject({ state: 'Target', inService: false, source: 'server1' });
    });
  });

  it('copies everything to a target of a mirror that has data', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 99_840, 300_032, 5);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10));
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      const [t] = (await sim.status('server1')).targets;
      expect(t?.lastResync).toMatchObject({ target: 'server2', kind: 'full', bytes: MIB });
      expect(t?.rule).toBe('blank');
    });
  });

  it('copies everything when the leg is not known to be zeroes', async () => {
    await Sim.run({}, async (sim) => {
      sim.world.node('server2').createFile('/old', MIB, 'block');
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/old', zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'full' });
    });
  });

  it('refuses what can not be, and changes nothing on either node', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      sim.world.node('server3').createFile('/small', 4096, 'file');
      await sim.call('server1', 'create', sim.createParams());
      await sim.refuses('server1', 'extend', sim.extendParams('server2', 10), 'refused', /mirror t is not in service on server1$/);
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10));
      await sim.inSync('server1', 'server2');
      const no = (
        node: string,
        priority: number,
        o: Parameters<Sim['extendParams']>[2],
        code: Parameters<Sim['refuses']>[3],
        message: RegExp,
      ): Promise<void> => sim.refuses('server1', 'extend', sim.extendParams(node, priority, o), code, message);
      await no('server2', 30, { leg: '/second' }, 'conflict', /server2 has a leg of t already; a node holds one/);
      await no('server1', 30, { leg: '/second' }, 'conflict', /server1 has a leg of t already/);
      await no('server3', 1, {}, 'conflict', /priority 1 is taken/);
      await no('server3', 10, {}, 'conflict', /priority 10 is taken/);
      await no('server9', 30, {}, 'not-found', /server9 is not in this node's configuration; peers: server2, server3/);
      await no('../x', 30, {}, 'bad-request', /is not a node name/);
      await no('server3', 30, { leg: null }, 'bad-request', /either (a )?leg/);
      await no('server3', 30, { foreignUri: 'nbd://h/x' }, 'bad-request', /either (a )?leg/);
      await no('elsewhere', 30, { leg: null, foreignUri: 'http://h/x' }, 'bad-request', /http:\/\/h\/x|URI/);
      await no('server3', 30, { leg: 'leg' }, 'bad-request', /absolute path/);
      for (const priority of [-1, 1.5]) await no('server3', priority, {}, 'bad-request', /priority/);
      await no('server3', 30, { leg: '/small' }, 'refused', /server3: \/small has 4096 bytes, the mirror needs 1048576/);
      await no('server3', 30, { leg: '/nowhere/leg' }, 'refused', /server3: .*nowhere/);
      await sim.call('server3', 'create', sim.createParams({ tag: 'u', leg: '/leg' }));
      await no('server3', 30, {}, 'refused', /server3: \/leg is the leg of mirror u/);
      await sim.call('server3', 'create', sim.createParams({ leg: '/leg3' }));
      await no('server3', 30, { leg: '/leg4' }, 'refused', /server3 already has another mirror t/);
    });
  });

  it('refuses a node that can not be reached', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      sim.crash('server2');
      await sim.until('server2 is lost', () => !sim.daemon('server1').env.cluster.connected('server2'));
      await sim.refuses('server1', 'extend', sim.extendParams('server2', 10), 'unreachable', /server2/);
    });
  });

  it('refuses a foreign target that can not be one, and takes one that can', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'create', sim.createParams({ tag: 'small', leg: '/small', sizeBytes: MIB / 2 }));
      await sim.call('server1', 'create', sim.createParams({ tag: 'fit', leg: '/fit' }));
      for (const tag of ['small', 'fit']) await sim.call('server1', 'in-service', { tag });
      const to = (foreignUri: string) => sim.extendParams('far', 10, { leg: null, foreignUri });
      const here = (name: string) => `nbd+unix:///${name}?socket=/var/run/nbd.sock`;
      for (const [uri, code, why] of [
        ['nbd://', 'bad-request', /NBD URI/],
        ['nbd://server1:1/x', 'refused', /far can not be a target of t: server1:1/],
        [here('none'), 'refused', /far can not be a target of t: .*none/],
        [here('small'), 'refused', /far can not be a target of t: .* has 524288 bytes, the mirror 1048576/],
      ] as const) {
        await sim.refuses('server1', 'extend', to(uri), code, why);
        expect((await sim.status('server1')).targets).toEqual([]);
      }
      await sim.call('server1', 'extend', to(here('fit')));
      await sim.inSync('server1', 'far');
    });
  });

  it('refuses an eighth target', async () => {
    const nodes = Array.from({ length: 9 }, (_x, i) => `server${String(i + 1)}`);
    await Sim.run({ nodes }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      for (const [i, n] of nodes.slice(1, 8).entries()) await sim.call('server1', 'extend', sim.extendParams(n, 10 * (i + 1)));
      await sim.refuses('server1', 'extend', sim.extendParams('server9', 90), 'refused', /7 targets, which is the most/);
      await sim.inSync('server1', ...nodes.slice(1, 8));
    });
  });

  it('asked for two nodes with one priority at once takes one', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      const both = await Promise.allSettled([
        sim.call('server1', 'extend', sim.extendParams('server2', 10)),
        sim.call('server1', 'extend', sim.extendParams('server3', 10)),
      ]);
      expect(both.map((r) => r.status).sort()).toEqual(['fulfilled', 'rejected']);
    });
  });
});

describe('unextend, replace, delete', () => {
  it('unextend forgets the mirror on the target, whose leg keeps its data', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 199_680, 9);
      const s = await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect(s.targets.map((t) => t.node)).toEqual(['server3']);
      expect(Object.keys(s.nodes)).toEqual(['server1', 'server3']);
      expect(sim.daemon('server2').mirrors.size).toBe(0);
      expect(Object.keys(sim.onDisk()).filter((k) => k.startsWith('server2:') && /_t$|t_/.test(k))).toEqual([]);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      await sim.write('server1', 0, 4096, 1);
      expect(sim.legsDiffer('server1', 'server2')).not.toBe(-1);
      await sim.refuses('server1', 'unextend', { tag: 't', node: 'server2' }, 'not-found', /server2 is not a target of t; targets: server3/);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.inSync('server1', 'server2', 'server3');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('unextend of a node that is away: the source goes on without it', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      sim.crash('server2');
      await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect((await sim.status('server1')).targets).toEqual([]);
      await sim.write('server1', 0, 4096, 1);
      await sim.stop('server1');
      await sim.start('server1');
      await sim.call('server1', 'in-service', { tag: 't' });
      expect((await sim.read('server1', 0, 512))[0]).toBe(1);
    });
  });

  it('a node that was removed while it was cut off learns so, stays out for good, and can be added again', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror({ failover: 'confirm' });
      sim.world.cut('server1', 'server2');
      await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
      await sim.write('server1', 0, 4096, 1);
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      sim.world.heal('server1', 'server2');
      await sim.until(
        'server2 has written it down',
        () => sim.daemon('server2').mirrors.get('t')?.record().definition.nodes['server2'] === undefined,
      );
      sim.crash('server1');
      await sim.until('server1 is silent', () => (sim.daemon('server2').env.cluster.silentForMs('server1') ?? 0) > 4000);
      await sim.refuses('server2', 'in-service', { tag: 't' }, 'refused', /server2 is no longer part of the mirror/);
      await sim.start('server1');
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.until('they hear each other', () => sim.daemon('server1').env.cluster.connected('server2'));
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'full' });
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('replace moves a target to another leg, with a full resync', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 199_680, 9);
      await sim.call('server1', 'replace', { tag: 't', node: 'server2', leg: '/new' });
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2', '/leg', '/new')).toBe(-1);
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'full' });
      expect((await sim.status('server2')).leg).toBe('/new');
      await sim.write('server1', 0, 4096, 3);
      expect(sim.legsDiffer('server1', 'server2', '/leg', '/new')).toBe(-1);
    });
  });

  it('replace refuses a node that is away, one that is no target, and a path that is none', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server9', leg: '/new' }, 'not-found', /server9 is not a target of t/);
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server2', leg: 'new' }, 'bad-request', /absolute path/);
      sim.crash('server2');
      await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server2', leg: '/new' }, 'unreachable', /server2 can not be reached/);
    });
  });

  it('delete names the nodes that keep their records because they could not be reached, and can be said there later', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      sim.crash('server3');
      await sim.until('server3 is away', () => !sim.daemon('server1').env.cluster.connected('server3'));
      const { lines } = await sim.call('server1', 'preview', { tag: 't', action: 'delete', nodes: [], source: null });
      expect(lines).toEqual([
        'mirror t is forgotten on server1, server2: records, bitmaps and flags go, the legs keep their data',
        'server3 can not be reached: the records there stay until netraid delete t is said there',
      ]);
      expect(await sim.call('server1', 'delete', { tag: 't' })).toEqual({ forgotten: ['server1', 'server2'], unreached: ['server3'] });
      await sim.start('server3');
      expect((await sim.status('server3')).inService).toBe(false);
      await sim.until('all hear each other', () => sim.daemon('server3').env.cluster.reachable().length === 2);
      expect(await sim.call('server3', 'delete', { tag: 't' })).toMatchObject({ unreached: [] });
      expect(await sim.call('server3', 'list', {})).toEqual([]);
    });
  });

  it('delete forgets the mirror on every node that can be reached; legs keep their data', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 9);
      await sim.refuses('server2', 'delete', { tag: 't' }, 'refused', /t is in service on server1/);
      expect(await sim.call('server1', 'delete', { tag: 't' })).toEqual({ forgotten: ['server1', 'server2'], unreached: [] });
      expect(await sim.call('server1', 'list', {})).toEqual([]);
      expect(Object.keys(sim.onDisk()).filter((k) => /(state|bitmap)_t$|\/t_/.test(k))).toEqual([]);
      await sim.refuses('server1', 'delete', { tag: 't' }, 'not-found', /no mirror t/);
      await sim.stop('server1');
      await sim.start('server1');
      expect(sim.daemon('server1').mirrors.size).toBe(0);
      expect(sim.world.node('server2').peek('/leg')?.[0]).toBe(9);
    });
  });
});

describe('pause and resume', () => {
  it('pause takes a target out, writes go on and are marked; resume copies what was marked', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      const paused = await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      expect(paused.targets[0]?.state).toBe('Paused');
      await sim.until('server2 knows', async () => (await sim.status('server2')).state === 'Paused');
      await sim.write('server1', 3 * REGION, 2 * REGION, 6);
      expect((await sim.status('server1')).targets[0]?.dirtyBytes).toBeGreaterThanOrEqual(2 * REGION);
      expect(sim.world.node('server2').peek('/leg')?.[3 * REGION]).toBe(0);
      await sim.world.sleep(5000);
      expect(await sim.targetState('server1', 'server2')).toBe('Paused');
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.inSync('server1', 'server2');
      const [t] = (await sim.status('server1')).targets;
      expect(t?.lastResync).toMatchObject({ kind: 'partial' });
      expect(t?.lastResync?.bytes).toBeLessThan(MIB / 2);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('resume connects the target at once, however long a link rests between two tries', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ failureTimeoutMs: 20_000 });
      await sim.call('server1', 'pause', { tag: 't', nodes: [] });
      await sim.write('server1', 0, 4096, 5);
      const at = sim.world.now();
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.inSync('server1', 'server2');
      expect(sim.world.now() - at).toBeLessThan(1000);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('is known to whoever takes over, who leaves the target alone until it is resumed', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      await sim.write('server1', 0, 4096, 5);
      sim.crash('server1');
      const serves = (e: { tag: string; kind: string }): boolean => e.kind === 'in-service';
      await sim.until('server2 took over', () => sim.daemon('server2').recentEvents.some(serves));
      await sim.write('server2', REGION, 4096, 6);
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      await sim.world.sleep(5000);
      expect(await sim.targetState('server2', 'server3')).toBe('Paused');
      expect(sim.world.node('server3').peek('/leg')?.[0]).toBe(0);
      await sim.call('server2', 'resume', { tag: 't', nodes: ['server3'] });
      await sim.inSync('server2', 'server3');
      expect(sim.legsDiffer('server2', 'server3')).toBe(-1);
      for (const n of ['server1', 'server3']) expect(sim.daemon(n).mirrors.get('t')?.record().paused).toEqual([]);
    });
  });

  it('refuses nodes that are no targets, and a mirror without targets', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses('server1', 'pause', { tag: 't', nodes: ['server9'] }, 'not-found', /server9 is not a target of t; targets: server2/);
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      await sim.refuses('server1', 'pause', { tag: 't', nodes: [] }, 'refused', /t has no targets/);
    });
  });

  it('pause of a target that is about to be resynced holds', async () => {
    await Sim.run({ settings: {} }, async (sim) => {
      await sim.mirror();
      sim.crash('server2');
      await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
      await sim.write('server1', 0, MIB / 2, 4);
      await sim.start('server2');
      await sim.until('server2 is seen', () => sim.daemon('server1').env.cluster.connected('server2'));
      for (let i = 0; i < 10; i += 1) {
        await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
        await sim.world.sleep(500);
        expect(sim.daemon('server1').mirrors.get('t')?.source?.links.get('server2')?.leg.phase).toBe('out');
        await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
        await sim.world.sleep(3 * i);
      }
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});

describe('full resync', () => {
  it('copies the whole device, whatever is marked', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 99_840, 6);
      await sim.call('server1', 'fullresync', { tag: 't', source: 'server1', nodes: ['server2'] });
      await sim.until('a full resync is done', async () => (await sim.status('server1')).targets[0]?.lastResync?.kind === 'full');
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'full', bytes: MIB });
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('ordered while a partial one is under way is carried out as well', async () => {
    await Sim.run({ settings: {} }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: [] });
      await sim.write('server1', 0, MIB / 2, 6);
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.world.sleep(7);
      await sim.call('server1', 'fullresync', { tag: 't', source: null, nodes: [] });
      await sim.until('a full resync is done', async () => (await sim.status('server1')).targets[0]?.lastResync?.kind === 'full');
    });
  });

  it('refuses a source that is not the node in service', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.refuses('server1', 'fullresync', { tag: 't', source: 'server9', nodes: [] }, 'refused', /server9 is not in service/);
      await sim.refuses('server1', 'fullresync', { tag: 't', source: 'server2', nodes: ['server3'] }, 'refused', /server2 is not in service/);
      await sim.refuses('server1', 'fullresync', { tag: 't', source: 'server1', nodes: ['server9'] }, 'not-found', /server9 is not a target/);
    });
  });
});

describe('verify', () => {
  const ended = async (sim: Sim): Promise<void> => {
    await sim.until('verify ends', async () => (await sim.call('server1', 'verify-result', { tag: 't' }))?.running === false);
  };

  it('finds no difference where there is none, and tells how it went', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 300_032, 6);
      expect(await sim.call('server1', 'verify-result', { tag: 't' })).toBeNull();
      expect(await sim.call('server1', 'verify', { tag: 't' })).toEqual({ started: true });
      expect((await sim.status('server1')).verify).toMatchObject({ kind: 'verify', totalBytes: MIB });
      expect(await sim.call('server1', 'verify', { tag: 't' })).toEqual({ started: false });
      await ended(sim);
      expect(await sim.call('server1', 'verify-result', { tag: 't' })).toEqual({
        running: false,
        comparedBytes: MIB,
        differingBytes: 0,
        ranges: [],
        notCompared: [],
      });
      expect((await sim.status('server1')).verify).toBeNull();
      expect(await sim.targetState('server1', 'server2')).toBe('Target');
    });
  });

  it('finds what was changed behind its back, and heals it', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 6);
      // Somebody writes to the target's leg file.
      const f = await sim.world.client('server2').files.open('/leg', { write: true });
      await f.write(new Uint8Array([1]), 5 * REGION + 5);
      await f.close();
      await sim.call('server1', 'verify', { tag: 't' });
      await ended(sim);
      expect(await sim.call('server1', 'verify-result', { tag: 't' })).toMatchObject({
        differingBytes: REGION,
        ranges: [{ node: 'server2', offset: 5 * REGION, length: REGION }],
      });
      await sim.until('healed', () => sim.legsDiffer('server1', 'server2') === -1);
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toMatchObject({ kind: 'partial' });
    });
  });

  it('names what it could not compare, and is refused when no target is in sync', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      await sim.call('server1', 'verify', { tag: 't' });
      await ended(sim);
      expect(await sim.call('server1', 'verify-result', { tag: 't' })).toMatchObject({
        differingBytes: 0,
        notCompared: [{ node: 'server3', bytes: MIB, why: 'it is not in sync: paused by an operator' }],
      });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.refuses('server1', 'verify', { tag: 't' }, 'refused', /no target of t is in sync/);
    });
  });

  it('of a mirror that leaves service meanwhile finds nothing good', async () => {
    await Sim.run({ settings: { resync: { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: MIB / 4, rateMinBytesPerSec: MIB / 4 } } }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'verify', { tag: 't' });
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.until('it ended', async () => {
        try {
          return (await sim.call('server1', 'verify-result', { tag: 't' }))?.running === false;
        } catch (e: unknown) {
          expect(e).toMatchObject({ code: 'io', message: 'verify failed: the mirror has left service' });
          return true;
        }
      });
      await expect(sim.call('server1', 'verify-result', { tag: 't' })).rejects.toThrow('left service');
    });
  });

  it('that fails says so when it is asked for its result', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      sim.world.node('server1').fail('/leg', { op: 'read', errno: 5, times: 1 });
      await sim.call('server1', 'verify', { tag: 't' });
      await sim.until('it failed', async () => {
        try {
          return (await sim.call('server1', 'verify-result', { tag: 't' }))?.running === false;
        } catch (e: unknown) {
          expect(e).toMatchObject({ code: 'io', message: expect.stringMatching(/verify failed: .*EIO/) as unknown });
          return true;
        }
      });
    });
  });
});

describe('resize', () => {
  it('grows in service with data intact, and the new part is alike on all legs', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', MIB - 99_840, 99_840, 6);
      expect(await sim.call('server1', 'resize', { tag: 't', sizeBytes: 2 * MIB, force: false })).toMatchObject({
        sizeBytes: 2 * MIB,
        inService: true,
      });
      await sim.inSync('server1', 'server2', 'server3');
      await sim.write('server1', 2 * MIB - 50_176, 50_176, 7);
      await sim.world.sleep(3000);
      await sim.inSync('server1', 'server2', 'server3');
      expect((await sim.read('server1', MIB - 99_840, 99_840)).every((x) => x === 6)).toBe(true);
      expect((await sim.read('server1', 2 * MIB - 50_176, 50_176)).every((x) => x === 7)).toBe(true);
      for (const n of ['server2', 'server3']) {
        expect(sim.legsDiffer('server1', n)).toBe(-1);
        await sim.until('it knows the size', async () => (await sim.status(n)).sizeBytes === 2 * MIB);
      }
      await sim.stop('server1');
      await sim.stop('server2');
      for (const n of ['server1', 'server2']) await sim.start(n);
      await sim.until(
        'in service again',
        async () => (await sim.status('server1')).inService || (await sim.status('server2')).inService || (await sim.status('server3')).inService,
      );
    });
  });

  it('copies the new part to legs that held other data there', async () => {
    await Sim.run({}, async (sim) => {
      for (const n of ['server1', 'server2']) {
        sim.world.node(n).createFile('/disk', 4 * MIB, 'block');
        const f = await sim.world.client(n).files.open('/disk', { write: true });
        await f.write(new Uint8Array(MIB).fill(n === 'server1' ? 11 : 22), 2 * MIB);
        await f.sync();
        await f.close();
      }
      await sim.call('server1', 'create', sim.createParams({ leg: '/disk', sizeBytes: 2 * MIB }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/disk' }));
      await sim.inSync('server1', 'server2');
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: 4 * MIB, force: false });
      await sim.world.sleep(3000);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2', '/disk')).toBe(-1);
    });
  });

  it('refuses what can not be', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      for (const sizeBytes of [0, 1000, 2 ** 47]) await sim.refuses('server1', 'resize', { tag: 't', sizeBytes, force: true }, 'bad-request', /size/);
      await sim.refuses(
        'server1',
        'resize',
        { tag: 't', sizeBytes: MIB / 2, force: true },
        'refused',
        /in service: it can grow now, and shrink only out of service/,
      );
      await sim.refuses('server2', 'resize', { tag: 't', sizeBytes: 2 * MIB, force: true }, 'refused', /server1/);
      await sim.refuses('server2', 'resize', { tag: 't', sizeBytes: MIB / 2, force: true }, 'refused', /server1/);
      expect(await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB, force: false })).toMatchObject({ sizeBytes: MIB });
      await sim.call('server1', 'pause', { tag: 't', nodes: [] });
      await sim.refuses('server1', 'resize', { tag: 't', sizeBytes: 2 * MIB, force: false }, 'refused', /every target must be in sync/);
    });
  });

  it('shrinks out of service, when it is forced', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 3);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.refuses('server1', 'resize', { tag: 't', sizeBytes: MIB / 2, force: false }, 'refused', /cuts off 524288 bytes at its end.*--force/);
      expect(await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB / 2, force: true })).toMatchObject({ sizeBytes: MIB / 2 });
      await sim.call('server1', 'in-service', { tag: 't' });
      expect((await sim.read('server1', 0, 512))[0]).toBe(3);
    });
  });

  it('out of service: nobody serves the old size afterwards, and the others follow when the new one is served', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB / 2, force: true });
      await sim.refuses(
        'server2',
        'in-service',
        { tag: 't' },
        'refused',
        /t has 512 KiB on server1, where it was resized, and 1 MiB here: take it in service on server1 first/,
      );
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server2')).sizeBytes).toBe(MIB / 2);
    });
  });

  it('out of service: a node that is forced with the old size gets no session where it was resized', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'resize', { tag: 't', sizeBytes: MIB / 2, force: true });
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      const detail = async (): Promise<string> => (await sim.status('server2')).targets[0]?.detail ?? '';
      await sim.until('it says why', async () => /524288 bytes since it was resized here/.test(await detail()));
      expect((await sim.status('server1')).sizeBytes).toBe(MIB / 2);
    });
  });
});

describe('clear-bitmap', () => {
  it("takes an operator's word for a target that was seeded, and copies only what came since (M5)", async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 0, MIB, 8);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10));
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.world.sleep(1000);
      const f = await sim.world.client('server2').files.open('/leg', { write: true });
      await f.write(new Uint8Array(MIB).fill(8), 0);
      await f.close();
      const cleared = await sim.call('server1', 'clear-bitmap', { tag: 't', node: 'server2' });
      expect(cleared.clearedBytes).toBeGreaterThanOrEqual(0);
      await sim.write('server1', REGION, 512, 9);
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.inSync('server1', 'server2');
      const [t] = (await sim.status('server1')).targets;
      expect(t?.lastResync?.kind).toBe('partial');
      expect(t?.lastResync?.bytes).toBeLessThan(MIB / 2);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('keeps the word of an operator while the disk is on its way, also when the daemon is started anew (M5)', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 0, MIB, 8);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10));
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.call('server1', 'clear-bitmap', { tag: 't', node: 'server2' });
      await sim.write('server1', REGION, 512, 9);
      await sim.stop('server1');
      const f = await sim.world.client('server2').files.open('/leg', { write: true });
      await f.write(new Uint8Array(MIB).fill(8), 0);
      await f.close();
      await sim.start('server1');
      await sim.until('server1 is in service', async () => (await sim.status('server1')).inService);
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.inSync('server1', 'server2');
      const [t] = (await sim.status('server1')).targets;
      expect(t?.lastResync?.kind).toBe('partial');
      expect(t?.lastResync?.bytes).toBeLessThan(MIB / 2);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      // It was used up: the next first copy is a full one.
      expect(sim.daemon('server1').mirrors.get('t')?.record().seeded).toEqual([]);
    });
  });

  it('refuses a target in a session, and one that is none', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses('server1', 'clear-bitmap', { tag: 't', node: 'server2' }, 'refused', /server2 is in a session; pause it first/);
      await sim.refuses('server1', 'clear-bitmap', { tag: 't', node: 'server9' }, 'not-found', /server9 is not a target/);
    });
  });
});

describe('in and out of service', () => {
  it('out of service stays out until it is told, on every node', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 3);
      const out = await sim.call('server1', 'out-of-service', { tag: 't' });
      expect(out).toMatchObject({ inService: false });
      // What brought it in service is no longer what it would decide.
      expect(out.decision?.action).toMatch(/^(stay-out|wait)$/);
      await sim.world.sleep(10_000);
      expect([(await sim.status('server1')).inService, (await sim.status('server2')).inService]).toEqual([false, false]);
      expect(await sim.call('server1', 'in-service', { tag: 't' })).toMatchObject({ inService: true });
      expect((await sim.read('server1', 0, 512))[0]).toBe(3);
      await sim.inSync('server1', 'server2');
      expect(await sim.call('server1', 'in-service', { tag: 't' })).toMatchObject({ inService: true });
    });
  });

  it('in-service is refused where another node is in service, with the rule and what would change it', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses(
        'server2',
        'in-service',
        { tag: 't' },
        'refused',
        /t does not go in service on server2: server1 is in service.*\(rule better-candidate\); it changes if server1/,
      );
      await sim.refuses('server2', 'force', { tag: 't', withoutLastOwner: true }, 'refused', /server1 is in service/);
    });
  });

  it('force puts a node in service that would not go by itself', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 3);
      sim.crash('server2');
      sim.crash('server1');
      await sim.start('server1');
      await sim.until('it knows that it is alone', async () => (await sim.status('server1')).flags.dataCorrupt);
      expect(await sim.status('server1')).toMatchObject({ inService: false, state: 'Data Corrupt', decision: { rule: 'source-alone' } });
      await expect(sim.call('server1', 'in-service', { tag: 't' })).rejects.toMatchObject({
        code: 'refused',
        message: expect.stringContaining('source-alone') as unknown,
      });
      expect(await sim.call('server1', 'force', { tag: 't', withoutLastOwner: false })).toMatchObject({
        inService: true,
        flags: { dataCorrupt: false, lastOwner: true },
      });
      expect((await sim.read('server1', 0, 512))[0]).toBe(3);
    });
  });
});

describe('explain and what if', () => {
  it('shows the facts, the rule and why; what if asks the same decision and changes nothing', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.until('all have spoken', async () => {
        for (const n of ['server2', 'server3'])
          if (Object.keys((await sim.call(n, 'explain', { tag: 't', whatIf: null })).peers).length < 2) return false;
        return (await sim.call('server2', 'explain', { tag: 't', whatIf: null })).facts.record.inSync.length === 3;
      });
      const now = await sim.call('server2', 'explain', { tag: 't', whatIf: null });
      expect(now.facts.node).toBe('server2');
      expect(Object.keys(now.peers).sort()).toEqual(['server1', 'server3']);
      expect(now.decision).toMatchObject({ action: 'stay-out', rule: 'better-candidate' });
      expect(now.compares.map((c) => c.rule)).toContain('serving');
      const before = sim.onDisk();
      const lost = await sim.call('server2', 'explain', { tag: 't', whatIf: 'server1 lost' });
      expect(lost.decision).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
      const third = await sim.call('server3', 'explain', { tag: 't', whatIf: 'server1 lost' });
      expect(third.decision).toMatchObject({ action: 'wait', rule: 'better-candidate' });
      expect((await sim.call('server2', 'explain', { tag: 't', whatIf: 'force' })).decision).toMatchObject({ action: 'refuse' });
      expect(sim.onDisk()).toEqual(before);
      await sim.refuses('server2', 'explain', { tag: 't', whatIf: 'server1 burns' }, 'bad-request', /allowed are NODE lost/);
      await sim.refuses('server2', 'explain', { tag: 't', whatIf: 'server9 lost' }, 'not-found', /server9 is not a node of the mirror/);
    });
  });
});

describe('a damaged state record', () => {
  it('takes its mirror out of service with a clear error, leaves the others alone, and can be deleted (M13)', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'create', sim.createParams({ tag: 'u', leg: '/leg2' }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.stop('server1');
      const f = await sim.world.client('server1').files.open('/var/state_t', { write: true });
      await f.write(new Uint8Array([0x21]), 200);
      await f.sync();
      await f.close();
      await sim.start('server1');
      const gone = /mirror t is out of service on server1: the state record is damaged: .*delete it here and extend/;
      for (const action of ['status', 'in-service', 'out-of-service', 'verify'] as const)
        await sim.refuses('server1', action, { tag: 't' }, 'refused', gone);
      await sim.refuses('server1', 'force', { tag: 't', withoutLastOwner: true }, 'refused', gone);
      await sim.refuses('server1', 'create', sim.createParams({ leg: '/leg3' }), 'conflict', /mirror t exists already/);
      expect(await sim.call('server1', 'info', {})).toMatchObject({
        mirrors: ['u'],
        broken: [{ tag: 't', why: expect.stringMatching(/^the state record is damaged/) as unknown, maybeSound: false }],
      });
      expect(await sim.call('server1', 'in-service', { tag: 'u' })).toMatchObject({ inService: true });
      expect(await sim.call('server1', 'delete', { tag: 't' })).toEqual({ forgotten: ['server1'], unreached: [] });
      expect(await sim.call('server1', 'create', sim.createParams())).toMatchObject({ tag: 't' });
    });
  });

  it('on a target does not keep the source from serving', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.stop('server2');
      const f = await sim.world.client('server2').files.open('/var/state_t', { write: true });
      await f.write(new Uint8Array([0x21]), 200);
      await f.sync();
      await f.close();
      await sim.start('server2');
      await sim.until('server2 is seen', () => sim.daemon('server1').env.cluster.connected('server2'));
      await sim.world.sleep(5000);
      await sim.write('server1', 0, 4096, 5);
      await sim.refuses('server2', 'status', { tag: 't' }, 'refused', /damaged/);
      expect(await sim.targetState('server1', 'server2')).not.toBe('Target');
      expect(await sim.call('server2', 'delete', { tag: 't' })).toEqual({ forgotten: ['server2'], unreached: [] });
      await sim.call('server1', 'replace', { tag: 't', node: 'server2', leg: '/leg' });
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('of another node, or of another mirror, is refused too', async () => {
    await Sim.run({ nodes: ['server1'] }, async (sim) => {
      const d = await sim.call('server1', 'create', sim.createParams());
      const { record } = { record: sim.daemon('server1').mirrors.get('t')?.record() };
      if (record === undefined) throw new Error('no record');
      const { encodeRecord } = await import('../../../src/failover/record.ts');
      const foreign = { ...newRecord(record.definition, 'server7', sim.world.chance), generation: d.generation };
      await sim.stop('server1');
      const f = await sim.world.client('server1').files.open('/var/state_t', { write: true, create: true });
      const bytes = encodeRecord({ ...foreign, inSync: [] });
      await f.truncate(0);
      await f.write(bytes, 0);
      await f.close();
      await sim.start('server1');
      await sim.refuses('server1', 'status', { tag: 't' }, 'refused', /it is the record of node server7, and this is server1/);
    });
  });
});
