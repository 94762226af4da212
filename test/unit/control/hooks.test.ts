import { describe, expect, it } from 'vitest';
import { Hooks, isHook } from '../../../src/control/hooks.ts';
import type { EventKind } from '../../../src/control/types.ts';
import { nullLog } from '../../../src/io/log.ts';
import { Errno, IoError, type ProgramEnd } from '../../../src/io/types.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';

interface Running {
  path: string;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  timeoutMs: number;
  end(o?: Partial<ProgramEnd>): Promise<void>;
  fail(e: Error): Promise<void>;
}

/** Programs that run until the test ends them. */
function rig(names: readonly string[] = ['10-a']) {
  const clock = new ManualClock();
  const runs: Running[] = [];
  const failures: { message: string; fields: Record<string, unknown> }[] = [];
  const state = { names: [...names], listError: undefined as Error | undefined, hangs: false };
  const hooks = new Hooks({
    programs: {
      list: () =>
        state.hangs
          ? new Promise<string[]>(() => undefined)
          : state.listError === undefined
            ? Promise.resolve(state.names)
            : Promise.reject(state.listError),
      run: (path, args, env, limits) =>
        new Promise((resolve, reject) => {
          runs.push({
            path,
            args,
            env,
            timeoutMs: limits.timeoutMs,
            end: async (o) => {
              resolve({ exit: 0, signal: null, timedOut: false, output: '', ...o });
              await settle();
            },
            fail: async (e) => {
              reject(e);
              await settle();
            },
          });
        }),
    },
    clock,
    root: '/r',
    self: 'server1',
    timeoutMs: 1000,
    log: nullLog,
    mirror: (tag) => (tag === 't' ? { nodes: ['server1', 'server2'], source: 'server1' } : undefined),
    failed: (_tag, message, fields) => failures.push({ message, fields }),
  });
  const hear = async (kind: EventKind, fields: Record<string, unknown> = {}, message = 'so it is'): Promise<void> => {
    hooks.heard({ tag: 't', kind, message, fields });
    await settle();
  };
  const last = (): Running => {
    const run = runs.at(-1);
    if (run === undefined) throw new Error('no program has been run');
    return run;
  };
  const events = (): string[] => runs.map((r) => r.env['NETRAID_EVENT'] ?? '');
  return { hooks, hear, runs, last, events, clock, failures, state };
}

describe('hooks', () => {
  it('are told what happens, to whom, and why, on one line', async () => {
    const { hear, last } = rig();
    await hear('out-of-sync', { node: 'server2', rule: 'serving' }, 'server2 has left:\n  it\tis silent');
    expect(last()).toMatchObject({ path: '/r/etc/hooks.d/10-a', args: ['out-of-sync', 't'], timeoutMs: 1000 });
    expect(last().env).toEqual({
      NETRAID_EVENT: 'out-of-sync',
      NETRAID_TAG: 't',
      NETRAID_NODE: 'server1',
      NETRAID_PEER: 'server2',
      NETRAID_NODES: 'server1 server2',
      NETRAID_SOURCE: 'server1',
      NETRAID_RULE: 'serving',
      NETRAID_WHY: 'server2 has left: it is silent',
      NETRAID_ROOT: '/r',
    });
  });

  it('hear nothing of other events', async () => {
    const { hear, runs } = rig();
    for (const kind of ['in-sync', 'decision', 'config', 'hook-failed', 'resync-started'] as const) await hear(kind);
    expect(runs).toEqual([]);
  });

  it('run by name, without hidden files and what editors leave behind, within one deadline', async () => {
    const { hear, runs, last, clock, failures } = rig(['.hidden', '10-a', '10-a.bak', '20-b~', '30-c', '40-d']);
    await hear('in-service');
    clock.advance(400);
    await last().end();
    expect(runs.map((r) => [r.path, r.timeoutMs])).toEqual([
      ['/r/etc/hooks.d/10-a', 1000],
      ['/r/etc/hooks.d/30-c', 600],
    ]);
    clock.advance(600);
    await last().end({ exit: null, signal: 'SIGTERM', timedOut: true });
    expect(runs).toHaveLength(2);
    expect(failures.map((f) => f.message)).toEqual([
      'hook 30-c for in-service failed: its time was over, ended by SIGTERM',
      'hook 40-d for in-service failed: not run: the 1000 ms of this event are over',
    ]);
  });

  it('whose folder is not listed in time are given up, and the next event is told of (M14)', async () => {
    const { hear, runs, clock, failures, state, hooks } = rig();
    state.hangs = true;
    await hear('in-service');
    const before = hooks.before('out-of-service', 't', { why: 'it ends' });
    state.hangs = false;
    clock.advance(999);
    await settle();
    expect(failures).toEqual([]);
    clock.advance(1);
    await settle();
    expect(failures.map((f) => f.message)).toEqual(['the hooks for in-service failed: /r/etc/hooks.d has not been listed within 1000 ms']);
    await runs[0]?.end();
    await before;
    expect(runs.map((r) => r.env['NETRAID_EVENT'])).toEqual(['out-of-service']);
  });

  it.each(['.x', '#x#', 'x~', 'x.bak', 'x.orig', 'x.swp', 'x.dpkg-new', 'x.rpmsave', 'x.disabled'])('takes %s for no hook', (name) => {
    expect(isHook(name)).toBe(false);
  });

  it.each(['10-mount', 'notify.sh', 'x.py', 'backup'])('takes %s for a hook', (name) => {
    expect(isHook(name)).toBe(true);
  });

  it('that fail, or can not be started, are told of and stop no other', async () => {
    const { hear, runs, last, failures } = rig(['10-a', '20-b', '30-c']);
    await hear('data-corrupt');
    await last().end({ exit: 3, output: 'no room\n' });
    await last().fail(new IoError(Errno.EACCES, '20-b: permission denied'));
    await last().end();
    expect(runs).toHaveLength(3);
    expect(failures).toEqual([
      {
        message: 'hook 10-a for data-corrupt failed: exit status 3',
        fields: { hook: '10-a', for: 'data-corrupt', exit: 3, signal: null, output: 'no room' },
      },
      { message: 'hook 20-b for data-corrupt failed: it can not be started: 20-b: permission denied', fields: { hook: '20-b', for: 'data-corrupt' } },
    ]);
  });

  it('are none where there is no folder; one that can not be read is told of', async () => {
    const { hear, failures, state } = rig();
    state.listError = new IoError(Errno.ENOENT, 'hooks.d');
    await hear('in-service');
    expect(failures).toEqual([]);
    state.listError = new IoError(Errno.EACCES, 'hooks.d: permission denied');
    await hear('in-service');
    expect(failures.map((f) => f.message)).toEqual(['the hooks for in-service failed: hooks.d: permission denied']);
  });

  it('hear of a split brain once, until it is over', async () => {
    const { hear, runs, last } = rig();
    await hear('split-brain', { rule: 'split-brain' });
    await last().end();
    await hear('decision', { rule: 'superseded', action: 'demote' });
    await hear('split-brain', { node: 'server2' });
    expect(runs).toHaveLength(1);
    await hear('decision', { rule: 'evidence', action: 'stay-in-service' });
    await hear('split-brain');
    expect(runs).toHaveLength(2);
  });
});

