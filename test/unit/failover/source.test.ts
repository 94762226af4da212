import { describe, expect, it, vi } from 'vitest';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { IoError } from '../../../src/io/types.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, REGION, Sim } from '../control/sim.ts';

const detailOf = async (sim: Sim, node: string): Promise<string> => (await sim.status('server1')).targets.find((t) => t.node === node)?.detail ?? '';

/** The target misses a write. */
async function leaveBehind(sim: Sim, node: string, byte: number): Promise<void> {
  sim.world.cut('server1', node);
  await sim.until(`${node} is away`, async () => (await sim.targetState('server1', node)) === 'Unknown');
  await sim.write('server1', 0, REGION, byte);
  sim.world.heal('server1', node);
}

describe('a source that waits for a command before it resyncs (LKDR_WAIT_TO_RESYNC)', () => {
  it('waits before every resync, also after one that was released, and says so', async () => {
    await Sim.run({ tunables: { waitToResync: true } }, async (sim) => {
      await sim.mirror({ failover: 'off' });
      for (const byte of [1, 2]) {
        await leaveBehind(sim, 'server2', byte);
        await sim.until('it waits', async () => /LKDR_WAIT_TO_RESYNC/.test(await detailOf(sim, 'server2')));
        await sim.world.sleep(5000);
        expect(await sim.targetState('server1', 'server2')).toBe('Out of Sync');
        expect(sim.legsDiffer('server1', 'server2')).toBe(0);
        await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
        await sim.inSync('server1', 'server2');
        expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      }
    });
  });

  it('does not hold up a target that lacks nothing', async () => {
    await Sim.run({ tunables: { waitToResync: true } }, async (sim) => {
      await sim.mirror();
      await sim.stop('server2');
      await sim.start('server2');
      await sim.inSync('server1', 'server2');
    });
  });
});

describe('a target that is taken as identical (LKDR_NO_FULL_SYNC)', () => {
  it('is in sync without a copy, and gets what is written from then on', async () => {
    await Sim.run({ tunables: { noFullSync: true } }, async (sim) => {
      await sim.call('server1', 'create', sim.createParams({ zeroed: false }));
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.write('server1', 0, MIB, 8);
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { zeroed: false }));
      await sim.inSync('server1', 'server2');
      expect((await sim.status('server1')).targets[0]?.lastResync).toBeNull();
      await sim.write('server1', REGION, REGION, 9);
      // Nothing but what was written since: the operator's word stands for the rest.
      expect(sim.legsDiffer('server1', 'server2')).toBe(0);
      const leg = sim.world.node('server2').peek('/leg');
      expect([leg?.[0], leg?.[REGION], leg?.[2 * REGION]]).toEqual([0, 9, 0]);
    });
  });
});

describe('going in service (LKDR_CONNECT_NBD_DURING_RESTORE)', () => {
  it.each([true, false])('with targets connected first: %s', async (connectBeforeServing) => {
    await Sim.run({ tunables: { connectBeforeServing } }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      const { targets } = await sim.call('server1', 'in-service', { tag: 't' });
      expect(targets.map((t) => t.state)).toEqual([expect.stringMatching(connectBeforeServing ? /^(Target|Resyncing)$/ : /^Out of Sync$/)]);
      await sim.inSync('server1', 'server2');
    });
  });

  it('does not wait longer than failureTimeout for a target that is away', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.stop('server2');
      await sim.until('server2 is silent', () => (sim.daemon('server1').env.cluster.silentForMs('server2') ?? 0) > 2000);
      const began = sim.world.now();
      expect(await sim.call('server1', 'in-service', { tag: 't' })).toMatchObject({ inService: true });
      expect(sim.world.now() - began).toBeLessThan(4000);
    });
  });
});

describe('resyncs at the same time', () => {
  it.each([1, 2])('are %i at most, as set, and all come to their end', async (resyncsMax) => {
    const slow = { resync: { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: MIB / 2, rateMinBytesPerSec: MIB / 2 } };
    await Sim.run({ nodes: ['server1', 'server2', 'server3', 'server4'], tunables: { resyncsMax }, settings: slow }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 5);
      await sim.call('server1', 'fullresync', { tag: 't', source: 'server1', nodes: [] });
      let most = 0;
      await sim.until('all are in sync again', async () => {
        const { targets } = await sim.status('server1');
        most = Math.max(most, targets.filter((t) => t.progress !== null).length);
        return most > 0 && targets.every((t) => t.state === 'Target');
      });
      expect(most).toBe(resyncsMax);
      for (const n of ['server2', 'server3', 'server4']) expect(sim.legsDiffer('server1', n)).toBe(-1);
    });
  });
});

