import { describe, expect, it } from 'vitest';
import { arbiterOf } from '../../../src/failover/arbiter.ts';
import type { NodeContext } from '../../../src/failover/context.ts';
import type { ArbiterKind } from '../../../src/failover/types.ts';
import { definition, epoch } from './build.ts';

interface Known {
  heard?: readonly string[];
  /** Heartbeats of ours that these have answered count from 100 ms on. */
  answered?: readonly string[];
  /** Epochs that those who answer have seen. */
  seen?: Record<string, number>;
}

function context(arbiter: ArbiterKind, { heard = [], answered = [], seen = {} }: Known = {}): NodeContext {
  const c = {
    env: {
      self: 'server1',
      cluster: {
        connected: (n: string) => Object.hasOwn(seen, n),
        peerHeardUsSince: (n: string, since: number) => answered.includes(n) && since <= 100,
      },
    },
    record: () => ({ definition: { ...definition(['server1', 'server2', 'server3']), arbiter } }),
    silentForMs: (n: string) => (heard.includes(n) ? 0 : Infinity),
    askView: (n: string) => Promise.resolve({ record: { epochSeen: epoch(seen[n] ?? 0, 'server1'), claim: null } }),
  };
  return c as unknown as NodeContext;
}

const claim = (accepted: string[]) => ({ epoch: epoch(4, 'server1'), accepted, voters: 3 });

describe('arbiter none', () => {
  it("has no word, and stands in nobody's way, whoever is silent", async () => {
    const ctx = context('none');
    const arbiter = arbiterOf(ctx);
    expect([arbiter.heard(ctx, true), arbiter.heard(ctx, false), await arbiter.grants(ctx, claim(['server1']))]).toEqual([null, null, null]);
    expect(await arbiter.standsBy(ctx, epoch(3, 'server1'))).toBe(true);
    expect(arbiter.heardUsSince(ctx, 0)).toBe(true);
  });
});

describe('arbiter majority', () => {
  it('lets a source go on while most are heard, and nobody claim in vain', () => {
    const [with2, alone] = [context('majority', { heard: ['server2'] }), context('majority')];
    expect([arbiterOf(with2).heard(with2, true), arbiterOf(with2).heard(with2, false)]).toEqual([true, null]);
    expect([arbiterOf(alone).heard(alone, true), arbiterOf(alone).heard(alone, false)]).toEqual([false, false]);
  });

  it('grants an epoch that most have written down', async () => {
    const ctx = context('majority');
    expect(await arbiterOf(ctx).grants(ctx, claim(['server1', 'server3']))).toBe(true);
    expect(await arbiterOf(ctx).grants(ctx, claim(['server1']))).toBe(false);
  });

  it('stands by an epoch while most know of none above it', async () => {
    const [by, gone] = [context('majority', { seen: { server2: 3 } }), context('majority', { seen: { server2: 4, server3: 4 } })];
    expect(await arbiterOf(by).standsBy(by, epoch(3, 'server1'))).toBe(true);
    expect(await arbiterOf(gone).standsBy(gone, epoch(3, 'server1'))).toBe(false);
  });

  it('has heard us when most have answered a heartbeat of since then', () => {
    const ctx = context('majority', { answered: ['server3'] });
    expect(arbiterOf(ctx).heardUsSince(ctx, 100)).toBe(true);
    expect(arbiterOf(ctx).heardUsSince(ctx, 101)).toBe(false);
  });
});
