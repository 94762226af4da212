/** A change of the mirror that its source wrote down and told nobody, as it crashed in between: it does not outlive the next source (M12). */
import { describe, expect, it, vi } from 'vitest';
import type { ActionName } from '../../../src/control/types.ts';
import type { MirrorDefinition } from '../../../src/failover/types.ts';
import { type Params, REGION, Sim } from './sim.ts';

const NODES = ['server1', 'server2', 'server3'];

const definition = (sim: Sim, node: string): MirrorDefinition => {
  const d = sim.daemon(node).mirrors.get('t')?.record().definition;
  if (d === undefined) throw new Error(`${node} does not know the mirror`);
  return d;
};

const serves = (sim: Sim, node: string): Promise<void> => sim.until(`${node} serves`, async () => (await sim.status(node)).inService);

/** Once it is on disk, before anybody else hears of it. */
async function crashesWith<A extends ActionName>(sim: Sim, action: A, params: Params<A>): Promise<void> {
  const members = sim.daemon('server1').mirrors.get('t')?.source?.members;
  if (members === undefined) throw new Error('server1 does not serve');
  const never = new Promise<void>(() => undefined);
  await new Promise<void>((resolve, reject) => {
    vi.spyOn(members, 'announce').mockImplementation(() => {
      sim.crash('server1');
      resolve();
      return never;
    });
    sim.call('server1', action, params).catch(reject);
  });
}

/** server1 has the next revision on disk, and nobody else has heard of it; server2 has taken over with the one before, and server3 is in sync. */
async function unannounced<A extends ActionName>(action: A, params: Params<A>, story: (sim: Sim) => Promise<void>): Promise<void> {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror({ waitForPreviousSourceSec: 0 });
    await sim.write('server1', 0, REGION, 1);
    const before = definition(sim, 'server1').revision;
    await crashesWith(sim, action, params);
    await serves(sim, 'server2');
    await sim.inSync('server2', 'server3');
    expect([definition(sim, 'server2').revision, definition(sim, 'server3').revision]).toEqual([before, before]);
    await sim.write('server2', REGION, REGION, 2);
    await story(sim);
  });
}

async function returns(sim: Sim): Promise<void> {
  await sim.start('server1');
  expect(Object.keys(definition(sim, 'server1').nodes)).toEqual(['server1', 'server2']);
}

describe('a target whose removal was not announced', () => {
  const removed = (story: (sim: Sim) => Promise<void>): Promise<void> => unannounced('unextend', { tag: 't', node: 'server3' }, story);
  const written = async (sim: Sim): Promise<void> => {
    expect([...new Set(await sim.read('server3', 0, 2 * REGION))]).toEqual([1, 2]);
    expect(sim.daemon('server3').mirrors.get('t')?.view().state).toBe('Source');
  };

  it('takes over as the only complete copy, while whoever removed it is being resynced', async () => {
    await removed(async (sim) => {
      await returns(sim);
      const cutShort = (): boolean => sim.daemon('server1').mirrors.get('t')?.record().resyncingFrom?.node === 'server2';
      while (!cutShort()) await sim.world.sleep(0.05);
      sim.crash('server2');
      await sim.world.sleep(1000);
      expect(cutShort()).toBe(true);
      await serves(sim, 'server3');
      await written(sim);
    });
  });

  it('takes over though it hears only him who removed it', async () => {
    await removed(async (sim) => {
      sim.crash('server2');
      await returns(sim);
      await serves(sim, 'server3');
      await written(sim);
      await sim.inSync('server3', 'server1');
      expect(Object.keys(definition(sim, 'server1').nodes)).toEqual(NODES);
    });
  });

  it('waits for its source when it has been restarted itself, and can be forced', async () => {
    await removed(async (sim) => {
      for (const n of ['server2', 'server3']) sim.crash(n);
      await returns(sim);
      await sim.start('server3');
      await sim.until('they hear each other', () => sim.daemon('server3').env.cluster.connected('server1'));
      await sim.world.sleep(5000);
      expect((await sim.status('server3')).decision?.rule).toBe('target-alone');
      await sim.call('server3', 'force', { tag: 't', withoutLastOwner: true });
      await written(sim);
    });
  });

  it('is not removed while its own resync runs, which its source has not finished', async () => {
    await removed(async (sim) => {
      sim.world.node('server3').stall('/leg');
      await sim.call('server2', 'fullresync', { tag: 't', source: null, nodes: ['server3'] });
      await sim.until('it is being resynced', () => sim.daemon('server3').mirrors.get('t')?.record().resyncingFrom?.node === 'server2');
      await returns(sim);
      await sim.until('they hear each other', () => sim.daemon('server3').env.cluster.connected('server1'));
      await sim.world.sleep(1000);
      expect(Object.keys(definition(sim, 'server3').nodes)).toEqual(NODES);
      sim.world.node('server3').repairDisk();
      await sim.inSync('server2', 'server1', 'server3');
    });
  });

  it('is part of the mirror on whoever removed it, too, from its first session on', async () => {
    await removed(async (sim) => {
      await returns(sim);
      await sim.inSync('server2', 'server1', 'server3');
      for (const n of NODES) expect(definition(sim, n)).toEqual(definition(sim, 'server2'));
      expect(Object.keys(definition(sim, 'server1').nodes)).toEqual(NODES);
    });
  });
});

