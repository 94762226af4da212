/** A foreign target keeps no record: what another source has written to it, none of our nodes can see there (M5, M6). */
import { describe, expect, it } from 'vitest';
import { FakeTls } from '../../support/fake-tls.ts';
import { MIB, REGION, Sim, type SimOptions } from './sim.ts';

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

describe('a foreign target that has come to be too small', () => {
  it('is shown as refused, and why, and not as one that can not be heard', async () => {
    await withCopy(async (sim) => {
      await sim.call('far', 'out-of-service', { tag: 'disk' });
      await sim.until('it is silent', async () => (await sim.targetState('server1', 'copy')) === 'Unknown');
      await sim.call('far', 'resize', { tag: 'disk', sizeBytes: MIB / 2, force: true });
      await sim.call('far', 'in-service', { tag: 'disk' });
      await sim.until('it is refused', async () => (await sim.targetState('server1', 'copy')) === 'Refused');
      const shown = (await sim.status('server1')).targets.find((t) => t.node === 'copy');
      expect(shown?.detail).toBe('nbd://far:10809/disk has 524288 bytes, the mirror 1048576');
      await sim.call('server1', 'pause', { tag: 't', nodes: ['copy'] });
      expect(await sim.targetState('server1', 'copy')).toBe('Paused');
      await sim.call('server1', 'resume', { tag: 't', nodes: ['copy'] });
      sim.crash('far');
      await sim.until('it is silent', async () => (await sim.targetState('server1', 'copy')) === 'Unknown');
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

describe('a foreign target by TLS', () => {
  /** `far` exports by TLS alone; server1 speaks it when asked to, and only that when it is required. */
  const withTls = (required: boolean): SimOptions => ({
    nodes: [...OURS, 'far'],
    exporting: ['far'],
    more: (node, { clock }) => {
      const tls = new FakeTls({ names: [node] }, clock);
      if (node === 'far') return required ? {} : { exportTls: { tls, mode: 'required' } };
      return { foreignTls: { required, tls: { connect: (s, server, timeoutMs) => tls.connect(s, server.host, timeoutMs) } } };
    },
  });
  const extend = (sim: Sim, uri: string): Promise<unknown> =>
    sim.call('server1', 'extend', sim.extendParams('copy', 20, { leg: null, foreignUri: uri })).catch((e: unknown) => e);
  const begin = async (sim: Sim): Promise<void> => {
    await sim.call('far', 'create', sim.createParams({ tag: 'disk', leg: '/disk' }));
    await sim.call('far', 'in-service', { tag: 'disk' });
    await sim.call('server1', 'create', sim.createParams());
    await sim.call('server1', 'in-service', { tag: 't' });
  };

  it('is written to, and again after it was away; in clear, or as somebody else, it is refused', async () => {
    await Sim.run(withTls(false), async (sim) => {
      await begin(sim);
      expect(String(await extend(sim, 'nbd://far:10809/disk'))).toMatch(/copy can not be a target of t: .*it requires TLS/);
      expect(String(await extend(sim, 'nbds://far:10809/disk?tls-hostname=other'))).toMatch(/its certificate is that of far/);
      await extend(sim, 'nbds://far:10809/disk');
      await sim.inSync('server1', 'copy');
      await sim.write('server1', 0, REGION, 1);
      sim.crash('far');
      await sim.write('server1', REGION, REGION, 2);
      await sim.start('far');
      expect(await copied(sim, 'server1')).toBe('partial');
    });
  });

  it('is needed where the configuration says "tls: required", but on the machine itself', async () => {
    await Sim.run(withTls(true), async (sim) => {
      await begin(sim);
      expect(String(await extend(sim, 'nbd://far:10809/disk'))).toMatch(
        /copy can not be a target of t: nbd:\/\/far:10809\/disk is in clear, and this node's configuration says "tls: required"; allowed: nbds/,
      );
      expect(String(await extend(sim, 'nbd://127.0.0.1:10809/disk'))).not.toMatch(/in clear/);
      expect((await sim.status('server1')).targets).toEqual([]);
    });
  });
});
