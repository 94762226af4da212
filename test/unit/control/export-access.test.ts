import { describe, expect, it } from 'vitest';
import { exportAccess, OPEN_TO_ALL } from '../../../src/control/export-access.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import { Errno } from '../../../src/io/types.ts';
import { REGION, Sim } from './sim.ts';

const NEAR = '10.0.0.9:40000';
const FAR = '203.0.113.9:40000';

describe('who may use an export over TCP', () => {
  it('is everybody, where nothing is said', () => {
    const a = exportAccess(OPEN_TO_ALL);
    expect([a.toAny(FAR), a.to('data', FAR, null), a.to('', FAR, null)]).toEqual([true, 'full', 'full']);
  });

  it('is who comes from the ranges for all, or, for a mirror that has its own, from those alone', () => {
    const a = exportAccess({
      allow: ['10.0.0.0/24'],
      mirrors: {
        open: { allow: ['0.0.0.0/0'], readOnly: true },
        closed: { allow: ['10.0.0.1'], readOnly: false },
        dull: { allow: null, readOnly: true },
      },
    });
    const to = (remote: string) => ['data', 'open', 'closed', 'dull', '', 'constructor'].map((tag) => a.to(tag, remote, null));
    expect(to(NEAR)).toEqual(['full', 'read-only', 'none', 'read-only', 'full', 'full']);
    expect(to(FAR)).toEqual(['none', 'read-only', 'none', 'none', 'none', 'none']);
    expect([a.toAny(FAR), a.toAny('unix')]).toEqual([true, false]);
  });

  it('is who has proved one of the names that a mirror asks for, and comes from where it may', () => {
    const a = exportAccess({ allow: ['10.0.0.0/24'], mirrors: { t: { allow: null, clients: ['alice', 'bob'], readOnly: false } } });
    expect(a.to('t', NEAR, null)).toBe('needs-tls');
    expect(a.to('t', NEAR, [])).toBe('none');
    expect(a.to('t', NEAR, ['carol'])).toBe('none');
    expect(a.to('t', NEAR, ['carol', 'bob'])).toBe('full');
    expect(a.to('t', FAR, ['alice'])).toBe('none');
    expect(a.to('other', NEAR, null)).toBe('full');
  });

  it('is nobody from elsewhere, whatever there will be', () => {
    expect(exportAccess({ allow: ['10.0.0.0/24'], mirrors: {} }).toAny(FAR)).toBe(false);
  });
});

describe('a daemon with rules', () => {
  const rules = { allow: ['10.0.0.0/24'], mirrors: { t: { allow: ['10.0.0.2'], readOnly: true } } };
  /** Its machines are called by their addresses. */
  const o = { nodes: ['10.0.0.1', '10.0.0.2'], exporting: ['10.0.0.1'], exportRules: rules };

  const dial = (sim: Sim, from: string, exportName = 't'): Promise<NbdClient> => {
    const io = sim.world.client(from);
    const address = { kind: 'tcp', host: '10.0.0.1', port: 10809 } as const;
    return NbdClient.connect({ io, hub: new EngineHub(io.createEngine()), exportName, address });
  };

  it('lets clients read what they may read, and refuses the others, but the unix socket may all', async () => {
    await Sim.run(o, async (sim) => {
      await sim.mirror();
      await sim.write('10.0.0.1', 0, REGION, 7);
      for (const name of ['t', '']) {
        const c = await dial(sim, '10.0.0.2', name);
        expect(c.info.readOnly).toBe(true);
        expect((await c.readBytes(0, REGION)).every((b) => b === 7)).toBe(true);
        await expect(c.writeBytes(0, new Uint8Array(512))).rejects.toMatchObject({ errno: Errno.EROFS });
        await c.disconnect();
      }
      for (const name of ['t', '']) await expect(dial(sim, '10.0.0.1', name)).rejects.toMatchObject({ errno: Errno.EACCES });
      for (const from of ['192.0.2.1', '192.0.2.1']) await expect(dial(sim, from)).rejects.toThrow();
      expect((await sim.call('10.0.0.1', 'info', {})).refused).toEqual({ clients: 4, nodes: 0, sessions: 0 });
      expect((await sim.read('10.0.0.1', 0, REGION)).every((b) => b === 7)).toBe(true);
    });
  });
});

describe('a node that says where nodes may connect from', () => {
  it('takes none from elsewhere, and those that it may', async () => {
    await Sim.run({ nodes: ['10.0.0.1', '10.0.0.2'], allow: ['10.0.0.0/24'] }, async (sim) => {
      await sim.mirror();
      const s = await sim.world.client('192.0.2.1').net.connect({ kind: 'tcp', host: '10.0.0.1', port: 7000 }, 1000);
      await expect(new PullSocket(s, sim.world.client('192.0.2.1').clock).read(1, 1000)).rejects.toMatchObject({ name: 'IoError' });
      expect((await sim.call('10.0.0.1', 'info', {})).refused).toEqual({ clients: 0, nodes: 1, sessions: 0 });
      await sim.write('10.0.0.1', 0, REGION, 7);
      await sim.inSync('10.0.0.1', '10.0.0.2');
    });
  });
});

describe('a session of a source whose time is over', () => {
  it('is refused, counted, and logged once, and the current one goes on', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 7);
      const { env, mirrors } = sim.daemon('server1');
      const r = mirrors.get('t')?.record();
      if (r?.epochSeen === null || r === undefined) throw new Error('server1 has no epoch');
      const epoch = { ...r.epochSeen, number: r.epochSeen.number - 1 };
      const open = { tag: 't', epoch, session: '0123456789abcdef', kind: 'none', generation: r.generation, definition: r.definition, rewrites: true };
      for (let i = 0; i < 3; i += 1) {
        await expect(env.cluster.request('server2', 'session.open', open, 1000)).rejects.toMatchObject({ code: 'superseded' });
      }
      expect((await sim.call('server2', 'info', {})).refused).toEqual({ clients: 0, nodes: 0, sessions: 3 });
      expect(sim.warnings.filter((w) => w === 'server2: a session was refused')).toHaveLength(1);
      await sim.inSync('server1', 'server2');
      await sim.write('server1', 0, REGION, 8);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('is refused by a node that serves itself now, and counted and logged, but not one that is as new', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      const { env, mirrors } = sim.daemon('server2');
      const r = mirrors.get('t')?.record();
      if (r?.epochSeen === null || r === undefined) throw new Error('server2 has no epoch');
      const { number } = r.epochSeen;
      const open = { tag: 't', session: '0123456789abcdef', kind: 'none', generation: r.generation, definition: r.definition, rewrites: true };
      for (const n of [number - 1, number, number - 1]) {
        const epoch = { number: n, owner: 'server2', random: '0123456789abcdef' };
        await expect(env.cluster.request('server1', 'session.open', { ...open, epoch }, 1000)).rejects.toMatchObject({ code: 'in-service' });
      }
      expect((await sim.call('server1', 'info', {})).refused).toEqual({ clients: 0, nodes: 0, sessions: 2 });
      expect(sim.warnings.filter((w) => w === 'server1: a session was refused')).toHaveLength(1);
      await sim.inSync('server1', 'server2');
    });
  });
});
