import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import type { SimProgramEnd } from '../../../src/io/simulated/programs.ts';
import { MIB, Sim } from './sim.ts';

interface Told {
  node: string;
  event: string;
  env: Readonly<Record<string, string>>;
  at: number;
}

/** Every node has one hook, which remembers what it is told and ends as `end` says. */
function withHooks(sim: Sim, end: (event: string) => SimProgramEnd = () => ({})): Told[] {
  const told: Told[] = [];
  for (const node of sim.names) {
    sim.world.node(node).install('/var/etc/hooks.d/10-test', ([event = ''], env) => {
      told.push({ node, event, env, at: sim.world.now() });
      return end(event);
    });
  }
  return told;
}

const of = (told: readonly Told[], node: string): string[] => told.filter((t) => t.node === node).map((t) => t.event);

describe('hooks of a daemon', () => {
  it('hear of a failover from its first loss to the resync of the node that returns', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim);
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      expect(of(told, 'server1')[0]).toBe('in-service');
      sim.crash('server1');
      await sim.until('the hook of server2 is told', () => of(told, 'server2').includes('in-service'));
      expect((await sim.status('server2')).inService).toBe(true);
      expect(told.find((t) => t.node === 'server2')?.env).toMatchObject({
        NETRAID_EVENT: 'in-service',
        NETRAID_TAG: 't',
        NETRAID_NODE: 'server2',
        NETRAID_NODES: 'server1 server2',
        NETRAID_SOURCE: 'server2',
        NETRAID_RULE: 'takeover',
        NETRAID_ROOT: '/var',
      });
      await sim.write('server2', MIB / 2, 4096, 2);
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      await sim.until('the hook is told of the resync', () => of(told, 'server2').includes('resync-done'));
      expect(told.at(-1)?.env).toMatchObject({ NETRAID_EVENT: 'resync-done', NETRAID_PEER: 'server1', NETRAID_RULE: 'serving' });
      sim.crash('server1');
      await sim.write('server2', 0, 4096, 3);
      await sim.until('the hook is told of the loss', () => of(told, 'server2').includes('out-of-sync'));
      expect(of(told, 'server2')).toEqual(['in-service', 'resync-done', 'out-of-sync']);
      expect(told.at(-1)?.env).toMatchObject({ NETRAID_PEER: 'server1', NETRAID_RULE: 'told-out' });
      expect(told.at(-1)?.env['NETRAID_WHY']).toMatch(/^server1 has left the mirror: ./);
    });
  });

  it('hear by which rule a target is out: it was in sync, or its resync was cut short', async () => {
    const resync = { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: MIB, rateMinBytesPerSec: MIB };
    await Sim.run({ settings: { resync } }, async (sim) => {
      const told = withHooks(sim);
      await sim.mirror();
      await sim.write('server1', 0, MIB, 1);
      const rules = (): (string | undefined)[] => told.filter((t) => t.event === 'out-of-sync').map((t) => t.env['NETRAID_RULE']);
      await sim.call('server1', 'pause', { tag: 't', nodes: [] });
      await sim.until('the hook is told of the pause', () => rules().length === 1);
      expect(told.at(-1)?.env['NETRAID_WHY']).toMatch(/paused by an operator/);
      await sim.write('server1', 0, MIB, 2);
      await sim.call('server1', 'resume', { tag: 't', nodes: [] });
      await sim.until('it is being resynced', async () => (await sim.targetState('server1', 'server2')) === 'Resyncing');
      sim.crash('server2');
      await sim.until('the hook is told of the loss', () => rules().length === 2);
      expect(rules()).toEqual(['told-out', 'cut-short']);
    });
  });

  it('hear of data_corrupt when the flag is set', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim);
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      for (const n of ['server1', 'server2']) sim.crash(n);
      await sim.start('server1');
      await sim.until('the hook is told', () => of(told, 'server1').includes('data-corrupt'));
      expect((await sim.status('server1')).flags.dataCorrupt).toBe(true);
      expect(told.at(-1)?.env).toMatchObject({ NETRAID_RULE: 'source-alone' });
    });
  });

  it('hear once of the question before a failover, and what is lost', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim);
      await sim.mirror({ failover: 'confirm', confirmTimeoutSec: 10, confirmDefault: 'go' });
      await sim.write('server1', 0, 4096, 1);
      sim.crash('server1');
      await sim.until('server2 serves', () => of(told, 'server2').includes('in-service'));
      expect(of(told, 'server2')).toEqual(['confirm-failover', 'in-service']);
      const [asked, served] = told.filter((t) => t.node === 'server2');
      expect(asked?.env).toMatchObject({ NETRAID_PEER: 'server1', NETRAID_RULE: 'takeover', NETRAID_SOURCE: 'server1' });
      expect(served?.env).toMatchObject({
        NETRAID_RULE: 'takeover',
        NETRAID_WHY: expect.stringContaining('nobody has answered within 10 s') as unknown,
      });
      expect((served?.at ?? 0) - (asked?.at ?? 0)).toBeGreaterThanOrEqual(10_000);
    });
  });

  it('hear of a split brain once on each side', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim);
      await sim.mirror();
      sim.world.cut('server1', 'server2');
      await sim.until('both serve', async () => (await sim.status('server1')).inService && (await sim.status('server2')).inService);
      await sim.write('server1', 0, 4096, 1);
      await sim.write('server2', 0, 4096, 2);
      sim.world.healAll();
      await sim.until('both are told', () => ['server1', 'server2'].every((n) => of(told, n).includes('split-brain')));
      await sim.world.sleep(20_000);
      for (const n of ['server1', 'server2']) expect(of(told, n).filter((e) => e === 'split-brain')).toEqual(['split-brain']);
      // Thrown out, it was told when it had happened.
      expect(of(told, 'server1')).toContain('out-of-service');
    });
  });

  it('for out-of-service have ended before the device stops answering', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim, (event) => (event === 'out-of-service' ? { durationMs: 30_000 } : {}));
      await sim.mirror();
      const leaving = sim.call('server1', 'out-of-service', { tag: 't' });
      await sim.until('the hook runs', () => of(told, 'server1').includes('out-of-service'));
      await sim.world.sleep(20_000);
      // An unmount writes: it is answered, by all legs.
      await sim.write('server1', 0, 4096, 7);
      expect(await sim.status('server1')).toMatchObject({ inService: true, targets: [{ state: 'Target' }] });
      expect((await leaving).inService).toBe(false);
      expect(sim.world.now() - (told.at(-1)?.at ?? 0)).toBeGreaterThan(30_000);
      expect(of(told, 'server1').filter((e) => e === 'out-of-service')).toHaveLength(1);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('for out-of-service have ended before ownership moves in a switchover', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim, (event) => (event === 'out-of-service' ? { durationMs: 20_000 } : {}));
      await sim.mirror();
      const [old, next] = ['server1', 'server2'].map((n) => sim.daemon(n).mirrors.get('t'));
      const before = next?.record();
      let servedAt = 0;
      sim.daemon('server2').onEvent((e) => {
        if (e.kind === 'in-service') servedAt = sim.world.now();
      });
      const moving = sim.call('server1', 'switchover', { tag: 't', node: 'server2' });
      await sim.until('the hook runs', () => of(told, 'server1').includes('out-of-service'));
      const ends = (told.find((t) => t.event === 'out-of-service')?.at ?? Infinity) + 20_000;
      while (sim.world.now() < ends) {
        expect(old?.record().grant).toBeNull();
        expect([old?.inService, next?.inService, servedAt]).toEqual([true, false, 0]);
        expect([next?.record().epochServed, next?.record().epochSeen]).toEqual([before?.epochServed, before?.epochSeen]);
        // An unmount writes: it is answered, by all legs.
        await sim.write('server1', 0, 4096, 7);
        await sim.world.sleep(Math.min(5000, Math.max(1, ends - sim.world.now())));
      }
      await moving;
      expect(servedAt).toBeGreaterThan(ends);
      expect(of(told, 'server1').filter((e) => e === 'out-of-service')).toHaveLength(1);
      expect(told.find((t) => t.node === 'server2' && t.event === 'in-service')?.at).toBeGreaterThan(ends);
      expect(next?.record().epochServed?.owner).toBe('server2');
      await sim.inSync('server2', 'server1');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('run when a daemon stops in order, and hold it up for no longer than their deadline', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim, (event) => (event === 'out-of-service' ? { durationMs: 3_600_000, stubborn: true, output: 'hangs' } : {}));
      await sim.mirror();
      const failures: string[] = [];
      sim.daemon('server1').onEvent((e) => {
        if (e.kind === 'hook-failed') failures.push(e.message);
      });
      const before = sim.world.now();
      await sim.stop('server1');
      expect(sim.world.now() - before).toBeLessThan(70_000);
      expect(of(told, 'server1').filter((e) => e === 'out-of-service')).toHaveLength(1);
      expect(failures).toEqual(['hook 10-test for out-of-service failed: its time was over, ended by SIGKILL']);
      // It was a clean end all the same: nobody takes over.
      await sim.world.sleep(10_000);
      expect(await sim.status('server2')).toMatchObject({ inService: false, decision: { rule: 'stopped-on-purpose' } });
    });
  });

  it('that hang hold up neither writes nor decisions', async () => {
    await Sim.run({}, async (sim) => {
      const told = withHooks(sim, () => ({ durationMs: 3_600_000 }));
      await sim.mirror();
      await sim.write('server1', 0, 4096, 1);
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      await sim.start('server1');
      await sim.inSync('server2', 'server1');
      await sim.write('server2', 0, 4096, 2);
      expect(of(told, 'server2')).toEqual(['in-service']);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
