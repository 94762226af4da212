import { describe, expect, it } from 'vitest';
import { decideResolve } from '../../../src/failover/decide-resolve.ts';
import type { NodeView } from '../../../src/failover/types.ts';
import { definition, g, tookOver, view, type ViewOver } from './build.ts';
import { TWO } from './decide-support.ts';

/** Both wrote apart from each other: server2 serves the higher epoch, server1 has stopped. */
const kept = (over: ViewOver = {}): NodeView => view('server2', TWO, { inService: true, state: 'Source', record: tookOver(TWO), ...over });
const victim = (over: ViewOver = {}): NodeView =>
  view('server1', TWO, { state: 'Split Brain', ...over, record: { generation: g(3), history: [g(1), g(0)], ...over.record } });

describe('resolve', () => {
  it('gives up the data of the node out of service, and shows what both sides have', () => {
    const d = decideResolve(kept(), 'server1', victim());
    expect(d).toMatchObject({ action: 'overwrite', rule: 'split-brain' });
    expect(d.evidence).toEqual([
      `server2: in service; generation ${g(2)}; served epoch 2 (server2), last in sync in 2 (server2); last_owner not set`,
      `server1: out of service, Split Brain; generation ${g(3)}; served epoch 1 (server1), last in sync in 1 (server1); last_owner set`,
    ]);
  });

  it.each<[string, NodeView, string, NodeView | undefined, RegExp]>([
    [
      'no split brain',
      kept(),
      'server1',
      victim({ record: { generation: g(1), history: [g(0)] } }),
      /there is no split brain between server2 and server1/,
    ],
    ['another mirror', kept(), 'server1', victim({ record: { definition: definition(TWO, { createId: 'c000000000000009' }) } }), /no split brain/],
    [
      'a victim in service',
      kept({ inService: false }),
      'server1',
      victim({ inService: true }),
      /server1 is in service: take it out of service there first/,
    ],
    ['itself, in service', kept(), 'server2', kept(), /server2 is in service: take it out of service there first/],
    ['nobody in service', kept({ inService: false }), 'server1', victim(), /server2 is not in service: the node whose data is kept must be/],
    ['a silent victim', kept(), 'server1', undefined, /server1 cannot be heard/],
    ['a stranger', kept(), 'server9', undefined, /server9 is not a node of datarep-ext3; nodes: server1, server2/],
    ['a name that every object has', kept(), 'constructor', undefined, /constructor is not a node/],
  ])('refuses %s', (_name, self, name, other, why) => {
    const d = decideResolve(self, name, other);
    expect(d.action).toBe('refuse');
    expect(d.why).toMatch(why);
  });

  it('refuses a foreign target', () => {
    const nodes = { ...definition(TWO).nodes, far: { priority: 90, leg: '', mode: 'sync' as const, foreignUri: 'nbd://h' } };
    const self = kept({ record: { ...tookOver(TWO), definition: definition(TWO, { nodes }) } });
    expect(decideResolve(self, 'far', undefined).why).toMatch(/foreign target/);
  });
});
