import { describe, expect, it } from 'vitest';
import { type Actions, ControlError } from '../../../../src/control/types.ts';
import type { DecideRule } from '../../../../src/failover/types.ts';
import { FakeDaemon, harmless, mirror, run } from '../fake-daemon.ts';
import { nodeView } from './node-view.ts';

const explained = (rule: DecideRule) => (): Actions['explain']['result'] => ({
  facts: nodeView('server1'),
  peers: {},
  decision: { action: 'go-in-service', rule, why: 'because' },
  compares: [],
  heard: { server1: { how: 'here', silentForMs: null } },
  failureTimeoutMs: 2000,
  arbiter: { kind: 'none', voters: [], heard: [], needed: 0, overruled: false },
});

describe('netraid in-service', () => {
  it('asks nothing where the evidence is enough', async () => {
    const d = new FakeDaemon({ explain: explained('evidence'), 'in-service': () => mirror() });
    const { code, out } = await run('netraid in-service datarep-ext3', d);
    expect([code, out]).toEqual([0, ['datarep-ext3 is in service on server1; NBD clients connect to datarep-ext3 on /r/run/nbd.sock']]);
    expect(d.calls[0]).toEqual(['explain', { tag: 'datarep-ext3', whatIf: 'in-service' }]);
  });

  it('has the questions of force where it equals one', async () => {
    const d = new FakeDaemon({
      explain: explained('forced'),
      preview: harmless(['evidence'], { lastOwnerHere: false, confirms: ['force'] }),
      'in-service': () => mirror(),
    });
    expect((await run('netraid in-service a --yes', d)).errors[0]).toContain('--without-last-owner');
    expect((await run('netraid in-service a --without-last-owner', d)).code).toBe(2);
    expect(d.changes()).toEqual([]);
    const { code, out } = await run('netraid in-service a --without-last-owner --yes', d);
    expect([code, out[0], d.changes()]).toEqual([0, 'evidence', ['in-service']]);
    expect(d.calls.at(-1)).toEqual(['in-service', { tag: 'a', withoutLastOwner: true, confirmed: ['force'] }]);
  });
});

describe('netraid in-service that has come to be a force since it was shown', () => {
  const refused = (): never => {
    throw new ControlError('unconfirmed', 'it would now be forced in service, which was not confirmed');
  };

  it('shows what it is now, and asks', async () => {
    let asked = 0;
    const d = new FakeDaemon({
      explain: () => explained(asked++ === 0 ? 'evidence' : 'forced')(),
      preview: harmless(['server2 could have newer data'], { lastOwnerHere: true, confirms: ['force'] }),
      'in-service': (p) => (p.confirmed === undefined ? refused() : mirror()),
    });
    const { code, out } = await run('netraid in-service a --yes', d);
    expect([code, out[0], out.length]).toEqual([0, 'server2 could have newer data', 3]);
    expect(d.calls.map(([name]) => name)).toEqual(['explain', 'in-service', 'explain', 'preview', 'in-service']);
    expect(d.calls.at(-1)).toEqual(['in-service', { tag: 'a', confirmed: ['force'] }]);
  });

  it('says it without a yes, and nothing is changed', async () => {
    let asked = 0;
    const d = new FakeDaemon({
      explain: () => explained(asked++ === 0 ? 'evidence' : 'forced')(),
      preview: harmless(['server2 could have newer data'], { lastOwnerHere: true, confirms: ['force'] }),
      'in-service': refused,
    });
    const { code, out } = await run('netraid in-service a', d);
    expect([code, out]).toEqual([2, ['server2 could have newer data', '1 KiB will be overwritten']]);
    expect(d.calls.filter(([name]) => name === 'in-service')).toHaveLength(1);
  });

  it('ends as a question without an answer does, where it changes again and again', async () => {
    const d = new FakeDaemon({ explain: explained('evidence'), 'in-service': refused });
    const { code, errors } = await run('netraid in-service a', d);
    expect([code, errors]).toEqual([2, ['netraid in-service: it would now be forced in service, which was not confirmed']]);
    expect(d.calls.filter(([name]) => name === 'in-service')).toHaveLength(3);
  });
});

describe('netraid out-of-service', () => {
  it('says where', async () => {
    const d = new FakeDaemon({ 'out-of-service': () => ({ ...mirror({ inService: false }), clean: true }) });
    expect((await run('netraid out-of-service datarep-ext3', d)).out).toEqual(['datarep-ext3 is out of service on server1']);
  });

  it('says that it was not clean', async () => {
    const d = new FakeDaemon({ 'out-of-service': () => ({ ...mirror({ inService: false }), clean: false }) });
    expect((await run('netraid out-of-service datarep-ext3', d)).out).toEqual([
      'datarep-ext3 is out of service on server1, not cleanly: a disk did not answer in time, or failed, and what comes next is as after a crash',
    ]);
  });
});

describe('netraid confirm', () => {
  it('is a yes, or a no', async () => {
    const d = new FakeDaemon({ confirm: (p) => mirror({ inService: p.go }) });
    expect((await run('netraid confirm datarep-ext3', d)).out).toEqual(['datarep-ext3 is in service on server1']);
    expect((await run('netraid confirm datarep-ext3 --no', d)).out).toEqual(['datarep-ext3 stays out of service on server1']);
    expect(d.calls.map(([, p]) => p)).toEqual([
      { tag: 'datarep-ext3', go: true },
      { tag: 'datarep-ext3', go: false },
    ]);
  });
});

it.each(['confirm', 'confirm a --maybe', 'in-service', 'in-service a b', 'in-service a/b', 'out-of-service', 'out-of-service a --yes'])(
  'refuses netraid %s',
  async (words) => {
    const d = new FakeDaemon();
    const { code, errors } = await run(`netraid ${words}`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
  },
);
