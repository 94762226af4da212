import { describe, expect, it } from 'vitest';
import { decideSwitchover, type SwitchoverDecision, type SwitchoverFacts, type TargetFacts } from '../../../src/failover/decide-switchover.ts';
import type { NodeView } from '../../../src/failover/types.ts';
import { epoch, facts, TIMEOUT_MS, view, type ViewOver } from './build.ts';
import { THREE } from './decide-support.ts';

const source = (over: ViewOver = {}): NodeView => view('server1', THREE, { inService: true, ...over });
const target = (node: string, over: ViewOver = {}): NodeView => view(node, THREE, { contactWithSource: true, ...over });
const inSync: TargetFacts = { foreign: false, inSync: true, problem: '' };

interface Over {
  self?: NodeView;
  peers?: NodeView[];
  to?: string;
  silent?: Record<string, number>;
  source?: Partial<NonNullable<SwitchoverFacts['source']>> | null;
}

function decided(o: Over = {}): SwitchoverDecision {
  const running = { targets: { server2: inSync, server3: inSync }, localLeg: 'in' as const, suspendedFor: [], ...o.source };
  return decideSwitchover({
    facts: facts(o.self ?? source(), o.peers ?? [target('server2'), target('server3')], { silent: o.silent ?? {} }),
    to: o.to ?? 'server2',
    source: o.source === null ? null : running,
  });
}

describe('a switchover', () => {
  it('goes to a target in sync, by the evidence of both records', () => {
    expect(decided()).toMatchObject({ action: 'hand-over', rule: 'evidence' });
  });

  it('does without a third node', () => {
    expect(decided({ peers: [target('server2')], source: { targets: { server2: inSync, server3: { ...inSync, inSync: false } } } }).action).toBe(
      'hand-over',
    );
  });

  const out = { ...inSync, inSync: false, problem: 'waits for its turn' };
  it.each<[string, Over, string, RegExp]>([
    ['of a node that is no source', { source: null }, 'better-candidate', /server1 is not in service/],
    ['of one that has stopped', { self: source({ inService: false }) }, 'better-candidate', /server1 is not in service/],
    ['to the source', { to: 'server1' }, 'better-candidate', /in service already/],
    ['to a stranger', { to: 'server9' }, 'better-candidate', /not a target of datarep-ext3; targets: server2, server3/],
    ['to a name that every object has', { to: 'constructor' }, 'better-candidate', /not a target/],
    ['to a foreign target', { source: { targets: { server2: { ...inSync, foreign: true } } } }, 'better-candidate', /foreign/],
    ['without a majority', { source: { suspendedFor: ['no quorum'] } }, 'no-quorum', /majority/],
    ['while another claims', { source: { suspendedFor: ['claim'] } }, 'superseded', /answers nothing now \(claim\)/],
    ['with a failed own leg', { source: { localLeg: 'out' } }, 'leg-behind', /local leg of server1 has failed/],
    ['to a silent node', { silent: { server2: TIMEOUT_MS } }, 'target-alone', /server2 cannot be heard/],
    ['to one never heard', { peers: [target('server3')] }, 'target-alone', /server2 cannot be heard/],
    [
      'to one being resynced',
      {
        source: { targets: { server2: out } },
        peers: [target('server2', { record: { resyncingFrom: { node: 'server1', kind: 'partial', generation: 'a000000000000001' } } })],
      },
      'cut-short',
      /its resync is not finished/,
    ],
    ['to one out of sync', { source: { targets: { server2: out } } }, 'told-out', /server2 is not in sync: waits for its turn/],
    [
      'to one that was told out',
      {
        source: { targets: { server2: out } },
        peers: [target('server2', { record: { toldOut: { by: 'server1', epoch: epoch(1), why: 'paused' } } })],
      },
      'told-out',
      /server2 is not in sync: paused/,
    ],
    [
      'beside a claim',
      { peers: [target('server2'), target('server3', { record: { claim: epoch(2, 'server3') } })] },
      'better-candidate',
      /server3 holds an unfinished claim/,
    ],
    [
      'after a later epoch',
      { peers: [target('server2'), target('server3', { record: { epochSeen: epoch(2, 'server3') } })] },
      'superseded',
      /server3 has seen epoch 2/,
    ],
  ])('%s is refused', (_name, o, rule, why) => {
    const d = decided(o);
    expect([d.action, d.rule]).toEqual(['refuse', rule]);
    expect(d.why).toMatch(why);
  });
});
