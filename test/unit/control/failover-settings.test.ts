import { describe, expect, it } from 'vitest';
import { failoverSettings } from '../../../src/control/failover-settings.ts';
import { Sim } from './sim.ts';

describe('settings of a failover', () => {
  it('have defaults, and keep what is not said', () => {
    expect(failoverSettings({})).toEqual({ failover: 'auto', confirmTimeoutSec: 60, confirmDefault: 'stay' });
    const before = failoverSettings({ failover: 'confirm', confirmTimeoutSec: 5, confirmDefault: 'go' });
    expect(failoverSettings({ confirmTimeoutSec: 7 }, before)).toEqual({ ...before, confirmTimeoutSec: 7 });
    expect(failoverSettings({ failover: 'off' }, before)).toEqual({ ...before, failover: 'off' });
  });

  it('refuse a question where nobody is asked', () => {
    expect(() => failoverSettings({ confirmDefault: 'go' })).toThrow('--confirm-default: allowed with failover confirm; it is auto');
    expect(() => failoverSettings({ failover: 'off', confirmTimeoutSec: 1 })).toThrow('it is off');
  });

  it('are changed on the source, on all nodes, and nowhere else', async () => {
    await Sim.run({}, async (sim) => {
      await sim.mirror();
      await sim.refuses('server2', 'set', { tag: 't', failover: 'off' }, 'refused', /not in service on server2; run this on server1/);
      await sim.refuses('server1', 'set', { tag: 't' }, 'bad-request', /nothing to set/);
      await sim.refuses('server1', 'set', { tag: 't', confirmDefault: 'go' }, 'bad-request', /allowed with failover confirm/);
      await sim.refuses(
        'server1',
        'create',
        sim.createParams({ tag: 'u', leg: '/new', confirmTimeoutSec: 5 }),
        'bad-request',
        /allowed with failover confirm/,
      );
      const wanted = { failover: 'confirm', confirm: { timeoutSec: 5, default: 'go' } };
      expect(await sim.call('server1', 'set', { tag: 't', failover: 'confirm', confirmTimeoutSec: 5, confirmDefault: 'go' })).toMatchObject(wanted);
      expect(await sim.status('server2')).toMatchObject(wanted);
      sim.crash('server2');
      await sim.start('server2');
      expect(await sim.status('server2')).toMatchObject(wanted);
    });
  });
});

describe('an operator who is asked', () => {
  const asked = async (sim: Sim, confirmTimeoutSec = 60): Promise<string[]> => {
    await sim.mirror({ failover: 'confirm', confirmTimeoutSec });
    await sim.refuses('server1', 'confirm', { tag: 't', go: true }, 'refused', /asks nothing now; it is in service/);
    await sim.write('server1', 0, 4096, 1);
    const questions: string[] = [];
    sim.daemon('server2').onEvent((e) => {
      if (e.kind === 'confirm-failover') questions.push(e.message);
    });
    sim.crash('server1');
    await sim.until('server2 asks', () => questions.length > 0);
    return questions;
  };

  it('says yes: the node goes in service', async () => {
    await Sim.run({}, async (sim) => {
      await asked(sim);
      expect((await sim.status('server2')).decision).toMatchObject({ action: 'wait', rule: 'takeover', asks: { lost: 'server1', then: 'stay' } });
      expect(await sim.call('server2', 'confirm', { tag: 't', go: true })).toMatchObject({ inService: true, decision: { rule: 'takeover' } });
      expect((await sim.read('server2', 0, 4096))[0]).toBe(1);
    });
  });

  it('says no, which holds until the source returns; a later loss is asked about anew', async () => {
    await Sim.run({}, async (sim) => {
      const questions = await asked(sim, 5);
      expect(await sim.call('server2', 'confirm', { tag: 't', go: false })).toMatchObject({ inService: false });
      await sim.world.sleep(60_000);
      expect(await sim.status('server2')).toMatchObject({ inService: false, decision: { action: 'stay-out', rule: 'takeover' } });
      expect(questions).toHaveLength(1);
      await sim.start('server1');
      await sim.inSync('server1', 'server2');
      await sim.refuses('server2', 'confirm', { tag: 't', go: true }, 'refused', /asks nothing now/);
      sim.crash('server1');
      await sim.until('server2 asks again', () => questions.length > 1);
      expect(await sim.call('server2', 'confirm', { tag: 't', go: true })).toMatchObject({ inService: true });
    });
  });

  it('may change a no into a yes, and be late', async () => {
    await Sim.run({}, async (sim) => {
      await asked(sim, 1);
      await sim.world.sleep(30_000);
      expect((await sim.status('server2')).decision).toMatchObject({ action: 'stay-out', asks: { leftMs: null } });
      await sim.call('server2', 'confirm', { tag: 't', go: false });
      expect(await sim.call('server2', 'confirm', { tag: 't', go: true })).toMatchObject({ inService: true });
    });
  });
});
