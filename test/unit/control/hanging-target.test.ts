/** A target whose disk does not come back, while its daemon lives: the mirror goes on without it (M12, M14). */
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import type { StateRecord } from '../../../src/failover/types.ts';
import { Sim } from './sim.ts';

const PATIENCE_MS = 12_000;

function record(sim: Sim, node: string): StateRecord {
  const m = sim.daemon(node).mirrors.get('t');
  if (m === undefined) throw new Error(`${node} has no mirror`);
  return m.record();
}

describe('a target whose leg hangs', () => {
  it('is told that it is out, and writes go on; another takes over when the source is lost, and what it holds meanwhile harms nobody', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      sim.world.node('server2').stall('/leg');
      const from = sim.world.now();
      await sim.write('server1', 0, 4096, 7);
      expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
      await sim.until('server2 has written down that it is out', () => record(sim, 'server2').toldOut !== null);
      // Long enough for the source to try again many times: what is asked of server2 is answered all the same.
      await sim.world.sleep(60_000);
      await sim.write('server1', 65_536, 4096, 8);
      expect(await sim.daemon('server1').env.cluster.request('server2', 'view', { tag: 't' }, 1000)).not.toBeNull();

      sim.crash('server1');
      await sim.until('server3 serves', async () => (await sim.status('server3')).inService);
      await sim.write('server3', 131_072, 4096, 9);
      sim.world.node('server2').repairDisk();
      await sim.start('server1');
      await sim.inSync('server3', 'server1', 'server2');
      expect(sim.legsDiffer('server2', 'server3')).toBe(-1);
      expect((await sim.read('server3', 0, 512))[0]).toBe(7);
    });
  }, 30_000);
});

describe('a target that can not write down that it is out', () => {
  for (const [what, spoil] of [
    [
      'its disk hangs',
      (sim: Sim): void => {
        sim.world.node('server2').stall('/*');
      },
    ],
    [
      'its disk is full, and its leg fails',
      (sim: Sim): void => {
        sim.world.node('server2').full('/var/*');
        sim.world.node('server2').fail('/leg', { op: 'write', errno: Errno.EIO });
      },
    ],
  ] as const) {
    it(`${what}: it heeds that it is, its source goes on without it, and it takes over from nobody`, async () => {
      await Sim.run({}, async (sim) => {
        await sim.mirror();
        spoil(sim);
        const from = sim.world.now();
        await sim.write('server1', 0, 4096, 7);
        expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
        expect(record(sim, 'server1')).toMatchObject({ inSync: ['server1'], droppedUnconfirmed: ['server2'] });
        expect(record(sim, 'server2').toldOut).toBeNull();
        sim.crash('server1');
        await sim.world.sleep(30_000);
        expect((await sim.status('server2')).inService).toBe(false);
        sim.world.node('server2').repairDisk();
        await sim.world.sleep(30_000);
        expect((await sim.status('server2')).inService).toBe(false);
        await sim.start('server1');
        await sim.until('one of them serves', async () => (await sim.status('server1')).inService);
        await sim.inSync('server1', 'server2');
        expect((await sim.read('server1', 0, 512))[0]).toBe(7);
      });
    });
  }

  it('and is lost a second time after it was in sync again: what it heeded before counts for nothing', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      sim.world.node('server2').stall('/*');
      await sim.write('server1', 0, 4096, 7);
      sim.world.node('server2').repairDisk();
      await sim.inSync('server1', 'server2');
      expect(sim.daemon('server2').mirrors.get('t')?.view().contactWithSource).toBe(true);
      sim.crash('server1');
      await sim.until('server2 takes over', async () => (await sim.status('server2')).inService);
      expect((await sim.read('server2', 0, 512))[0]).toBe(7);
    });
  });
});

it('a target whose state could not be read when it started counts as silent: it is not waited for', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    sim.crash('server2');
    sim.world.node('server2').fail('/var/state_t', { op: 'read', errno: Errno.EIO });
    await sim.start('server2');
    expect(sim.daemon('server2').broken.get('t')?.maybeSound).toBe(true);
    const from = sim.world.now();
    await sim.write('server1', 0, 4096, 7);
    expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
    sim.world.node('server2').repairDisk();
    await sim.stop('server2');
    await sim.start('server2');
    await sim.inSync('server1', 'server2');
  });
});

it('a target that can not write down that it joins is passed over, too: its source counted it as in sync already', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    sim.crash('server2');
    await sim.write('server1', 0, 65_536, 7);
    await sim.start('server2');
    const { cluster } = sim.daemon('server1').env;
    const request = cluster.request.bind(cluster);
    const lost: string[] = [];
    sim.daemon('server1').onEvent((e) => {
      if (e.kind === 'out-of-sync') lost.push(e.message);
    });
    cluster.request = (peer, method, params, timeoutMs) => {
      if (method === 'session.join') sim.world.node('server2').full('/var/*');
      return request(peer, method, params, timeoutMs);
    };
    await sim.until('it tries to join', () => lost.some((why) => why.includes('write down')));
    const from = sim.world.now();
    await sim.write('server1', 0, 65_536, 8);
    expect(sim.world.now() - from).toBeLessThan(PATIENCE_MS);
    expect(sim.daemon('server2').mirrors.get('t')?.view().contactWithSource).toBe(false);
    cluster.request = request;
    sim.world.node('server2').repairDisk();
    await sim.inSync('server1', 'server2');
    expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
  });
});

it('a target whose leg hangs is removed, and its daemon goes on with other mirrors', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.call('server1', 'create', sim.createParams({ tag: 'u', leg: '/other' }));
    await sim.call('server1', 'in-service', { tag: 'u' });
    sim.world.node('server2').stall('/leg');
    await sim.write('server1', 0, 4096, 7);
    void Promise.allSettled([sim.call('server1', 'unextend', { tag: 't', node: 'server2' })]);
    await sim.until('it is forgotten there', () => !sim.daemon('server2').mirrors.has('t'), PATIENCE_MS);
    await sim.call('server1', 'extend', sim.extendParams('server2', 10, { tag: 'u', leg: '/other' }));
  });
});

it('a session that would not rewrite what a sync has lost since it was asked for is refused (M3)', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    sim.world.node('server2').fail('/leg', { op: 'sync', errno: Errno.EIO, times: 1 });
    const { cluster } = sim.daemon('server1').env;
    const request = cluster.request.bind(cluster);
    const refused: string[] = [];
    // As if the sync had failed just after the source had asked.
    cluster.request = async (peer, method, params, timeoutMs) => {
      if (method !== 'session.open' || refused.length > 0) return await request(peer, method, params, timeoutMs);
      try {
        return await request(peer, method, { ...(params as object), rewrites: false }, timeoutMs);
      } catch (e: unknown) {
        refused.push(String(e));
        throw e;
      }
    };
    await sim.write('server1', 0, 4096, 7);
    await sim.until('a session is asked for', () => refused.length > 0);
    expect(refused[0]).toContain('a sync of the leg of server2 has just failed');
    await sim.inSync('server1', 'server2');
  });
});
