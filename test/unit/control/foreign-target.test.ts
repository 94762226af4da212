/** A foreign target keeps no record: what another source has written to it, none of our nodes can see there (M5, M6). */
import { describe, expect, it } from 'vitest';
import { MIB, REGION, Sim } from './sim.ts';

const OURS = ['server1', 'server2'];

/** server1 serves; server2 and `copy`, which is an export of the node `far`, are in sync. */
async function withCopy(story: (sim: Sim) => Promise<void>, o: { failover?: 'auto' | 'off' } = {}): Promise<void> {
  await Sim.run({ nodes: [...OURS, 'far'], exporting: ['far'] }, async (sim) => {
    await sim.call('far', 'create', sim.createParams({ tag: 'disk', leg: '/disk' }));
    await sim.call('far', 'in-service', { tag: 'disk' });
    await sim.call('server1', 'create', sim.createParams(o));
    await sim.call('server1', 'in-service', { tag: 't' });
    await sim.call('server1', 'extend', sim.extendParams('server2', 10));
    await sim.call('server1', 'extend', sim.extendParams('copy', 20, { leg: null, foreignUri: 'nbd://far:10809/disk' }));
    await sim.inSync('server1', 'server2', 'copy');
    await sim.write('server1', 0, REGION, 1);
    await story(sim);
  });
}

const copied = async (sim: Sim, source: string): Promise<string | undefined> => {
  await sim.inSync(source, 'copy');
  expect(sim.legsDiffer(source, 'far', '/leg', '/disk')).toBe(-1);
  return (await sim.status(source)).targets.find((t) => t.node === 'copy')?.lastResync?.kind;
};

/** server2 serves, alone with `copy`, and is lost; server1 is back, and has heard nothing of it. */
async function rewrittenBy2(sim: Sim, forced: boolean): Promise<void> {
  sim.crash('server1');
  await sim.until('server1 is silent', () => (sim.daemon('server2').env.cluster.silentForMs('server1') ?? 0) > 4000);
  if (forced) await sim.call('server2', 'force', { tag: 't', withoutLastOwner: true });
  await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
  expect(await copied(sim, 'server2')).toBe('full');
  await sim.write('server2', 5 * REGION, REGION, 2);
  sim.crash('server2');
  await sim.start('server1');
}

describe('a foreign target that another source has rewritten', () => {
  it('is copied in full by a last source that was forced, and knows nothing of it', async () => {
    await withCopy(async (sim) => {
      await rewrittenBy2(sim, false);
      await sim.until('server1 has decided', async () => (await sim.status('server1')).decision?.rule === 'source-alone');
      await sim.call('server1', 'force', { tag: 't', withoutLastOwner: false });
      expect(await copied(sim, 'server1')).toBe('full');
    });
  });

  it('is copied in full by a last source that goes on alone, as every other had confirmed that it is out', async () => {
    await withCopy(async (sim) => {
      await sim.call('server1', 'pause', { tag: 't', nodes: ['server2'] });
      await sim.write('server1', REGION, REGION, 3);
      await rewrittenBy2(sim, true);
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      expect((await sim.status('server1')).decision?.rule).toBe('source-alone-agreed');
      expect(await copied(sim, 'server1')).toBe('full');
    });
  });
});

describe('a foreign target that nobody else can have written to', () => {
  it('is shown as paused when it is, and is copied to in part when it goes on', async () => {
    await withCopy(async (sim) => {
      await sim.call('server1', 'pause', { tag: 't', nodes: ['copy'] });
      await sim.write('server1', REGION, REGION, 3);
      expect(await sim.targetState('server1', 'copy')).toBe('Paused');
      await sim.call('server1', 'resume', { tag: 't', nodes: ['copy'] });
      expect(await copied(sim, 'server1')).toBe('partial');
    });
  });

  it('is copied to in part by its source, which crashed and has heard all others', async () => {
    await withCopy(
      async (sim) => {
        sim.crash('server1');
        await sim.start('server1');
        await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
        expect(await copied(sim, 'server1')).toBe('partial');
        const resync = (await sim.status('server1')).targets.find((t) => t.node === 'copy')?.lastResync;
        expect(resync?.bytes).toBeLessThan(MIB);
      },
      { failover: 'off' },
    );
  });

  it('is not copied to at all after a clean stop of its source', async () => {
    await withCopy(async (sim) => {
      await sim.stop('server1');
      await sim.start('server1');
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      expect(await copied(sim, 'server1')).toBeUndefined();
    });
  });
});
