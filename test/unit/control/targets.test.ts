import { describe, expect, it, vi } from 'vitest';
import { DEFAULT_LATENCIES } from '../../../src/io/simulated/faults.ts';
import { Errno } from '../../../src/io/types.ts';
import { Sim } from './sim.ts';

const NODES = ['server1', 'server2', 'server3'];

/** What came of both, when the change of targets begins so much later than the switchover that was typed on another node. */
async function both(laterMs: number, change: (sim: Sim) => Promise<unknown>, after: (sim: Sim, moved: boolean, changed: boolean) => Promise<void>) {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, 65_536, 7);
    const ended = (p: Promise<unknown>): Promise<boolean> =>
      p.then(
        () => true,
        (e: unknown) => {
          expect(e, String(e)).toMatchObject({ name: 'ControlError', code: expect.stringMatching(/refused|not-found|unreachable/) as unknown });
          return false;
        },
      );
    const moving = ended(sim.call('server3', 'switchover', { tag: 't', node: 'server2' }));
    await sim.world.sleep(laterMs);
    const changing = ended(change(sim));
    await after(sim, await moving, await changing);
  });
}

const inServiceOn = (sim: Sim): string[] => NODES.filter((n) => sim.daemon(n).mirrors.get('t')?.source?.serving === true);
/** Every moment of a switchover, which takes a few milliseconds. */
const MOMENTS = Array.from({ length: 9 }, (_, i) => i * 1.5);

describe('a switchover typed on another node, and a change of the targets on the source', () => {
  it('whose new source is removed meanwhile: either it becomes the source, or it is forgotten, and never both', async () => {
    const seen = new Set<string>();
    for (const laterMs of MOMENTS) {
      await both(
        laterMs,
        (sim) => sim.call('server1', 'unextend', { tag: 't', node: 'server2' }),
        async (sim, moved, changed) => {
          seen.add(`${String(moved)} ${String(changed)}`);
          expect([moved, changed], `${String(laterMs)} ms later`).not.toEqual([true, true]);
          await sim.until('it is in service', () => inServiceOn(sim).length === 1);
          const [source = ''] = inServiceOn(sim);
          expect(source).toBe(moved ? 'server2' : 'server1');
          expect(sim.daemon('server2').mirrors.has('t')).toBe(!changed);
          expect((await sim.read(source, 0, 65_536)).every((b) => b === 7)).toBe(true);
        },
      );
    }
    expect(seen.has('true false')).toBe(true);
  });

  it('which removes a third node: the new source knows of it, or it stays', async () => {
    for (const laterMs of MOMENTS) {
      await both(
        laterMs,
        (sim) => sim.call('server1', 'unextend', { tag: 't', node: 'server3' }),
        async (sim, moved, changed) => {
          await sim.until('it is in service', () => inServiceOn(sim).length === 1);
          const [source = ''] = inServiceOn(sim);
          expect(source, `${String(laterMs)} ms later`).toBe(moved ? 'server2' : 'server1');
          expect((await sim.status(source)).targets.some((t) => t.node === 'server3')).toBe(!changed);
          expect(sim.daemon('server3').mirrors.has('t')).toBe(!changed);
        },
      );
    }
  });
});

describe('a node that is asked to forget the mirror while it goes in service', () => {
  it('refuses, and goes in service', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 65_536, 7);
      const m = sim.daemon('server2').mirrors.get('t');
      const { createId } = m?.record().definition ?? { createId: '' };
      sim.crash('server1');
      while (m?.record().claim === null) await sim.world.sleep(1);
      const asked = sim.daemon('server3').env.cluster.request('server2', 'forget', { tag: 't', createId }, 2000);
      await expect(asked).rejects.toThrow(/on its way in service|is in service/);
      await sim.until('it is in service', () => m?.source?.serving === true);
      expect((await sim.read('server2', 0, 65_536)).every((b) => b === 7)).toBe(true);
    });
  });
});