describe('a new generation', () => {
  it('is not committed while a member that was lost may live and has not heard of it: it would know nothing of what its source has (M10)', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      const [source, away] = ['server1', 'server3'].map((n) => sim.daemon(n).mirrors.get('t'));
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.inSync('server1', 'server2', 'server3');
      const before = source?.record().generation;
      sim.world.cut('server1', 'server3');
      const written = sim.write('server1', 0, REGION, 1);
      await sim.until('it is committed', () => source?.record().generation !== before);
      const knows = away?.record().offered.some((o) => o.generation === source?.record().generation) === true;
      expect([source?.record().inSync.includes('server3'), knows]).toEqual([false, false]);
      await written;
      expect(source?.record().droppedUnconfirmed).toEqual(['server3']);
    });
  });

  it('that could not be committed is taken back on those who have heard of it', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      const [source, told] = ['server1', 'server2'].map((n) => sim.daemon(n).mirrors.get('t'));
      await sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.inSync('server1', 'server2', 'server3');
      const before = source?.record().generation;
      sim.world.cut('server1', 'server3');
      const written = sim.write('server1', 0, REGION, 1);
      await sim.until('server2 has heard of it', () => told?.record().generation !== before);
      await sim.until('it is taken back', () => told?.record().generation === before);
      expect(source?.record().generation).toBe(before);
      await written;
      expect(told?.record().generation).toBe(source?.record().generation);
    });
  });
});

describe('a new generation under an arbiter', () => {
  const FOUR = ['server1', 'server2', 'server3', 'server4'];

  /** server1 writes alone: two targets are paused, and the third has left in silence; everybody else hears everybody. */
  async function writesAlone(sim: Sim): Promise<void> {
    await sim.mirror({ arbiter: 'majority' });
    await sim.call('server1', 'pause', { tag: 't', nodes: ['server2', 'server3'] });
    await sim.write('server1', 0, REGION, 1);
    sim.world.cut('server1', 'server4');
    await sim.write('server1', 0, REGION, 2);
  }

  it('is known to so many that nobody is voted for who left in silence and lacks it (M2)', async () => {
    await Sim.run({ nodes: FOUR }, async (sim) => {
      /** An errno instead, of a source that answers nothing. */
      const firstByte = (node: string): Promise<number | undefined> =>
        sim.read(node, 0, 512).then(
          (bytes) => bytes[0],
          (e: unknown) => (e instanceof IoError ? -e.errno : Promise.reject(e instanceof Error ? e : new Error(String(e)))),
        );
      await writesAlone(sim);
      const [source, away] = ['server1', 'server4'].map((n) => sim.daemon(n).mirrors.get('t'));
      expect([source?.record().inSync, source?.record().droppedUnconfirmed]).toEqual([['server1'], ['server4']]);
      // By its own record it lacks nothing.
      expect(away?.record()).toMatchObject({ inSync: expect.arrayContaining(['server4']) as unknown, toldOut: null });
      for (const n of ['server2', 'server3']) sim.world.cut('server1', n);
      await sim.until('its source is lost', () => away?.decision?.rule === 'better-candidate' && away.decision.why.includes('knows of newer data'));
      await sim.world.sleep(20_000);
      expect(away?.inService).toBe(false);
      for (const n of FOUR.slice(1)) sim.world.heal('server1', n);
      await sim.until('its source has resynced it', () => away?.record().generation === source?.record().generation);
      await sim.inSync('server1', 'server4');
      await sim.until(
        'most stand by its epoch again',
        async () => (await sim.status('server1')).state === 'Source' && (await firstByte('server1')) === 2,
      );
      // In sync again, it may take over as ever.
      sim.crash('server1');
      await sim.until('it takes over', () => away?.inService === true);
      expect(await firstByte('server4')).toBe(2);
    });
  });

  it('is not committed, and nothing is answered under it, where too few can write it down (M2, M14)', async () => {
    await Sim.run({ nodes: FOUR }, async (sim) => {
      await sim.mirror({ arbiter: 'majority' });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2', 'server3'] });
      await sim.write('server1', 0, REGION, 1);
      const source = sim.daemon('server1').mirrors.get('t');
      const before = source?.record().generation;
      for (const n of ['server2', 'server3']) {
        const store = sim.daemon(n).mirrors.get('t')?.store;
        if (store !== undefined) store.update = () => Promise.reject(new ClusterError('io', 'the disk is full'));
      }
      sim.world.cut('server1', 'server4');
      await expect(sim.write('server1', 0, REGION, 2)).rejects.toThrow();
      expect(source?.record().generation).toBe(before);
    });
  });
});