describe('before the mirror goes out of service', () => {
  it('is waited for the end of the hooks, which are not told again when it happens', async () => {
    const { hooks, hear, last, events } = rig();
    let ended = false;
    void hooks.before('out-of-service', 't', { why: 'ordered' }).then(() => {
      ended = true;
    });
    await settle();
    expect([events(), ended]).toEqual([['out-of-service'], false]);
    await last().end({ exit: 1 });
    expect(ended).toBe(true);
    await hear('out-of-service');
    expect(events()).toEqual(['out-of-service']);
    // One that is not announced is told of when it has happened.
    await hear('in-service');
    await last().end();
    await hear('out-of-service');
    expect(events()).toEqual(['out-of-service', 'in-service', 'out-of-service']);
  });

  it('goes next, and overtakes hooks that would begin to use the device', async () => {
    const { hooks, hear, last, events } = rig();
    await hear('resync-done', { node: 'server2' });
    await hear('out-of-sync', { node: 'server2' });
    await hear('in-service');
    const ended = hooks.before('out-of-service', 't', { why: 'ordered' });
    await last().end();
    expect(events()).toEqual(['resync-done', 'out-of-service']);
    await last().end();
    await ended;
    await last().end();
    expect(events()).toEqual(['resync-done', 'out-of-service', 'out-of-sync']);
  });

  it('runs once for two who ask', async () => {
    const { hooks, last, events } = rig();
    const both = [hooks.before('out-of-service', 't', { why: 'a' }), hooks.before('out-of-service', 't', { why: 'b' })];
    await settle();
    await last().end();
    await Promise.all(both);
    expect(events()).toEqual(['out-of-service']);
  });

  it('is told in-service again when it does not happen', async () => {
    const { hooks, hear, last, events } = rig();
    const ended = hooks.before('out-of-service', 't', { why: 'switchover' });
    await settle();
    await last().end();
    await ended;
    hooks.abandoned('t', { why: 'the other node refused' });
    await settle();
    await last().end();
    await hear('out-of-service');
    expect(events()).toEqual(['out-of-service', 'in-service', 'out-of-service']);
  });
});

describe('a daemon that stops', () => {
  it('waits for the hook that runs, leaves out what waits, and begins no other', async () => {
    const { hooks, hear, last, events } = rig();
    await hear('in-service');
    await hear('resync-done');
    let stopped = false;
    void hooks.stop().then(() => {
      stopped = true;
    });
    await settle();
    expect(stopped).toBe(false);
    await last().end();
    expect(stopped).toBe(true);
    await hear('out-of-sync');
    await hooks.before('out-of-service', 't', { why: 'late' });
    expect(events()).toEqual(['in-service']);
  });
});
