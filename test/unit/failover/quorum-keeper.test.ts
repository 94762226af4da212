import { expect, it } from 'vitest';
import type { NodeContext } from '../../../src/failover/context.ts';
import { QUORUM_WAIT_MAX, QuorumKeeper, type Serving } from '../../../src/failover/quorum-keeper.ts';
import { Errno } from '../../../src/io/types.ts';
import { definition, epoch } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];
const TIMEOUT_MS = 1000;

interface Rig {
  keeper: QuorumKeeper;
  serving: Serving;
  told: string[];
  /** Who is heard, and the epoch that each has seen. */
  heard: Map<string, number>;
  pass: (ms: number) => void;
  /** All that was asked has been answered. */
  settled: () => Promise<void>;
}

function rig(arbiter: 'none' | 'majority' = 'majority', inService = true): Rig {
  const told: string[] = [];
  const heard = new Map([
    ['server2', 3],
    ['server3', 3],
  ]);
  let now = 0;
  let asked: Promise<unknown> = Promise.resolve();
  const context = {
    tag: 't',
    env: {
      self: 'server1',
      io: { clock: { now: () => now } },
      cluster: { connected: (n: string) => heard.has(n) },
      log: { error: told.push.bind(told) },
    },
    record: () => ({ definition: { ...definition(THREE), arbiter, failureTimeoutMs: TIMEOUT_MS } }),
    silentForMs: (n: string) => (heard.has(n) ? 0 : Infinity),
    askView: (n: string) => {
      const answer = Promise.resolve({ record: { epochSeen: epoch(heard.get(n) ?? 0, 'server2'), claim: null } });
      asked = Promise.all([asked, answer]);
      return answer;
    },
  } as unknown as NodeContext;
  const device = {
    suspend: (reason: string) => told.push(`suspend: ${reason}`),
    unsuspend: (reason: string) => told.push(`unsuspend: ${reason}`),
    needGeneration: () => told.push('need a generation'),
    refuseWhileSuspended: (errno: number) => told.push(`refuse: ${String(errno)}`),
  };
  return {
    keeper: new QuorumKeeper(context, () => inService),
    serving: { epoch: epoch(3, 'server2'), device },
    told,
    heard,
    pass: (ms) => {
      now += ms;
    },
    settled: async () => {
      await asked;
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

it('says nothing where no arbiter is asked, nor before a claim for which most may vote', () => {
  expect(rig('none').keeper.heard()).toBeNull();
  expect(rig('majority', false).keeper.heard()).toBeNull();
  const lonely = rig('majority', false);
  lonely.heard.clear();
  expect(lonely.keeper.heard()).toBe(false);
});

it('suspends a source that most nodes do not hear, and answers errors after a while', () => {
  const r = rig();
  r.keeper.keep(r.serving, false);
  expect(r.told).toEqual([]);
  r.heard.clear();
  expect(r.keeper.heard()).toBe(false);
  r.keeper.keep(r.serving, true);
  r.pass(TIMEOUT_MS * QUORUM_WAIT_MAX - 1);
  r.keeper.keep(r.serving, true);
  expect(r.told).toEqual(['suspend: no quorum', 'suspend: no quorum']);
  r.pass(1);
  r.keeper.keep(r.serving, true);
  expect(r.told.at(-1)).toBe(`refuse: ${String(Errno.EIO)}`);
});

it('goes on when most are heard again and stand by its epoch, and only then', async () => {
  const r = rig();
  r.keeper.keep(r.serving, true);
  r.heard.set('server2', 4).set('server3', 4);
  r.keeper.keep(r.serving, false);
  await r.settled();
  expect(r.told).toEqual(['suspend: no quorum']);
  r.heard.set('server3', 3);
  r.keeper.keep(r.serving, false);
  await r.settled();
  expect(r.told).toEqual(['suspend: no quorum', 'unsuspend: no quorum']);
});

it('begins anew with another term', () => {
  const r = rig();
  r.keeper.keep(r.serving, true);
  r.keeper.begin();
  r.pass(TIMEOUT_MS * 10);
  r.keeper.keep(r.serving, false);
  expect(r.told).toEqual(['suspend: no quorum']);
});
