/** The documented stories of design.md, as sequences of facts: what each node knows at that moment, and what follows. */
import { describe, expect, it } from 'vitest';
import { compare } from '../../../src/failover/compare.ts';
import { decide } from '../../../src/failover/decide.ts';
import { enteringAccount, planMerge } from '../../../src/failover/merge.ts';
import type { NodeView, StateRecord } from '../../../src/failover/types.ts';
import { peerState } from '../../../src/failover/views.ts';
import { epoch, facts, g, TIMEOUT_MS, tookOver, view } from './build.ts';

const TWO = ['server1', 'server2'];
const THREE = ['server1', 'server2', 'server3'];
const LOST = TIMEOUT_MS;
const SILENT = { silent: false, splitBrain: false, refused: false, session: 'none', outOfSyncBytes: 0 } as const;

/** A node that has just gone in service: what is written down then, from what it was. */
function takenOver(was: NodeView, number: number, accepted: string[], record: Partial<StateRecord> = {}): NodeView {
  const e = epoch(number, was.node);
  const owned = { epochSeen: e, epochServed: e, epochInSync: e, session: { role: 'source' as const, clean: false } };
  return {
    ...was,
    inService: true,
    flags: { ...was.flags, lastOwner: true },
    record: { ...was.record, ...enteringAccount(was.record, accepted), ...owned, ...record },
  };
}

