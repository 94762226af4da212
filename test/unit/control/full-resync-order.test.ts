/** A full resync that was ordered is carried out, whatever happens to the daemon that was told. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_LATENCIES } from '../../../src/io/simulated/faults.ts';
import { MIB, Sim } from './sim.ts';

const ordered = (sim: Sim, node: string): unknown => sim.daemon(node).mirrors.get('t')?.record().fullOrdered;
const lastResync = async (sim: Sim, node: string) => (await sim.status('server1')).targets.find((t) => t.node === node)?.lastResync;
const serves = (sim: Sim, node: string): Promise<void> => sim.until(`${node} serves`, async () => (await sim.status(node)).inService);

/** The order is given while server2 is away, so that it is not carried out at once. */
async function orderedWhileAway(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.write('server1', 0, 99_840, 6);
  sim.crash('server2');
  await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
  await sim.call('server1', 'fullresync', { tag: 't', source: null, nodes: ['server2'] });
  expect(ordered(sim, 'server1')).toEqual(['server2']);
}

describe('an order', () => {
  it('is carried out at once, however long a link rests between two tries', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror({ failureTimeoutMs: 20_000 });
      const began = (): number => sim.daemon('server1').recentEvents.filter((e) => e.kind === 'resync-started').length;
      const before = began();
      const at = sim.world.now();
      await sim.call('server1', 'fullresync', { tag: 't', source: null, nodes: ['server2'] });
      await sim.until('it has begun', () => began() > before);
      expect(sim.world.now() - at).toBeLessThan(1000);
      await sim.inSync('server1', 'server2');
      expect(await lastResync(sim, 'server2')).toMatchObject({ kind: 'full', bytes: MIB });
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it.each(['stop', 'crash'] as const)('survives the %s of the source, and ends with the resync', async (how) => {
    await Sim.run({}, async (sim) => {
      await orderedWhileAway(sim);
      if (how === 'stop') await sim.stop('server1');
      else sim.crash('server1');
      await sim.start('server1');
      await sim.start('server2');
      await serves(sim, 'server1');
      await sim.inSync('server1', 'server2');
      expect(await lastResync(sim, 'server2')).toMatchObject({ kind: 'full', bytes: MIB });
      expect(ordered(sim, 'server1')).toEqual([]);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('that was cut short by a crash of the source is carried out from the beginning', async () => {
    await Sim.run({ nodes: ['server1', 'server2'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 6);
      await sim.call('server1', 'fullresync', { tag: 't', source: null, nodes: ['server2'] });
      await sim.until('it has begun', () => sim.daemon('server2').mirrors.get('t')?.record().resyncingFrom?.kind === 'full');
      sim.crash('server1');
      await sim.start('server1');
      await serves(sim, 'server1');
      await sim.inSync('server1', 'server2');
      expect(await lastResync(sim, 'server2')).toMatchObject({ kind: 'full', bytes: MIB });
      expect(ordered(sim, 'server1')).toEqual([]);
    });
  });

  it('holds for a pause and a resume, and is gone with its node', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await orderedWhileAway(sim);
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.call('server1', 'resume', { tag: 't', nodes: ['server2'] });
      expect(ordered(sim, 'server1')).toEqual(['server2']);
      await sim.call('server1', 'unextend', { tag: 't', node: 'server2' });
      expect(ordered(sim, 'server1')).toEqual([]);
    });
  });

  it('is void on a node that became a target itself', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await orderedWhileAway(sim);
      sim.crash('server1');
      await serves(sim, 'server3');
      await sim.start('server1');
      await sim.inSync('server3', 'server1');
      expect(ordered(sim, 'server1')).toEqual([]);
    });
  });
});

async function splitBrain(sim: Sim): Promise<void> {
  await sim.mirror();
  sim.world.cut('server1', 'server2');
  await serves(sim, 'server2');
  await sim.until('server1 goes on alone', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
  await sim.write('server1', 0, 4096, 11);
  await sim.write('server2', 0, 4096, 22);
  sim.world.heal('server1', 'server2');
  await sim.until('one of them has stopped', async () => !(await sim.status('server1')).inService);
  await sim.until('it is shown', async () => (await sim.targetState('server2', 'server1')) === 'Split Brain');
}

describe('a split brain', () => {
  it('that was resolved before the source was started again ends: the victim is overwritten', async () => {
    await Sim.run({}, async (sim) => {
      await splitBrain(sim);
      await sim.call('server2', 'resolve', { tag: 't', victim: 'server1' });
      sim.crash('server2');
      await sim.start('server2');
      expect(ordered(sim, 'server2')).toEqual(['server1']);
      await sim.call('server2', 'force', { tag: 't', withoutLastOwner: false });
      await sim.inSync('server2', 'server1');
      expect((await sim.status('server2')).targets[0]?.lastResync).toMatchObject({ kind: 'full' });
      expect(ordered(sim, 'server2')).toEqual([]);
      expect((await sim.read('server2', 0, 512))[0]).toBe(22);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('is resolved by a word that was given while the victim was heard, also if that is silent before the word is written down', async () => {
    await Sim.run({}, async (sim) => {
      await splitBrain(sim);
      const disk = sim.world.node('server2');
      const slow = { fromMs: 1000, toMs: 1000 };
      disk.setDisk({ latencies: { write: slow, sync: slow } });
      const word = sim.call('server2', 'resolve', { tag: 't', victim: 'server1' });
      await sim.until(
        'the word is being written down',
        () => sim.daemon('server2').mirrors.get('t')?.source?.marks.outOfSync('server1').count === 16,
      );
      sim.crash('server1');
      await word;
      expect(sim.daemon('server2').mirrors.get('t')?.silentForMs('server1')).toBeGreaterThan(2000);
      disk.setDisk({ latencies: DEFAULT_LATENCIES });
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      expect((await sim.status('server2')).targets[0]?.lastResync).toMatchObject({ kind: 'full' });
      expect((await sim.read('server2', 0, 512))[0]).toBe(22);
    });
  });
});