describe('a forced source whose generation too few can write down', () => {
  it('answers writes again as soon as they can (M14)', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3', 'server4'] }, async (sim) => {
      await sim.mirror({ arbiter: 'majority' });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2', 'server3'] });
      await sim.write('server1', 0, REGION, 1);
      sim.world.cut('server1', 'server4');
      sim.crash('server1');
      await sim.start('server1');
      const full = ['server2', 'server3'].map((n) => {
        const target = sim.daemon(n).mirrors.get('t')?.target;
        if (target === undefined) throw new Error(`no mirror on ${n}`);
        return vi.spyOn(target, 'witness').mockRejectedValue(new ClusterError('io', 'the disk is full'));
      });
      await sim.until('both are heard', () => ['server2', 'server3'].every((n) => sim.daemon('server1').env.cluster.connected(n)));
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force', 'no-majority'] });
      await expect(sim.write('server1', 0, REGION, 2)).rejects.toThrow();
      expect(full[0]).toHaveBeenCalled();
      for (const f of full) f.mockRestore();
      const written = (): Promise<boolean> =>
        sim.write('server1', 0, REGION, 3).then(
          () => true,
          (e: unknown) => (e instanceof IoError ? false : Promise.reject(e instanceof Error ? e : new Error(String(e)))),
        );
      await sim.until('a write is answered', written);
    });
  });
});

describe('an epoch that was heard to be served', () => {
  it('is written down: a last source that could go on alone asks for its owner, also when it has been started anew since', async () => {
    await Sim.run({ tunables: { waitToResync: true } }, async (sim) => {
      await sim.mirror({ failover: 'off' });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.until('server2 is told', () => sim.daemon('server2').mirrors.get('t')?.record().toldOut !== null);
      sim.crash('server1');
      await sim.until('server1 is silent', () => (sim.daemon('server2').env.cluster.silentForMs('server1') ?? 0) > 2000);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      await sim.write('server2', 0, REGION, 2);
      await sim.start('server1');
      const heard = (): number | undefined => sim.daemon('server1').mirrors.get('t')?.record().epochSeen?.number;
      await sim.until('server1 has heard of it', () => heard() === 2);
      for (const node of ['server1', 'server2']) sim.crash(node);
      await sim.start('server1');
      await sim.until('it has listened', async () => (await sim.status('server1')).state === 'Data Corrupt');
      await sim.world.sleep(5000);
      expect(await sim.status('server1')).toMatchObject({ inService: false, decision: { rule: 'source-alone' } });
    });
  });

  it('is written down in a split brain as well: whoever stays out for it does not go on alone when the link is cut again', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ failover: 'off' });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.until('server2 is told', () => sim.daemon('server2').mirrors.get('t')?.record().toldOut !== null);
      await sim.write('server1', 0, REGION, 1);
      sim.world.cut('server1', 'server2');
      await sim.until('server1 is silent', () => (sim.daemon('server2').env.cluster.silentForMs('server1') ?? 0) > 2000);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
      await sim.write('server2', 0, REGION, 2);
      sim.world.heal('server1', 'server2');
      await sim.until('it is shown', async () => (await sim.status('server1')).state === 'Split Brain');
      sim.world.cut('server1', 'server2');
      await sim.world.sleep(10_000);
      expect((await sim.status('server1')).inService).toBe(false);
      sim.world.heal('server1', 'server2');
      await sim.until('it is shown again', async () => (await sim.status('server1')).state === 'Split Brain');
      expect(await sim.status('server2')).toMatchObject({ inService: true });
    });
  });
});

describe('a mirror that goes in service', () => {
  it('does not wait for a target that is paused', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ failover: 'off' });
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.call('server1', 'out-of-service', { tag: 't' });
      const from = sim.world.now();
      await sim.call('server1', 'in-service', { tag: 't' });
      expect(sim.world.now() - from).toBeLessThan(500);
      expect(await sim.targetState('server1', 'server2')).toBe('Paused');
    });
  });
});
