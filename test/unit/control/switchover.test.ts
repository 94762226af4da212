import { describe, expect, it } from 'vitest';
import type { Actions } from '../../../src/control/types.ts';
import { Errno } from '../../../src/io/types.ts';
import { MIB, Sim } from './sim.ts';

const kindsOf = async (sim: Sim, source: string): Promise<unknown[]> =>
  (await sim.status(source)).targets.map((t) => [t.node, t.state, t.rule, t.dirtyBytes, t.lastResync]);

describe('switchover', () => {
  it('moves the source; the old one and the others stay in sync without a resync', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB / 2, 5);
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.refused).toBeNull();
      expect(shown.lines.join('\n')).toMatch(/server1 -> server2: server2 becomes the source of t/);
      expect(await sim.call('server1', 'switchover', { tag: 't', node: 'server2' })).toEqual({ tag: 't', from: 'server1', to: 'server2' });
      await sim.inSync('server2', 'server1', 'server3');
      expect(await kindsOf(sim, 'server2')).toEqual([
        ['server1', 'Target', 'serving', 0, null],
        ['server3', 'Target', 'serving', 0, null],
      ]);
      expect(await sim.status('server2')).toMatchObject({ decision: { rule: 'evidence' }, flags: { lastOwner: true, source: 'server2' } });
      expect(await sim.status('server1')).toMatchObject({ inService: false, state: 'Target', flags: { lastOwner: false, source: 'server2' } });
      expect((await sim.read('server2', 0, MIB / 2)).every((b) => b === 5)).toBe(true);
    });
  });

  it('typed on another node is carried out by the one in service', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB / 2, 5);
      const shown = await sim.call('server3', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.lines.length).toBeGreaterThan(2);
      expect(await sim.call('server2', 'switchover', { tag: 't', node: 'server2' })).toEqual({ tag: 't', from: 'server1', to: 'server2' });
      await sim.inSync('server2', 'server1', 'server3');
      expect(await sim.call('server3', 'switchover', { tag: 't', node: 'server1' })).toEqual({ tag: 't', from: 'server2', to: 'server1' });
      await sim.inSync('server1', 'server2', 'server3');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});

it('a switchover typed elsewhere waits for slow hooks; without an answer it is said that nobody knows', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    sim.world.node('server1').install('/var/etc/hooks.d/10-slow', ([event]) => (event === 'out-of-service' ? { durationMs: 50_000 } : {}));
    expect(await sim.call('server2', 'switchover', { tag: 't', node: 'server2' })).toEqual({ tag: 't', from: 'server1', to: 'server2' });
    const asked = sim.call('server1', 'switchover', { tag: 't', node: 'server1' });
    await sim.world.sleep(1);
    sim.crash('server2');
    await expect(asked).rejects.toThrow(/it is not known whether the switchover was carried out.*netraid status t/);
  });
});

