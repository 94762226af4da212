import { describe, expect, it } from 'vitest';
import type { Epoch, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { definition, epoch, g, TIMEOUT_MS, view, type ViewOver } from './build.ts';
import { afterLoss, COMMAND, decided, lastSeen, LOST, orphan, s1, s2, THREE, TWO } from './decide-support.ts';

describe('takeover', () => {
  it('goes in service when its source is silent on every path', () => {
    expect(afterLoss(orphan())).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('does nothing while the source can be heard, or has not been silent for failureTimeout', () => {
    expect(decided(orphan('server2', TWO, { silentForMs: { server1: 10 } }), [lastSeen()])).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
    });
    const justNow = afterLoss(orphan(), [], { silent: { server1: TIMEOUT_MS - 1 } });
    expect(justNow.action).not.toBe('go-in-service');
  });

  it('waits while another node still hears the source', () => {
    const witness = view('server3', THREE, { silentForMs: { server1: 300 }, contactWithSource: true });
    expect(afterLoss(orphan('server2', THREE), [witness])).toMatchObject({ action: 'wait', rule: 'takeover' });
    expect(afterLoss(orphan('server2', THREE), [witness], COMMAND)).toMatchObject({ action: 'refuse', rule: 'takeover' });
  });

  it.each<[string, ViewOver]>([
    ['it has not heard its source since its own start', { contactWithSource: false }],
    ['it was not in sync', { record: { inSync: ['server1'] } }],
    ['another has claimed a later epoch', { record: { epochSeen: epoch(2, 'server1') } }],
  ])('is not for a target when %s', (_what, over) => {
    expect(afterLoss(orphan('server2', TWO, over))).toMatchObject({ action: 'stay-out', rule: 'target-alone' });
  });

  it('may follow an own claim that was given up', () => {
    expect(afterLoss(orphan('server2', TWO, { record: { epochSeen: epoch(2) } }))).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('goes to the prior of two targets, and to the other one when the prior cannot or is silent', () => {
    const second = orphan('server2', THREE);
    const third = orphan('server3', THREE);
    expect(afterLoss(second, [third])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(third, [second])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(afterLoss(third, [{ ...second, contactWithSource: false }])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(third, [orphan('server2', THREE, { record: { keepOut: true } })])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(third, [second], { silent: { server1: LOST, server2: LOST } })).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('prefers a sync target over an async one of better priority', () => {
    const nodes = definition(THREE).nodes;
    const mixed = definition(THREE, { nodes: { ...nodes, server2: { priority: 10, leg: '/legs/server2', mode: 'async' } } });
    const second = orphan('server2', THREE, { record: { definition: mixed } });
    const third = orphan('server3', THREE, { record: { definition: mixed } });
    expect(afterLoss(second, [third])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(afterLoss(third, [second])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it.each(['off', 'confirm'] as const)('waits for an operator where failover is %s', (failover) => {
    const self = orphan('server2', TWO, { record: { definition: definition(TWO, { failover }) } });
    expect(afterLoss(self)).toMatchObject({ action: 'wait', rule: 'takeover' });
    expect(afterLoss(self, [], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('waits while another was told of a generation that it lacks, in the epoch that it was in sync in (M2)', () => {
    const told = { by: 'server1', epoch: epoch(1), why: 'paused' };
    const out = (witnessed: StateRecord['witnessed'], over: Partial<StateRecord> = {}): NodeView =>
      view('server3', THREE, {
        silentForMs: { server1: LOST },
        record: { inSync: ['server1'], toldOut: told, ...over, ...(witnessed === undefined ? {} : { witnessed }) },
      });
    const lacks = { epoch: epoch(1), generation: g(7) };
    const self = orphan('server2', THREE);
    expect(afterLoss(self, [out(undefined)])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(self, [out(lacks)])).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
      why: 'server3 knows of newer data, though it was told that it is out (paused)',
    });
    // Also of one that never had any data itself.
    expect(afterLoss(self, [out(lacks, { hadData: false, toldOut: null, inSync: [] })])).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
    });
    // Also of one that was given up on in the middle of a resync, or is being resynced, to what this node has.
    const cut: Partial<StateRecord> = { toldOut: null, inSync: [], resyncingFrom: { node: 'server1', kind: 'partial', generation: g(1) } };
    expect(afterLoss(self, [out(undefined, cut)])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(self, [out(lacks, cut)])).toMatchObject({ action: 'stay-out', rule: 'better-candidate' });
    // It was told so itself.
    expect(afterLoss(orphan('server2', THREE, { record: { witnessed: lacks } })).action).toBe('stay-out');
    // It has that generation, or was part of a later epoch, whose owner has taken account of it.
    expect(afterLoss(self, [out({ epoch: epoch(1), generation: self.record.generation })])).toMatchObject({ action: 'go-in-service' });
    const later = orphan('server2', THREE, { record: { epochSeen: epoch(2, 'server1'), epochInSync: epoch(2, 'server1') } });
    expect(afterLoss(later, [out(lacks)])).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('never counts a foreign target, neither as a candidate nor as required', () => {
    const nodes = { ...definition(TWO).nodes, foreign: { priority: 0, leg: '', mode: 'sync' as const, foreignUri: 'nbd://foreign' } };
    const self = orphan('server2', TWO, { record: { definition: definition(TWO, { nodes }), inSync: ['server1', 'server2', 'foreign'] } });
    expect(afterLoss(self)).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });
});

describe('better-candidate', () => {
  it('refuses a command while the source is in service, and says what to do instead', () => {
    const answer = decided(s2(), [lastSeen()], COMMAND);
    expect(answer).toMatchObject({ action: 'refuse', rule: 'better-candidate' });
    expect(answer.why).toContain('take it out of service there first');
  });

  it('waits for a node that holds newer data, even one that cannot go in service itself', () => {
    const newer = view('server2', THREE, {
      record: { generation: g(2), history: [g(1), g(0)], toldOut: { by: 'server1', epoch: epoch(1), why: 'behind' } },
    });
    const self = view('server3', THREE, { record: { inSync: ['server3'] } });
    expect(decided(self, [newer, view('server1', THREE, { record: { generation: g(2), history: [g(1)] } })])).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
    });
  });

  it('does not take an unfinished resync for newer data unless its origin had some', () => {
    const cut = (n: number): NodeView => s2({ record: { inSync: [], resyncingFrom: { node: 'server1', kind: 'partial', generation: g(n) } } });
    expect(decided(s1({ record: { inSync: ['server1'] } }), [cut(1)])).toMatchObject({ action: 'go-in-service' });
    const fromThird = view('server2', THREE, { record: { inSync: [], resyncingFrom: { node: 'server3', kind: 'full', generation: g(7) } } });
    expect(decided(view('server1', THREE, { record: { inSync: ['server1'] } }), [fromThird])).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
    });
  });

  it('refuses an async target while the source that crashed can be heard, because of what its queue held', () => {
    const nodes = { ...definition(TWO).nodes, server2: { priority: 10, leg: '/legs/server2', mode: 'async' as const } };
    const self = s2({ record: { definition: definition(TWO, { nodes }) } });
    expect(decided(self, [s1()], COMMAND)).toMatchObject({ action: 'refuse', rule: 'better-candidate' });
    expect(decided(self, [s1({ record: { session: { role: 'source', clean: true } } })], COMMAND)).toMatchObject({
      action: 'go-in-service',
      rule: 'evidence',
    });
  });

  it('starts no claim while another holds an unfinished one', () => {
    const claimant = s2({ record: { claim: epoch(2), epochSeen: epoch(2) } });
    expect(decided(s1(), [claimant])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(decided(s1(), [claimant], COMMAND)).toMatchObject({ action: 'refuse', rule: 'better-candidate' });
  });
});

describe('a claim on its way', () => {
  const claimed = { claim: epoch(2), epochSeen: epoch(2) };
  const self = (over: ViewOver = {}): NodeView => orphan('server2', THREE, { ...over, record: { ...claimed, ...over.record } });
  const accepted = (n: number, owner = 'server2'): NodeView =>
    view('server3', THREE, { contactWithSource: true, silentForMs: { server1: LOST }, record: { epochSeen: epoch(n, owner), inSync: ['server2'] } });

  it('goes on when everybody who can be heard has accepted exactly its epoch', () => {
    expect(afterLoss(self(), [accepted(2)], { claiming: true })).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('tells a peer first that has joined since', () => {
    expect(afterLoss(self(), [accepted(1, 'server1')], { claiming: true })).toMatchObject({ action: 'wait', rule: 'better-candidate' });
  });

  it('is given up when a peer has seen another claim of that number, or a higher one', () => {
    expect(afterLoss(self(), [accepted(2, 'server3')], { claiming: true })).toMatchObject({ action: 'stay-out', rule: 'better-candidate' });
    expect(afterLoss(self(), [accepted(3, 'server3')], { claiming: true }).action).not.toBe('go-in-service');
  });

  it('is given up for that also when another peer, heard before it or after it, has not been told yet', () => {
    const nodes = [...THREE, 'server4'];
    const claimant = orphan('server2', nodes, { record: claimed });
    const peer = (node: string, epochSeen: Epoch): NodeView => view(node, nodes, { record: { epochSeen, inSync: ['server2'] } });
    for (const [early, late] of [
      ['server3', 'server4'],
      ['server4', 'server3'],
    ] as const)
      expect(afterLoss(claimant, [peer(early, epoch(1)), peer(late, epoch(3, late))], { claiming: true })).toMatchObject({
        action: 'stay-out',
        rule: 'better-candidate',
        why: expect.stringContaining(`${late} has seen epoch 3`) as unknown,
      });
  });

  it('is given up when the lost source answers', () => {
    expect(decided(self({ silentForMs: { server1: 5 } }), [lastSeen(THREE), accepted(2)], { claiming: true })).toMatchObject({
      action: 'stay-out',
      rule: 'better-candidate',
    });
    const back = view('server1', THREE, { record: { epochSeen: epoch(2) } });
    expect(decided(self({ silentForMs: { server1: 5 } }), [back, accepted(2)], { claiming: true })).toMatchObject({
      action: 'wait',
      rule: 'better-candidate',
    });
  });

  it('is over when the record holds none', () => {
    expect(afterLoss(orphan('server2', THREE), [], { claiming: true }).action).not.toBe('go-in-service');
  });
});
