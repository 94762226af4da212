import { describe, expect, it } from 'vitest';
import { findFullResync } from '../../../src/failover/decide-full-resync.ts';
import type { NodeView } from '../../../src/failover/types.ts';
import { definition, epoch, g, tookOver, view, type ViewOver } from './build.ts';
import { TWO } from './decide-support.ts';

/** server2 serves the higher epoch; server1 has stopped. */
const self = view('server2', TWO, { inService: true, state: 'Source', record: tookOver(TWO) });
const apart = { generation: g(3), history: [g(1), g(0)] };
const other = (over: ViewOver = {}): NodeView => view('server1', TWO, { state: 'Split Brain', ...over, record: { ...apart, ...over.record } });

describe('a full resync', () => {
  it('over a split brain shows it and what is lost, and wants a yes to it and to the epoch that is given up', () => {
    const { lines, overrules } = findFullResync(self, 'server1', other());
    expect(lines).toEqual([
      `server1: out of service, Split Brain; generation ${g(3)}; served epoch 1 (server1), last in sync in 1 (server1); last_owner set`,
      expect.stringMatching(/^server1: split brain: each has something .* \(rule split-brain\); what server1 has and server2 does not know is lost$/),
    ]);
    expect(overrules).toMatchObject({ word: `split-brain server1 1 (server1) ${g(1)}`, over: epoch(1, 'server1') });
  });

  it('wants another yes when it has served since', () => {
    const later = other({ record: { epochServed: epoch(3, 'server1', g(7)) } });
    expect(findFullResync(self, 'server1', later).overrules?.word).toBe(`split-brain server1 3 (server1) ${g(7)}`);
  });

  it('over one that was part of no epoch says so', () => {
    const stranger = other({ record: { generation: g(9), history: [], epochServed: null, epochInSync: null } });
    const { overrules } = findFullResync(self, 'server1', stranger);
    expect(overrules).toMatchObject({ word: 'unrelated server1 none', over: null });
  });

  it.each<[string, NodeView | undefined, RegExp]>([
    ['whom no rule refuses', other({ record: { generation: g(1), history: [g(0)] } }), /^server1: compare says \S+ \(partial\): /],
    ['that can not be heard', undefined, /^server1 can not be heard: .* not overwritten before this is said again$/],
    [
      'that still serves',
      other({ inService: true }),
      /^server1: split brain: .*; server1 is not overwritten before server1 has stopped and this is said again$/,
    ],
    [
      'that has another mirror',
      other({ record: { definition: definition(TWO, { createId: 'c000000000000009' }) } }),
      /\(rule unrelated\); server1 is not overwritten before that has been put right$/,
    ],
  ])('of one %s goes against nothing, and says why', (_name, view1, line) => {
    const { lines, overrules } = findFullResync(self, 'server1', view1);
    expect(overrules).toBeNull();
    expect(lines.at(-1)).toMatch(line);
  });

  it('from a node that can not be the origin goes against nothing: no word makes it one', () => {
    const legBehind = { newest: 'server3', since: epoch(2) };
    const behind = view('server2', TWO, { inService: true, record: { ...tookOver(TWO), legBehind } });
    const { lines, overrules } = findFullResync(behind, 'server1', other({ record: { generation: g(1), history: [g(0)] } }));
    expect(overrules).toBeNull();
    expect(lines.at(-1)).toMatch(/own leg is behind server3 .*; server1 is not overwritten before that has been put right$/);
  });

  it('of a foreign target goes against nothing', () => {
    const nodes = { ...definition(TWO).nodes, far: { priority: 90, leg: '', mode: 'sync' as const, foreignUri: 'nbd://h' } };
    const with3 = view('server2', TWO, { inService: true, record: { ...tookOver(TWO), definition: definition(TWO, { nodes }) } });
    expect(findFullResync(with3, 'far', undefined)).toEqual({ lines: ['far is a foreign target, and never part of a split brain'], overrules: null });
  });
});