it('a source that stood still is waited for, as it asks at once whether it may go on; not for ever', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror();
    const device = sim.daemon('server1').mirrors.get('t')?.source?.device;
    device?.suspend('stalled');
    expect((await sim.call('server1', 'preview', { tag: 't', action: 'unextend', nodes: ['server3'], source: null })).refused).toBeNull();
    const removed = sim.call('server1', 'unextend', { tag: 't', node: 'server3' });
    await sim.world.sleep(1000);
    expect((await sim.status('server1')).targets.map((t) => t.node)).toEqual(['server2', 'server3']);
    device?.unsuspend('stalled');
    await removed;
    device?.suspend('stalled');
    await sim.refuses('server1', 'unextend', { tag: 't', node: 'server2' }, 'refused', /^server1 is suspended \(stalled\): nobody is removed/);
    device?.unsuspend('stalled');
    expect((await sim.status('server1')).targets.map((t) => t.node)).toEqual(['server2']);
  });
});

describe('who belongs to a mirror under arbiter majority', () => {
  const lost = async (sim: Sim): Promise<void> => {
    await sim.mirror({ arbiter: 'majority' });
    await sim.write('server1', 0, 65_536, 7);
    sim.crash('server2');
    sim.crash('server3');
    await sim.until('it is suspended', async () => (await sim.status('server1')).suspended !== null);
  };
  const why =
    /^server3 can not be removed: server1 hears no majority of the nodes of t \(rule no-quorum\).*out-of-service t and mirror_action t force server1 first$/;

  it('is not changed by a source that hears no majority: it says why, and what is allowed, and all stays as it was', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await lost(sim);
      const shown = await sim.call('server1', 'preview', { tag: 't', action: 'unextend', nodes: ['server3'], source: null });
      expect(shown.refused).toMatch(why);
      await sim.refuses('server1', 'unextend', { tag: 't', node: 'server3' }, 'refused', why);
      await sim.refuses('server1', 'extend', sim.extendParams('server4', 30), 'refused', /^server4 can not be added: server1 hears no majority/);
      expect(sim.daemon('server1').mirrors.get('t')?.record().accountComplete.sort()).toEqual(['server2', 'server3']);
      await sim.start('server2');
      await sim.start('server3');
      await sim.inSync('server1', 'server2', 'server3');
      expect((await sim.status('server1')).targets.map((t) => t.lastResync?.kind)).not.toContain('full');
    });
  });

  it('is asked of most nodes afresh, before a target is removed that was heard a moment ago', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await sim.mirror({ arbiter: 'majority' });
      for (const n of ['server2', 'server3']) sim.world.cut('server1', n);
      expect((await sim.status('server1')).suspended).toBeNull();
      await sim.refuses('server1', 'unextend', { tag: 't', node: 'server3' }, 'refused', why);
      for (const n of ['server2', 'server3']) sim.world.heal('server1', n);
    });
  });

  it('is changed once an operator has forced the one that is left', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await lost(sim);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: false, confirmed: ['no-majority'] });
      for (const node of ['server3', 'server2']) await sim.call('server1', 'unextend', { tag: 't', node });
      expect((await sim.status('server1')).suspended).toBeNull();
      expect((await sim.read('server1', 0, 65_536)).every((b) => b === 7)).toBe(true);
    });
  });

  it('is changed with most nodes, one of which may be dead', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await sim.mirror({ arbiter: 'majority' });
      sim.crash('server3');
      await sim.until('it is out', async () => (await sim.targetState('server1', 'server3')) === 'Unknown');
      await sim.call('server1', 'unextend', { tag: 't', node: 'server3' });
      expect((await sim.status('server1')).targets.map((t) => t.node)).toEqual(['server2']);
    });
  });
});

it('a target whose loss can not be settled is not removed, and is kept as it was', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror();
    await sim.write('server1', 0, 65_536, 7);
    const disk = sim.world.node('server3');
    disk.fail('/var/state_t*', { op: 'write', errno: Errno.EIO });
    // One that can neither write down that it is out nor says that it heeds it.
    const told = sim.daemon('server3').mirrors.get('t')?.toldOut;
    if (told === undefined) throw new Error('server3 has no mirror');
    vi.spyOn(told, 'heeds', 'get').mockReturnValue(null);
    await expect(sim.call('server1', 'unextend', { tag: 't', node: 'server3' })).rejects.toMatchObject({
      code: 'refused',
      message: "server3 can't be removed now: its loss is not settled yet",
    });
    expect(Object.keys((await sim.status('server1')).nodes)).toEqual(NODES);
    disk.repairDisk();
    await sim.inSync('server1', 'server2', 'server3');
    expect((await sim.status('server1')).targets.find((t) => t.node === 'server3')?.lastResync?.kind).not.toBe('full');
    await sim.call('server1', 'unextend', { tag: 't', node: 'server3' });
    expect(Object.keys((await sim.status('server1')).nodes)).toEqual(['server1', 'server2']);
  });
});