describe('switchover is refused, and nothing changes', () => {
  it('while another one is under way, which is said before anybody is asked, whatever it is that is asked for', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      sim.world.node('server1').install('/var/etc/hooks.d/10-slow', ([event]) => (event === 'out-of-service' ? { durationMs: 20_000 } : {}));
      const moving = sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.world.sleep(500);
      const why = 'a switchover of t is under way';
      const refused = async (node: string, action: 'switchover' | 'unextend' | 'fullresync' | 'delete'): Promise<string | null> =>
        (await sim.call(node, 'preview', { tag: 't', action, nodes: ['server3'], source: null })).refused;
      expect(await refused('server1', 'switchover')).toBe(why);
      expect(await refused('server3', 'switchover')).toBe(why);
      for (const action of ['unextend', 'fullresync', 'delete'] as const) expect(await refused('server1', action)).toBe(why);
      await sim.refuses('server3', 'switchover', { tag: 't', node: 'server3' }, 'refused', /^server1: a switchover of t is under way$/);
      await moving;
      await sim.inSync('server2', 'server1', 'server3');
      expect(await refused('server2', 'switchover')).toBeNull();
    });
  });

  it('while the source goes out of service; and says that it would wait for another change', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      const m = sim.daemon('server1').mirrors.get('t');
      const shown = (): Promise<Actions['preview']['result']> =>
        sim.call('server1', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      const other = m?.whileRoleStays(() => sim.world.sleep(200));
      expect((await shown()).lines.join('\n')).toMatch(/another change of t is under way on server1: the switchover waits for its end/);
      await other;
      expect((await shown()).lines.join('\n')).not.toMatch(/another change/);
      sim.world.node('server1').install('/var/etc/hooks.d/10-slow', ([event]) => (event === 'out-of-service' ? { durationMs: 20_000 } : {}));
      const leaving = sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.world.sleep(500);
      expect((await shown()).refused).toBe('t is going out of service on server1 just now');
      await leaving;
    });
  });

  it('to whoever can not be the source', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      const no = (on: string, node: string, message: RegExp): Promise<void> => sim.refuses(on, 'switchover', { tag: 't', node }, 'refused', message);
      await no('server1', 'server1', /server1 is in service already/);
      await no('server1', 'server3', /server3 is not in sync: paused/);
      await no('server2', 'server3', /^server1: server3 is not in sync: paused/);
      await no('server1', 'server9', /server9 is not a target of t; targets: server2, server3/);
      await sim.refuses('server1', 'switchover', { tag: 't', node: '../x' }, 'bad-request', /node/);
      expect((await sim.status('server1')).inService).toBe(true);
    });
  });

  it('while a block device is attached on the source, also when it is typed elsewhere', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      sim.world.node('server1').createFile('/var/run/t.attach.json', 512, 'file');
      const shown = await sim.call('server2', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.lines.join('\n')).toMatch(/a block device is attached on server1/);
      await sim.refuses('server2', 'switchover', { tag: 't', node: 'server2' }, 'refused', /attached on server1: run this there with --detach/);
      await sim.write('server1', 0, 4096, 9);
    });
  });

  it('when nobody is in service', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.refuses('server2', 'switchover', { tag: 't', node: 'server2' }, 'refused', /in service on no node that server2 can reach/);
    });
  });
});

describe('clients of the old source', () => {
  it('are told ESHUTDOWN and cut off; what they were answered is there on the new one', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const mirror = sim.daemon('server1').mirrors.get('t');
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(4096).fill(3));
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'switchover', nodes: ['server2'], source: null });
      expect(shown.lines).toContain('NBD clients connected on server1, which are cut off: 1');
      // Between the grant and the last look at the other node there is time enough for requests that wait.
      sim.world.slow('server1', 'server2', { delayMs: 200 });
      const moved = sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.until('it is written down', () => mirror?.record().grant?.to === 'server2');
      const inFlight = await Promise.allSettled([c.readBytes(0, 4096), c.writeBytes(4096, new Uint8Array(4096).fill(4)), c.flushNow()]);
      const told = (what: string): unknown => ({ status: 'rejected', reason: { errno: Errno.ESHUTDOWN, message: `${what}: ESHUTDOWN` } });
      // By an answer of its own each: an end of the connection would be named.
      expect(inFlight).toMatchObject([told('read of 4096 bytes at 0'), told('write of 4096 bytes at 4096'), told('flush')]);
      await moved;
      expect(c.lost).toMatchObject({ errno: Errno.ESHUTDOWN, reason: expect.stringContaining('the server closed the connection') as unknown });
      await expect(c.writeBytes(4096, new Uint8Array(4096))).rejects.toMatchObject({ errno: Errno.ESHUTDOWN });
      expect((await sim.read('server2', 0, 4096)).every((b) => b === 3)).toBe(true);
      expect((await sim.read('server2', 4096, 4096)).every((b) => b === 0)).toBe(true);
    });
  });

  it('wait while it is being tried, and go on when it comes to nothing', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      sim.world.node('server2').freeze();
      const moved = sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      const written = sim.world.sleep(20).then(() => c.writeBytes(0, new Uint8Array(4096).fill(4)));
      await expect(moved).rejects.toThrow(/./);
      await written;
      expect(await sim.status('server1')).toMatchObject({ inService: true, state: 'Source' });
      sim.world.node('server2').thaw();
      await sim.inSync('server1', 'server2');
    });
  });
});