describe('two nodes, 1: the source dies, the target takes over, the old source returns', () => {
  const target = view('server2', TWO, { contactWithSource: true, silentForMs: { server1: LOST } });
  const dead = view('server1', TWO, { inService: true });
  const serving = takenOver(target, 2, [], { generation: g(2), history: [g(1), g(0)] });
  const returned = view('server1', TWO, { intentBytes: 65536 });

  it('server2 takes over once server1 has been silent for failureTimeout', () => {
    expect(decide(facts({ ...target, silentForMs: { server1: LOST - 1 } }, [dead], { silent: { server1: LOST - 1 } })).action).not.toBe(
      'go-in-service',
    );
    expect(decide(facts(target, [dead], { silent: { server1: LOST } }))).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('server2 sees server1 as Unknown, still requires it, and has an account of it', () => {
    expect(peerState(serving.record, serving.flags, 'server1', { ...SILENT, silent: true })).toBe('Unknown');
    expect(serving.record).toMatchObject({ inSync: ['server2'], droppedUnconfirmed: ['server1'], accountComplete: ['server1'], mergePending: [] });
  });

  it('server1 comes back, loses its last_owner, and stays out', () => {
    expect(decide(facts(returned, [serving]))).toMatchObject({ action: 'stay-out', rule: 'superseded', setFlags: { lastOwner: false } });
  });

  it('server1 is resynced partially, over the union of both bitmaps', () => {
    expect(compare(serving, returned)).toMatchObject({
      rule: 'serving',
      kind: 'partial',
      direction: { from: 'server2', to: 'server1' },
      marks: [
        { of: 'server2', map: 'out-of-sync', for: 'server1' },
        { of: 'server1', map: 'intent' },
      ],
    });
  });
});

describe('two nodes, 2: the new source dies while it resyncs the old one', () => {
  const cut = view('server1', TWO, {
    contactWithSource: true,
    silentForMs: { server2: LOST },
    flags: { lastOwner: false, source: 'server2' },
    record: { epochSeen: epoch(2), inSync: [], resyncingFrom: { node: 'server2', kind: 'partial', generation: g(2) } },
  });
  const returned = view('server2', TWO, { flags: { lastOwner: true }, record: { ...tookOver(TWO), droppedUnconfirmed: [] } });

  it('server1 stays out, however long', () => {
    expect(decide(facts(cut, []))).toMatchObject({ action: 'stay-out', rule: 'cut-short' });
    expect(decide(facts(cut, [returned], { silent: { server2: 600_000 } }))).toMatchObject({ action: 'stay-out', rule: 'cut-short' });
  });

  it('server2 comes back and goes in service, as nobody else can be newer', () => {
    expect(decide(facts(returned, [cut]))).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
  });

  it('and the resync goes on', () => {
    const serving = {
      ...returned,
      inService: true,
      record: { ...returned.record, epochServed: epoch(3, 'server2'), epochInSync: epoch(3, 'server2'), epochSeen: epoch(3, 'server2') },
    };
    expect(compare(serving, cut)).toMatchObject({ rule: 'inconsistent', kind: 'partial', direction: { from: 'server2', to: 'server1' } });
  });
});

describe('two nodes, 3: both die, the source returns alone', () => {
  it('stays out with data_corrupt, is forced online, and resyncs server2 partially', () => {
    const alone = view('server1', TWO);
    const first = decide(facts(alone, []));
    expect(first).toMatchObject({ action: 'stay-out', rule: 'source-alone', setFlags: { dataCorrupt: true } });

    const flagged = view('server1', TWO, { flags: { dataCorrupt: true }, record: { dataCorruptSet: true } });
    expect(decide(facts(flagged, []))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    const forced = decide(facts(flagged, [], { command: { kind: 'force', withoutLastOwner: false } }));
    expect(forced).toMatchObject({ action: 'go-in-service', rule: 'forced', setFlags: { dataCorrupt: false } });

    const serving = takenOver(alone, 2, [], { generation: g(3), history: [g(1), g(0)] });
    expect(decide(facts(view('server2', TWO), [serving]))).toMatchObject({ action: 'stay-out', rule: 'superseded' });
    expect(compare(serving, view('server2', TWO))).toMatchObject({ rule: 'serving', kind: 'partial', direction: { from: 'server1', to: 'server2' } });
  });
});

describe('two nodes, 4: both die, the target returns alone', () => {
  it('waits, and when server1 is back, server1 goes in service', () => {
    const target = view('server2', TWO);
    expect(decide(facts(target, []))).toMatchObject({ action: 'stay-out', rule: 'target-alone' });

    const source = view('server1', TWO);
    expect(decide(facts(target, [source]))).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(decide(facts(source, [target]))).toMatchObject({ action: 'go-in-service', rule: 'evidence' });

    const claiming = view('server1', TWO, { record: { claim: epoch(2, 'server1'), epochSeen: epoch(2, 'server1') } });
    const accepted = view('server2', TWO, { record: { epochSeen: epoch(2, 'server1'), inSync: [] } });
    expect(decide(facts(claiming, [accepted], { claiming: true }))).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    const serving = takenOver(source, 2, ['server2']);
    expect(compare(serving, accepted)).toMatchObject({ rule: 'serving', kind: 'partial', direction: { from: 'server1', to: 'server2' } });
  });
});

describe('three nodes: the source dies, the next takes over and waits for the previous source', () => {
  const target = (node: string): NodeView => view(node, THREE, { contactWithSource: true, silentForMs: { server1: LOST } });
  const dead = view('server1', THREE, { inService: true });
  const third = view('server3', THREE, { record: { epochSeen: epoch(2), inSync: [] } });
  const serving = takenOver(target('server2'), 2, ['server3'], { generation: g(2), history: [g(1), g(0)] });

  it('server2 goes first, and server3 leaves it to it', () => {
    const silent = { silent: { server1: LOST } };
    expect(decide(facts(target('server2'), [dead, target('server3')], silent))).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(decide(facts(target('server3'), [dead, target('server2')], silent))).toMatchObject({ action: 'wait', rule: 'better-candidate' });
  });

  it('server3 is "Out of Sync (Wait for Previous Source)"', () => {
    expect(serving.record.mergePending).toEqual([{ from: 'server1', for: ['server3'] }]);
    expect(compare(serving, third)).toMatchObject({ rule: 'merge-pending', kind: 'wait', waitFor: 'server1' });
    expect(peerState(serving.record, serving.flags, 'server3', SILENT)).toBe('Out of Sync (Wait for Previous Source)');
  });

  it('server1 connects, as "(Previous Source)", and its bitmap is merged', () => {
    expect(peerState(serving.record, serving.flags, 'server1', SILENT)).toBe('Out of Sync (Previous Source)');
    const plan = planMerge(serving, view('server1', THREE));
    expect(plan).toMatchObject({ mergePending: [], accountComplete: ['server1', 'server3'], fullFor: [] });
    const record = { ...serving.record, mergePending: plan.mergePending, accountComplete: plan.accountComplete };
    expect(peerState(record, serving.flags, 'server3', SILENT)).toBe('Out of Sync');
    expect(peerState(record, serving.flags, 'server1', { ...SILENT, session: 'resyncing' })).toBe('Resyncing');
    expect(compare({ ...serving, record }, third)).toMatchObject({ rule: 'serving', kind: 'partial', direction: { from: 'server2', to: 'server3' } });
  });

  it('when the wait ends first, server3 is resynced fully', () => {
    expect(compare(serving, third, { ended: true })).toMatchObject({
      rule: 'merge-pending',
      kind: 'full',
      direction: { from: 'server2', to: 'server3' },
    });
  });

  it('server2 crashes and comes back with server3: server1, never heard again, is still required', () => {
    const returned = { ...serving, inService: false };
    expect(decide(facts(returned, [third]))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(decide(facts(third, [returned])).action).not.toBe('go-in-service');
  });

  it('going in service again as the same owner keeps set, account and what is pending', () => {
    const again = enteringAccount(serving.record, ['server3']);
    expect(again).toMatchObject({
      inSync: ['server2'],
      droppedUnconfirmed: ['server1'],
      accountComplete: ['server1'],
      mergePending: [{ from: 'server1', for: ['server3'] }],
    });
  });
});

describe('a target is cut off and cannot know that it was left behind', () => {
  it('two nodes without an arbiter serve side by side, and the split brain is seen and never merged', () => {
    const left = view('server1', TWO, {
      inService: true,
      record: { generation: g(5), history: [g(1), g(0)], inSync: ['server1'], droppedUnconfirmed: ['server2'] },
    });
    const right = view('server2', TWO, { inService: true, record: tookOver(TWO) });
    expect(decide(facts(left, [right]))).toMatchObject({ action: 'demote', rule: 'split-brain' });
    expect(decide(facts(right, [left]))).toMatchObject({ action: 'stay-in-service', rule: 'split-brain' });
    expect(compare(left, right)).toMatchObject({ rule: 'split-brain', kind: 'refuse' });
  });
});