describe('the only target that has what was written since the leg of the source failed', () => {
  const why =
    /^the leg of server1 has failed, and nobody but server2 has what was written since: take the mirror out of service here first \(netraid out-of-service t\), so that server2 goes/;

  async function alone(sim: Sim): Promise<void> {
    await sim.mirror();
    sim.world.node('server1').fail('/leg', { op: 'write', errno: Errno.EIO });
    await sim.write('server1', 0, 65_536, 8);
    await sim.until('the own leg is out', () => sim.daemon('server1').mirrors.get('t')?.record().legBehind !== null);
  }

  it('is not removed, replaced, paused or copied to in full: it is the only copy (M2, M12)', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await alone(sim);
      for (const action of ['unextend', 'replace', 'fullresync'] as const) {
        const shown = await sim.call('server1', 'preview', { tag: 't', action, nodes: ['server2'], source: null });
        expect([action, shown.refused]).toEqual([action, expect.stringMatching(why)]);
      }
      await sim.refuses('server1', 'unextend', { tag: 't', node: 'server2' }, 'refused', why);
      await sim.refuses('server1', 'replace', { tag: 't', node: 'server2', leg: '/other' }, 'refused', why);
      await sim.refuses('server1', 'pause', { tag: 't', nodes: [] }, 'refused', why);
      await sim.refuses('server1', 'fullresync', { tag: 't', source: null, nodes: ['server2'] }, 'refused', why);
      expect((await sim.read('server1', 0, 512))[0]).toBe(8);
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.until('server2 has gone in service', async () => (await sim.status('server2')).inService);
      expect((await sim.read('server2', 0, 512))[0]).toBe(8);
    });
  });

  it('may go once another one is in sync', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await alone(sim);
      await sim.refuses('server1', 'pause', { tag: 't', nodes: [] }, 'refused', /nobody but server2 and server3 has/);
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      await sim.refuses('server1', 'unextend', { tag: 't', node: 'server3' }, 'refused', /nobody but server3 has/);
      expect((await sim.read('server1', 0, 512))[0]).toBe(8);
    });
  });

  it('gives no answer that only it has while it is being removed, and that leg fails', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      const c = await sim.client('server1');
      sim.world.node('server1').setDisk({ latencies: { write: { fromMs: 50, toMs: 50 } } });
      const removed = sim.call('server1', 'unextend', { tag: 't', node: 'server2' }).then(
        () => 'done',
        (e: unknown) => String(e),
      );
      sim.world.node('server1').fail('/leg', { op: 'write', errno: Errno.EIO });
      const written = await c.writeBytes(0, new Uint8Array(65_536).fill(8)).then(
        () => true,
        () => false,
      );
      const answer = await removed;
      // It is gone, and nothing was answered that only it has.
      expect([answer, written]).toEqual(['done', false]);
    });
  });
});

it('under arbiter majority, a source that can not look at its own files answers nothing either, once it is alone (M10)', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    sim.world.node('server1').fail('/var/subsys/*', { op: 'read', errno: Errno.EIO });
    for (const n of ['server2', 'server3']) sim.world.cut('server1', n);
    await sim.until('another one serves', async () => (await sim.status('server2')).inService || (await sim.status('server3')).inService);
    expect((await sim.status('server1')).suspended).not.toBeNull();
  });
});

it('under arbiter majority, a source goes on when its majority is back, also while it is at work on an order', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    const slow = { fromMs: 8000, toMs: 8000 };
    sim.world.node('server1').setDisk({ latencies: { ...DEFAULT_LATENCIES, write: slow } });
    let done = false;
    const order = Promise.allSettled([sim.call('server1', 'resize', { tag: 't', sizeBytes: 2 * 1024 * 1024, force: false })]).then(() => {
      done = true;
    });
    await sim.world.sleep(50);
    sim.world.cut('server2', 'server3');
    for (const n of ['server2', 'server3']) sim.world.cut('server1', n);
    await sim.until('it is suspended', async () => (await sim.status('server1')).suspended !== null);
    for (const n of ['server2', 'server3']) sim.world.heal('server1', n);
    await sim.until('it goes on', async () => (await sim.status('server1')).suspended === null);
    expect((await sim.status('server1')).inService).toBe(true);
    expect(done).toBe(false);
    await order;
  });
});