it('a grant that nobody has heard of is taken back as soon as the disk allows', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    const mirror = sim.daemon('server1').mirrors.get('t');
    // Between the grant and the last look at the other node there is time enough.
    sim.world.slow('server1', 'server2', { delayMs: 200 });
    const moved = sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
    const refused = expect(moved).rejects.toThrow(/server2/);
    await sim.until('it is written down', () => mirror?.record().grant?.to === 'server2');
    sim.world.node('server2').freeze();
    sim.world.node('server1').fail('/var/state_*', { op: 'sync', errno: Errno.EIO });
    await refused;
    expect(await sim.status('server1')).toMatchObject({ inService: true, state: 'Source' });
    await sim.world.sleep(3000);
    expect(mirror?.record().grant?.to).toBe('server2');
    sim.world.node('server1').repairDisk();
    await sim.until('it is taken back', () => mirror?.record().grant === null);
    sim.world.node('server2').thaw();
    await sim.inSync('server1', 'server2');
  });
});

describe('a pause', () => {
  it('outlives a switchover, and ends with a resume on the new source', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server3'] });
      await sim.write('server1', 0, 65_536, 6);
      await sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.inSync('server2', 'server1');
      expect(await sim.targetState('server2', 'server3')).toBe('Paused');
      await sim.call('server2', 'resume', { tag: 't', nodes: [] });
      await sim.inSync('server2', 'server3');
      const t = (await sim.status('server2')).targets.find((x) => x.node === 'server3');
      expect(t?.lastResync).toMatchObject({ kind: 'partial', bytes: 65_536 });
      expect(sim.legsDiffer('server2', 'server3')).toBe(-1);
    });
  });
});

describe('an async target', () => {
  it('becomes the source once its queue is empty', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { mode: 'async' }));
      await sim.inSync('server1', 'server2');
      const c = await sim.client('server1');
      for (let i = 0; i < 8; i += 1) await c.writeBytes(i * 65_536, new Uint8Array(65_536).fill(7));
      await sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.inSync('server2', 'server1');
      expect((await sim.read('server2', 0, 8 * 65_536)).every((b) => b === 7)).toBe(true);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});

describe('resolve', () => {
  it('refuses where there is no split brain, on whatever node it is typed', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      const no = /there is no split brain between server1 and server2$/;
      await sim.refuses('server1', 'resolve', { tag: 't', victim: 'server2' }, 'refused', no);
      await sim.refuses('server2', 'resolve', { tag: 't', victim: 'server2' }, 'refused', no);
      await sim.refuses(
        'server2',
        'resolve',
        { tag: 't', victim: 'server1' },
        'refused',
        /server1 is in service: take it out of service there first/,
      );
      await sim.refuses('server1', 'resolve', { tag: 't', victim: 'server9' }, 'refused', /not a node of t/);
    });
  });

  it('gives up the data of the victim, after it has shown both sides', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      sim.world.cut('server1', 'server2');
      await sim.until('both serve', async () => (await sim.status('server2')).inService);
      await sim.write('server1', 0, 4096, 1);
      await sim.write('server2', 0, 4096, 2);
      sim.world.healAll();
      await sim.until('the split brain is seen', async () => (await sim.status('server1')).state === 'Split Brain');
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'resolve', nodes: ['server1'], source: null });
      expect(shown).toMatchObject({ refused: null, bytesOverwritten: MIB });
      expect(shown.lines.join('\n')).toMatch(
        /server2: in service; generation .*\nserver1: out of service, Split Brain; generation .*\nsplit brain: .*\nserver2 -> server1: all/,
      );
      expect(await sim.call('server1', 'resolve', { tag: 't', victim: 'server1' })).toMatchObject({ kept: 'server2', victim: 'server1' });
      await sim.inSync('server2', 'server1');
      expect((await sim.read('server2', 0, 4096)).every((b) => b === 2)).toBe(true);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