describe('a setting that was not announced', () => {
  it('gives way to that of the next source, which everybody takes from then on', async () => {
    await unannounced('set', { tag: 't', failover: 'off' }, async (sim) => {
      await sim.start('server1');
      expect(definition(sim, 'server1').failover).toBe('off');
      await sim.inSync('server2', 'server1', 'server3');
      for (const n of NODES) expect(definition(sim, n)).toEqual(definition(sim, 'server2'));
      await sim.call('server2', 'set', { tag: 't', failover: 'confirm', confirmDefault: 'go', confirmTimeoutSec: 1 });
      for (const n of NODES) expect(definition(sim, n)).toMatchObject({ failover: 'confirm', confirmDefault: 'go' });
      sim.crash('server2');
      await serves(sim, 'server1');
    });
  });

  it('gives way also where the next source has said something else under the same number', async () => {
    await unannounced('set', { tag: 't', failover: 'off' }, async (sim) => {
      await sim.call('server2', 'set', { tag: 't', failover: 'confirm' });
      await sim.start('server1');
      expect(definition(sim, 'server1').revision).toBe(definition(sim, 'server2').revision);
      await sim.inSync('server2', 'server1', 'server3');
      for (const n of NODES) expect(definition(sim, n)).toEqual(definition(sim, 'server2'));
      expect(definition(sim, 'server1').failover).toBe('confirm');
    });
  });

  it('holds where its source comes back as the source', async () => {
    await Sim.run({ nodes: NODES }, async (sim) => {
      await sim.mirror({ failover: 'confirm' });
      await crashesWith(sim, 'set', { tag: 't', failover: 'off' });
      await sim.start('server1');
      await serves(sim, 'server1');
      await sim.inSync('server1', 'server2', 'server3');
      for (const n of NODES) expect(definition(sim, n).failover).toBe('off');
    });
  });
});

it('a source that was removed while it was away learns so, whatever it had not announced itself, and stays out', async () => {
  await unannounced('set', { tag: 't', failover: 'off' }, async (sim) => {
    await sim.call('server2', 'unextend', { tag: 't', node: 'server1' });
    await sim.start('server1');
    expect(definition(sim, 'server1').revision).toBe(definition(sim, 'server2').revision);
    await sim.until('server1 has written it down', () => !Object.hasOwn(definition(sim, 'server1').nodes, 'server1'));
    for (const n of ['server2', 'server3']) sim.crash(n);
    await sim.world.sleep(5000);
    await sim.refuses('server1', 'force', { tag: 't', withoutLastOwner: true }, 'refused', /server1 is no longer part of the mirror/);
  });
});

it('a node that was removed while it was cut off learns so from another target as well', async () => {
  await Sim.run({ nodes: NODES }, async (sim) => {
    await sim.mirror({ failover: 'off' });
    for (const n of ['server1', 'server2']) sim.world.cut('server3', n);
    await sim.until('server3 is out', async () => (await sim.targetState('server1', 'server3')) === 'Unknown');
    await sim.call('server1', 'unextend', { tag: 't', node: 'server3' });
    sim.crash('server1');
    for (const n of ['server1', 'server2']) sim.world.heal('server3', n);
    await sim.until('server3 has written it down', () => !Object.hasOwn(definition(sim, 'server3').nodes, 'server3'));
    await sim.refuses('server3', 'force', { tag: 't', withoutLastOwner: true }, 'refused', /server3 is no longer part of the mirror/);
  });
});
