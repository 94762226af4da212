import { describe, expect, it } from 'vitest';
import { ControlError } from '../../../../src/control/types.ts';
import { FakeDaemon, harmless, mirror, resyncing, run, target } from '../fake-daemon.ts';

describe('netraid create', () => {
  const daemon = () => new FakeDaemon({ create: () => mirror({ state: 'Waiting', targets: [] }) });

  it('leaves to the daemon what is not said', async () => {
    const d = daemon();
    const { code, out } = await run('netraid create datarep-ext3 /dev/sdb1', d);
    expect([code, out]).toEqual([0, ['datarep-ext3 is made on server1: 1 GiB, 16384 regions of 64 KiB; netraid in-service datarep-ext3 is next']]);
    expect(d.calls).toEqual([
      [
        'create',
        {
          tag: 'datarep-ext3',
          leg: '/dev/sdb1',
          sizeBytes: null,
          regionBytes: null,
          priority: 1,
          failureTimeoutMs: null,
          failover: null,
          arbiter: null,
          waitForPreviousSourceSec: null,
          zeroed: false,
        },
      ],
    ]);
  });

  it('says everything', async () => {
    const d = daemon();
    const options =
      '--size 64MiB --region 128KiB --sector-size 4096 --priority 5 --failure-timeout 500ms --failover confirm --arbiter majority --wait-for-previous-source -1 --takeover-after-clean-stop --zeroed';
    expect((await run(`netraid create a /l ${options} --json`, d)).code).toBe(0);
    expect(d.calls[0]?.[1]).toEqual({
      tag: 'a',
      leg: '/l',
      sizeBytes: 64 * 2 ** 20,
      regionBytes: 128 * 1024,
      sectorBytes: 4096,
      priority: 5,
      failureTimeoutMs: 500,
      failover: 'confirm',
      arbiter: 'majority',
      waitForPreviousSourceSec: -1,
      takeoverAfterCleanStop: true,
      zeroed: true,
    });
  });

  it('says how an operator is asked', async () => {
    const d = daemon();
    expect((await run('netraid create a /l --failover confirm --confirm-timeout 5m --confirm-default go', d)).code).toBe(0);
    expect(d.calls[0]?.[1]).toMatchObject({ failover: 'confirm', confirmTimeoutSec: 300, confirmDefault: 'go' });
  });

  it.each([
    ['a/b /l', '"a/b" is not a tag'],
    ['a l', 'LEG "l" is not allowed'],
    ['a /l --sector-size 8192', '--sector-size 8192 is not allowed; allowed: a power of two from 512 to 4096'],
    ['a /l --sector-size 4k', '--sector-size "4k" is not allowed'],
    ['a /l --size 1MB', '--size "1MB" is not allowed'],
    ['a /l --region 96KiB', '--region 96 KiB is not allowed; allowed: a power of two from 4 KiB to 64 MiB'],
    ['a /l --priority -1', '--priority "-1" is not allowed'],
    ['a /l --failure-timeout 1ms', '--failure-timeout 1ms is not allowed; allowed: 100ms to 1h'],
    ['a /l --wait-for-previous-source -2', '--wait-for-previous-source "-2" is not allowed'],
    ['a /l --failover confirm --confirm-timeout 500ms', '--confirm-timeout 500ms is not allowed; allowed: whole seconds from 1s to 168h'],
    ['a /l --failover confirm --confirm-default maybe', 'allowed: go, stay'],
    ['a /l more', 'not known: more'],
  ])('refuses %s', async (words, message) => {
    const d = daemon();
    const { code, errors } = await run(`netraid create ${words}`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
    expect(errors[0]).toContain(message);
  });
});

describe('netraid extend', () => {
  const daemon = () =>
    new FakeDaemon({
      preview: harmless(),
      status: () => mirror(),
      extend: () => mirror({ targets: [target('server2'), target('server3', { state: 'Out of Sync' })] }),
    });

  it('takes the next free multiple of ten as priority', async () => {
    const d = daemon();
    const { code, out } = await run('netraid extend datarep-ext3 server3 /dev/sdb1 --yes', d);
    expect([code, out.at(-1)]).toEqual([0, 'datarep-ext3 is extended to server3: Out of Sync']);
    expect(d.calls[0]).toEqual(['preview', { tag: 'datarep-ext3', action: 'extend', nodes: ['server3'], source: null }]);
    expect(d.calls.at(-1)).toEqual([
      'extend',
      { tag: 'datarep-ext3', node: 'server3', leg: '/dev/sdb1', foreignUri: null, mode: 'sync', priority: 20, zeroed: false },
    ]);
  });

  it('adds a foreign target, asynchronously', async () => {
    const d = daemon();
    expect((await run('netraid extend a copy --foreign nbd://h/x --async --priority 7 --yes', d)).code).toBe(0);
    expect(d.calls.at(-1)?.[1]).toEqual({ tag: 'a', node: 'copy', leg: null, foreignUri: 'nbd://h/x', mode: 'async', priority: 7, zeroed: false });
  });

  it('waits when asked to', async () => {
    const d = daemon();
    let looks = 0;
    d.handlers.status = () => mirror({ targets: [(looks += 1) < 4 ? { ...resyncing, node: 'server3' } : target('server3')] });
    const { out } = await run('netraid extend datarep-ext3 server3 /l --wait 10m --yes', d);
    expect(out.at(-1)).toBe('datarep-ext3 is extended to server3: Target');
  });

  it('repeats the word that is taken for it', async () => {
    const { out } = await run('netraid extend datarep-ext3 server3 /l --zeroed --yes', daemon());
    expect(out).toContain('on your word the leg on server3 holds zeroes only');
  });

  it.each([
    ['a b', 'either LEG or --foreign is needed, and not both'],
    ['a b /l --foreign nbd://h/x', 'either LEG or --foreign is needed, and not both'],
    ['a b --foreign http://h', '--foreign "http://h" is not allowed; allowed: an NBD URI'],
    ['a b l', 'LEG "l" is not allowed'],
    ['a b/c /l', '"b/c" is not a node name'],
    ['a b /l --priority 1000', '--priority "1000" is not allowed'],
    ['a b /l --wait soon', '--wait "soon" is not allowed'],
  ])('refuses %s before it asks anybody', async (words, message) => {
    const d = daemon();
    const { code, errors } = await run(`netraid extend ${words} --yes`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
    expect(errors[0]).toContain(message);
  });
});

describe('netraid replace', () => {
  it('shows what is overwritten, then gives the target its new leg', async () => {
    const d = new FakeDaemon({ preview: harmless(), replace: () => mirror({ targets: [resyncing] }) });
    const { code, out } = await run('netraid replace datarep-ext3 server2 /dev/sdc1 --yes', d);
    expect([code, out.at(-1)]).toEqual([0, 'datarep-ext3 has a new leg on server2: Resyncing']);
    expect(d.calls.map(([a]) => a)).toEqual(['preview', 'replace']);
    expect(d.calls[1]?.[1]).toEqual({ tag: 'datarep-ext3', node: 'server2', leg: '/dev/sdc1' });
  });

  it.each(['a b', 'a b l', 'a', 'a b/ /l'])('refuses %s', async (words) => {
    const d = new FakeDaemon();
    expect([(await run(`netraid replace ${words} --yes`, d)).code, d.calls]).toEqual([2, []]);
  });
});

describe('netraid delete', () => {
  it('tells who has forgotten it', async () => {
    const d = new FakeDaemon({
      preview: harmless(['forgotten'], { bytesOverwritten: 0 }),
      delete: () => ({ forgotten: ['server1', 'server2'], unreached: [] }),
    });
    const { code, out } = await run('netraid delete datarep-ext3 --yes', d);
    expect([code, out]).toEqual([0, ['forgotten', 'datarep-ext3 is forgotten on server1, server2; the legs keep their data']]);
  });

  it.each([false, true])('says on standard error who could not be told, and what to do there (JSON: %s)', async (json) => {
    const result = { forgotten: ['server1'], unreached: ['server2'] };
    const d = new FakeDaemon({ preview: harmless([], { bytesOverwritten: 0 }), delete: () => result });
    const { code, out, errors } = await run(`netraid delete a --yes${json ? ' --json' : ''}`, d);
    expect([code, errors]).toEqual([0, ['server2 could not be reached and keeps its records of a: when it is back, say netraid delete a there']]);
    if (json) expect(JSON.parse(out.join('\n'))).toEqual(result);
    else expect(out).toEqual(['a is forgotten on server1; the legs keep their data']);
  });

  it('is the remedy for a mirror whose state is damaged', async () => {
    const d = new FakeDaemon({
      preview: () => {
        throw new ControlError('refused', 'the state record is damaged');
      },
      delete: () => ({ forgotten: ['server1'], unreached: [] }),
    });
    const { code, out } = await run('netraid delete a', d, { answers: ['yes'] });
    expect([code, out[0], d.changes()]).toEqual([0, 'the state record is damaged', ['delete']]);
  });

  it('of what does not exist ends with that', async () => {
    const d = new FakeDaemon({
      preview: () => {
        throw new ControlError('not-found', 'no mirror a');
      },
    });
    expect([(await run('netraid delete a --yes', d)).code, d.changes()]).toEqual([1, []]);
  });
});

describe('netraid unextend', () => {
  it.each(['a', 'a b c', 'a ../b'])('refuses %s', async (words) => {
    const d = new FakeDaemon();
    expect([(await run(`netraid unextend ${words} --yes`, d)).code, d.calls]).toEqual([2, []]);
  });
});

describe('netraid set', () => {
  it('sends what is given, and shows what holds now', async () => {
    const d = new FakeDaemon({ set: () => mirror({ failover: 'confirm', confirm: { timeoutSec: 60, default: 'stay' } }) });
    const { code, out } = await run('netraid set datarep-ext3 --failover confirm', d);
    expect([code, out]).toEqual([0, ['datarep-ext3: failover confirm, after 2s of silence: 1m for an answer, then it stays out']]);
    expect(d.calls).toEqual([['set', { tag: 'datarep-ext3', failover: 'confirm' }]]);
  });

  it.each(['set', 'set a', 'set a --failover maybe', 'set a --confirm-timeout x'])('refuses netraid %s', async (words) => {
    const d = new FakeDaemon();
    const { code, errors } = await run(`netraid ${words}`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
  });
});
