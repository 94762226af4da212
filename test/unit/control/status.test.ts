import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, REGION, Sim } from './sim.ts';

describe('status', () => {
  it('of a source and its target say the same', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 3 * REGION, 1);
      await sim.world.sleep(1000);
      const [a, b] = [await sim.status('server1'), await sim.status('server2')];
      expect(a).toMatchObject({
        state: 'Source',
        inService: true,
        source: 'server1',
        localLeg: 'in',
        failover: 'auto',
        failureTimeoutMs: 2000,
        suspended: null,
        epoch: { owner: 'server1' },
      });
      expect(a.flags).toEqual({ lastOwner: true, source: 'server1', dataCorrupt: false });
      expect(a.nodes).toEqual({
        server1: { priority: 1, mode: 'sync', foreign: false, reachable: true },
        server2: { priority: 10, mode: 'sync', foreign: false, reachable: true },
      });
      expect(b).toMatchObject({
        state: 'Target',
        inService: false,
        source: 'server1',
        targets: [],
        export: null,
        generation: a.generation,
        epoch: a.epoch,
      });
      expect(b.flags).toEqual({ lastOwner: false, source: 'server1', dataCorrupt: false });
      expect(a.decision).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
      // JSON all the way.
      expect(JSON.parse(JSON.stringify([a, b]))).toEqual([a, b]);
    });
  });

  it('while a target is resynced shows how far it is', async () => {
    const resync = { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: 4 * REGION, rateMinBytesPerSec: 4 * REGION, copyBytes: REGION };
    await Sim.run({ settings: { resync } }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      await sim.call('server1', 'fullresync', { tag: 't', source: null, nodes: [] });
      await sim.until('half', async () => ((await sim.status('server1')).targets[0]?.progress?.doneBytes ?? 0) >= MIB / 2);
      const [t] = (await sim.status('server1')).targets;
      expect(t).toMatchObject({ state: 'Resyncing', progress: { kind: 'full', totalBytes: MIB } });
      expect(t?.progress?.bytesPerSec).toBeGreaterThan(2 * REGION);
      expect(t?.progress?.secondsLeft).toBeGreaterThan(0.5);
      expect(t?.progress?.secondsLeft).toBeLessThan(4);
      await sim.until('server2 says so too', async () => (await sim.status('server2')).state === 'Resyncing');
      await sim.inSync('server1', 'server2');
      const [done] = (await sim.status('server1')).targets;
      expect(done).toMatchObject({ progress: null, dirtyBytes: 0, dirtyRegions: 0 });
      expect(done?.lastResync?.seconds).toBeGreaterThan(3);
    });
  });

  it('of a target that is away says what it lacks', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      sim.crash('server2');
      await sim.until('server2 is out', async () => (await sim.targetState('server1', 'server2')) === 'Unknown');
      await sim.write('server1', 8 * REGION, 2 * REGION, 2);
      const [t] = (await sim.status('server1')).targets;
      expect(t?.dirtyRegions).toBeGreaterThanOrEqual(2);
      expect(t?.dirtyBytes).toBe((t?.dirtyRegions ?? 0) * REGION);
      expect((await sim.status('server1')).nodes['server2']?.reachable).toBe(false);
    });
  });

  it('after a takeover names the previous source, and who waits for its marks', async () => {
    await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      sim.crash('server1');
      await sim.until('server2 took over', async () => (await sim.status('server2')).inService);
      await sim.until('server3 waits', async () => (await sim.targetState('server2', 'server3')) === 'Out of Sync (Wait for Previous Source)');
      const s = await sim.status('server2');
      expect(s.flags).toEqual({ lastOwner: true, source: 'server1', dataCorrupt: false });
      expect(s.targets.find((t) => t.node === 'server1')?.state).toBe('Unknown');
      expect(s.targets.find((t) => t.node === 'server3')?.detail).toMatch(/server1/);
      await sim.start('server1');
      await sim.inSync('server2', 'server1', 'server3');
      await sim.until('TAG_source is itself', async () => (await sim.status('server2')).flags.source === 'server2');
      expect((await sim.status('server1')).flags).toEqual({ lastOwner: false, source: 'server2', dataCorrupt: false });
      for (const n of ['server1', 'server3']) expect(sim.legsDiffer('server2', n)).toBe(-1);
    });
  });

  it('of an async target shows its queue', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { mode: 'async' }));
      await sim.inSync('server1', 'server2');
      sim.world.slow('server1', 'server2', { delayMs: 300 });
      const c = await sim.client('server1');
      await c.writeBytes(0, new Uint8Array(REGION).fill(1));
      const [t] = (await sim.status('server1')).targets;
      expect(t).toMatchObject({ mode: 'async', state: 'Target', queuedWrites: 1, queuedBytes: REGION });
      sim.world.slow('server1', 'server2', {});
      await sim.until('its queue is empty', async () => (await sim.status('server1')).targets[0]?.queuedWrites === 0);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
      await c.disconnect();
    });
  });
});

it('a mirror is shown in service once clients can connect, and not before', async () => {
  await Sim.run({}, async (sim) => {
    await sim.mirror();
    await sim.call('server1', 'out-of-service', { tag: 't' });
    const going = sim.call('server1', 'in-service', { tag: 't' });
    const m = sim.daemon('server1').mirrors.get('t');
    const before: boolean[] = [];
    let status = await sim.status('server1');
    while (!status.inService) {
      before.push(m?.inService === true);
      expect(status.export).toBeNull();
      await sim.world.sleep(0.2);
      status = await sim.status('server1');
    }
    expect(before).toContain(true);
    expect(status.export).not.toBeNull();
    expect((await sim.read('server1', 0, 4096)).length).toBe(4096);
    await going;
  });
});

it('a source without a majority says that it is suspended, since when, and when requests are answered with errors', async () => {
  await Sim.run({ nodes: ['server1', 'server2', 'server3'] }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    expect((await sim.status('server1')).suspended).toBeNull();
    sim.crash('server2');
    sim.crash('server3');
    await sim.until('it is suspended', async () => (await sim.status('server1')).suspended !== null);
    const first = await sim.status('server1');
    expect(first).toMatchObject({ inService: true, suspended: { for: ['no quorum'] }, decision: { action: 'suspend', rule: 'no-quorum' } });
    expect(first.suspended?.sinceMs).toBeLessThan(100);
    expect(first.suspended?.errorsInMs).toBeGreaterThan(3800);
    await sim.world.sleep(1000);
    const later = (await sim.status('server1')).suspended;
    expect((later?.sinceMs ?? 0) - (first.suspended?.sinceMs ?? 0)).toBeGreaterThanOrEqual(999);
    expect((first.suspended?.errorsInMs ?? 0) - (later?.errorsInMs ?? 0)).toBeGreaterThanOrEqual(999);
    await sim.until('errors are answered', async () => (await sim.status('server1')).suspended?.errorsInMs === 0);
    await sim.start('server2');
    await sim.until('it answers again', async () => (await sim.status('server1')).suspended === null);
  });
});
