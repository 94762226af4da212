import { describe, expect, it } from 'vitest';
import { compare } from '../../../src/failover/compare.ts';
import type { CompareAnswer, Epoch, NodeView } from '../../../src/failover/types.ts';
import { definition, epoch, g, tookOver, view, type ViewOver } from './build.ts';

const TWO = ['server1', 'server2'];
const THREE = ['server1', 'server2', 'server3'];

const s1 = (over: ViewOver = {}): NodeView => view('server1', TWO, over);
const s2 = (over: ViewOver = {}): NodeView => view('server2', TWO, over);
/** server2 in service in epoch 2, after a takeover and a write. */
const s2Serving = (over: ViewOver = {}): NodeView =>
  view('server2', TWO, { inService: true, ...over, record: { ...tookOver(TWO), ...over.record }, flags: { lastOwner: true } });

/** Both orders must agree. */
function met(a: NodeView, b: NodeView, wait?: { ended: boolean }): CompareAnswer {
  const answer = compare(a, b, wait);
  expect(compare(b, a, wait)).toEqual(answer);
  return answer;
}

const marks = (a: CompareAnswer): string[] => (a.marks ?? []).map((m) => (m.map === 'intent' ? `${m.of} intent` : `${m.of} for ${m.for}`)).sort();
const from = (x: string, to: string): CompareAnswer['direction'] => ({ from: x, to });

describe('blank', () => {
  it('copies all to a node that never had data', () => {
    const answer = met(s1({ inService: true }), s2({ record: { hadData: false, generation: g(9), history: [], inSync: [], epochInSync: null } }));
    expect(answer).toMatchObject({ rule: 'blank', kind: 'full', direction: from('server1', 'server2') });
  });

  it('copies from the one in service when neither ever had data, and waits when none is', () => {
    const empty = { hadData: false };
    expect(met(s1({ inService: true, record: empty }), s2({ record: empty }))).toMatchObject({
      rule: 'blank',
      kind: 'full',
      direction: from('server1', 'server2'),
    });
    expect(met(s1({ record: empty }), s2({ record: empty }))).toMatchObject({ rule: 'blank', kind: 'wait', direction: null });
  });

  it('does not overwrite a blank node that is in service, nor copies from unfinished data', () => {
    expect(met(s1({ inService: true, record: { hadData: false } }), s2())).toMatchObject({ rule: 'blank', kind: 'refuse' });
    const cut = { resyncingFrom: { node: 'server3', kind: 'full' as const, generation: g(1) } };
    expect(met(s1({ record: cut }), s2({ record: { hadData: false } }))).toMatchObject({ rule: 'blank', kind: 'refuse' });
  });
});

describe('unrelated', () => {
  it('refuses a mirror with another create id, even where a node is blank', () => {
    const other = { definition: definition(TWO, { createId: 'cfffffffffffffff' }), hadData: false };
    expect(met(s1(), s2({ record: other }))).toMatchObject({ rule: 'unrelated', kind: 'refuse', direction: null });
  });

  it('refuses two histories without a generation in common, and two nodes of one name', () => {
    expect(met(s1(), s2({ record: { generation: g(7), history: [g(8)] } }))).toMatchObject({ rule: 'unrelated', kind: 'refuse' });
    expect(compare(s1(), s1())).toMatchObject({ rule: 'unrelated', kind: 'refuse' });
  });
});

describe('inconsistent', () => {
  const cut = (node: string): NodeView['record']['resyncingFrom'] => ({ node, kind: 'partial', generation: g(2) });

  it('goes on partially from the node that the resync came from', () => {
    const old = s1({ record: { resyncingFrom: cut('server2'), epochSeen: epoch(2), inSync: [] } });
    const answer = met(old, s2Serving());
    expect(answer).toMatchObject({ rule: 'inconsistent', kind: 'partial', direction: from('server2', 'server1') });
    expect(marks(answer)).toEqual(['server1 intent', 'server2 for server1']);
  });

  it('goes on fully when the marks of that node are damaged', () => {
    const old = s1({ record: { resyncingFrom: cut('server2') } });
    expect(met(old, s2Serving({ bitmapDamaged: true }))).toMatchObject({ rule: 'inconsistent', kind: 'full', direction: from('server2', 'server1') });
    expect(met({ ...old, bitmapDamaged: true }, s2Serving())).toMatchObject({ kind: 'full' });
  });

  const third = (over: ViewOver = {}): NodeView =>
    view('server3', THREE, { ...over, record: { resyncingFrom: cut('server2'), epochSeen: epoch(2), ...over.record } });
  const other = (over: ViewOver = {}): NodeView =>
    view('server1', THREE, {
      ...over,
      record: {
        epochServed: epoch(3, 'server1'),
        epochInSync: epoch(3, 'server1'),
        epochSeen: epoch(3, 'server1'),
        generation: g(3),
        history: [g(2), g(1)],
        ...over.record,
      },
    });

  it('waits for the node that the resync came from, and copies all when the wait ends', () => {
    const origin = other({ inService: true, record: { accountComplete: ['server2'], inSync: ['server1'] } });
    expect(met(origin, third())).toMatchObject({ rule: 'inconsistent', kind: 'wait', waitFor: 'server2', direction: from('server1', 'server3') });
    expect(met(origin, third(), { ended: true })).toMatchObject({ rule: 'inconsistent', kind: 'full', direction: from('server1', 'server3') });
  });

  it('waits no longer when that node is back, in sync with a source that could not merge its marks', () => {
    const origin = other({ inService: true, record: { accountComplete: ['server2'], inSync: ['server1', 'server2'] } });
    expect(met(origin, third())).toMatchObject({ rule: 'inconsistent', kind: 'full', direction: from('server1', 'server3') });
  });

  it('waits while the marks of a third node may still come', () => {
    const pending = [{ from: 'server4', for: ['server3'] }];
    const origin = other({ inService: true, record: { accountComplete: ['server2'], inSync: ['server1', 'server2'], mergePending: pending } });
    expect(met(origin, third())).toMatchObject({ rule: 'inconsistent', kind: 'wait' });
  });

  it('is partial from another node that has merged the marks of the one it came from', () => {
    const answer = met(other({ inService: true, record: { accountComplete: ['server2', 'server3'] } }), third());
    expect(answer).toMatchObject({ rule: 'inconsistent', kind: 'partial' });
    expect(marks(answer)).toEqual(['server1 for server3', 'server3 intent']);
  });

  it('takes no account for complete that is older than the epoch the resync ran in', () => {
    const old = view('server1', THREE, { record: { accountComplete: ['server2', 'server3'], history: [g(2), g(0)] } });
    expect(met(old, third())).toMatchObject({ rule: 'inconsistent', kind: 'wait', waitFor: 'server2' });
  });

  it('refuses when both resyncs were cut short, and when the unfinished one is in service', () => {
    expect(met(s1({ record: { resyncingFrom: cut('server2') } }), s2({ record: { resyncingFrom: cut('server1') } }))).toMatchObject({
      rule: 'inconsistent',
      kind: 'refuse',
    });
    expect(met(s1({ inService: true, record: { resyncingFrom: cut('server2') } }), s2({ record: tookOver(TWO) }))).toMatchObject({
      rule: 'inconsistent',
      kind: 'refuse',
    });
  });
});

describe('split-brain', () => {
  it('refuses when each wrote without the other, and names both sides', () => {
    const wrote = s1({ record: { generation: g(5), history: [g(1)] } });
    const answer = met(wrote, s2Serving());
    expect(answer).toMatchObject({ rule: 'split-brain', kind: 'refuse', direction: null });
    expect(answer.why).toContain(g(5));
    expect(answer.why).toContain(g(2));
  });

  it('refuses when one epoch number has two owners that served, even without a write', () => {
    const forced = s1({ record: { epochServed: epoch(2, 'server1'), epochInSync: epoch(2, 'server1') } });
    expect(met(forced, s2({ record: { ...tookOver(TWO), generation: g(1), history: [g(0)] } }))).toMatchObject({
      rule: 'split-brain',
      kind: 'refuse',
    });
  });

  it('refuses when one served later and the other wrote, although it was told of that epoch', () => {
    const later = s2({ record: { ...tookOver(TWO), generation: g(1), history: [g(0)] } });
    expect(met(s1({ record: { generation: g(5), history: [g(1)], epochSeen: epoch(2) } }), later)).toMatchObject({
      rule: 'split-brain',
      kind: 'refuse',
    });
  });

  it('refuses a generation that the owner of the last epoch has never heard of', () => {
    expect(met(s1(), s2({ record: { generation: g(6), history: [g(1)] } }))).toMatchObject({ rule: 'split-brain', kind: 'refuse' });
  });

  it('takes an answered write under an offered generation for one that the other may not know', () => {
    const offered = s1({ record: { offered: [{ generation: g(5), served: true }] } });
    expect(met(offered, s2Serving())).toMatchObject({ rule: 'split-brain', kind: 'refuse' });
  });

  it('is none when the old source only served the earlier epoch, in which the other was in sync', () => {
    expect(met(s1(), s2Serving()).rule).toBe('serving');
  });
});

describe('merge-pending', () => {
  const serving = (over: Partial<NodeView['record']> = {}): NodeView =>
    view('server2', THREE, { inService: true, record: { ...tookOver(THREE), ...over } });
  const waiting = view('server3', THREE, { record: { inSync: ['server2'], epochSeen: epoch(2) } });

  it('waits for the marks of the previous source, and copies all when the wait ends', () => {
    expect(met(serving(), waiting)).toMatchObject({ rule: 'merge-pending', kind: 'wait', waitFor: 'server1', direction: from('server2', 'server3') });
    expect(met(serving(), waiting, { ended: true })).toMatchObject({ rule: 'merge-pending', kind: 'full', direction: from('server2', 'server3') });
  });

  it('does not wait for a node that is no longer part of the mirror', () => {
    const answer = met(serving({ definition: definition(['server2', 'server3']) }), waiting);
    expect(answer).toMatchObject({ rule: 'merge-pending', kind: 'full' });
  });

  it('does not hold up the previous source itself, and is partial once merged', () => {
    expect(met(serving(), view('server1', THREE))).toMatchObject({ rule: 'serving', kind: 'partial' });
    const answer = met(serving({ mergePending: [], accountComplete: ['server1', 'server3'] }), waiting);
    expect(answer).toMatchObject({ rule: 'serving', kind: 'partial', direction: from('server2', 'server3') });
  });
});

describe('a source that is older than the other', () => {
  it('overwrites nothing, even where it waits for somebody to merge from', () => {
    const stale = view('server1', THREE, {
      inService: true,
      record: { epochServed: null, epochInSync: null, mergePending: [{ from: 'server3', for: ['server2'] }] },
    });
    const newer = view('server2', THREE, { record: { generation: g(2), history: [g(1)], epochInSync: null } });
    expect(met(stale, newer, { ended: true })).toMatchObject({ kind: 'refuse', direction: null });
  });
});

describe('serving', () => {
  it('resyncs the old source over both bitmaps (two nodes, 1)', () => {
    const answer = met(s1(), s2Serving());
    expect(answer).toMatchObject({ rule: 'serving', kind: 'partial', direction: from('server2', 'server1') });
    expect(marks(answer)).toEqual(['server1 intent', 'server2 for server1']);
  });

  it('resyncs a target partially after the source was forced online (two nodes, 3)', () => {
    const forced = s1({
      inService: true,
      record: {
        generation: g(4),
        history: [g(1)],
        epochServed: epoch(2, 'server1'),
        epochSeen: epoch(2, 'server1'),
        epochInSync: epoch(2, 'server1'),
      },
    });
    expect(met(forced, s2())).toMatchObject({ rule: 'serving', kind: 'partial', direction: from('server1', 'server2') });
  });

  it('adds marks that the other keeps for the source, because marks that exist are never dropped', () => {
    expect(marks(met(s1({ outOfSyncBytes: { server2: 65536 } }), s2Serving()))).toEqual([
      'server1 for server2',
      'server1 intent',
      'server2 for server1',
    ]);
  });

  it.each<[string, ViewOver, ViewOver]>([
    ['the source has kept no marks for it', { record: { accountComplete: [] } }, {}],
    ['the bitmap of the source is damaged', { bitmapDamaged: true }, {}],
    ['the bitmap of the target is damaged', {}, { bitmapDamaged: true }],
    ['the source has given its marks away', { record: { accountGivenTo: 'server3' } }, {}],
    ['the source has given its marks to the target itself', { record: { accountGivenTo: 'server1' } }, {}],
    ['the region sizes differ', { record: { definition: definition(TWO, { regionSizeBytes: 131072 }) } }, {}],
    ['the target is smaller: its marks may have been cut off', {}, { record: { definition: definition(TWO, { sizeBytes: 65_536 }) } }],
    ['somebody else has been the source since', {}, { record: { epochSeen: epoch(3, 'server3') } }],
    [
      'the target was one of somebody else, before the epoch of this source',
      { record: { terms: [epoch(2).random, epoch(0).random] } },
      { record: { sessionIn: epoch(1, 'server3') } },
    ],
  ])('copies all when %s', (_why, source, target) => {
    expect(met(s1(target), s2Serving(source))).toMatchObject({ rule: 'serving', kind: 'full', direction: from('server2', 'server1') });
  });

  it('copies what is marked to a target that is larger: what it has behind the end is cut off', () => {
    const larger = s1({ record: { definition: definition(TWO, { sizeBytes: 2 ** 40 }) } });
    expect(met(larger, s2Serving())).toMatchObject({ rule: 'serving', kind: 'partial', direction: from('server2', 'server1') });
  });

  it('refuses while both are in service, and while the later of the two is the one out of service', () => {
    expect(met(s1({ inService: true }), s2Serving())).toMatchObject({ rule: 'serving', kind: 'refuse' });
    const later = s2({ record: { ...tookOver(TWO), generation: g(1), history: [g(0)] } });
    expect(met(s1({ inService: true }), later)).toMatchObject({ rule: 'served-later', kind: 'refuse' });
  });

  it('never copies from a source whose own leg is behind', () => {
    const behind = s1({ inService: true, record: { legBehind: { since: epoch(1), newest: 'server2' } } });
    expect(met(behind, s2())).toMatchObject({ rule: 'serving', kind: 'refuse' });
  });
});

describe('equal generations', () => {
  const clean = { session: { role: 'source' as const, clean: true } };
  const cleanTarget = { session: { role: 'target' as const, clean: true } };

  it('has nothing to do after both ended cleanly', () => {
    expect(met(s1({ record: clean }), s2({ record: cleanTarget }))).toMatchObject({ rule: 'clean', kind: 'none', direction: null });
  });

  it('copies all when the other one ended for itself, and the last source has not merged who was its source then', () => {
    const pending = { ...clean, mergePending: [{ from: 'server3', for: ['server2'] }], accountComplete: [] };
    expect(met(s1({ record: pending }), s2({ record: cleanTarget }))).toMatchObject({ rule: 'crashed-target', kind: 'full' });
  });

  it('resyncs marks that exist even so, and all when a bitmap is damaged', () => {
    const marked = met(s1({ record: clean, outOfSyncBytes: { server2: 1 } }), s2({ record: cleanTarget }));
    expect(marked).toMatchObject({ rule: 'clean', kind: 'partial', direction: from('server1', 'server2') });
    expect(marks(marked)).toEqual(['server1 for server2']);
    expect(met(s1({ record: clean, bitmapDamaged: true }), s2({ record: cleanTarget }))).toMatchObject({ rule: 'clean', kind: 'full' });
  });

  it('resyncs from the one that served the higher epoch, even without a write, over both intent maps', () => {
    const answer = met(s1(), s2({ record: { ...tookOver(TWO), generation: g(1), history: [g(0)] } }));
    expect(answer).toMatchObject({ rule: 'served-later', kind: 'partial', direction: from('server2', 'server1') });
    expect(marks(answer)).toEqual(['server1 intent', 'server2 intent']);
  });

  it('resyncs from a crashed source over its intent map', () => {
    const answer = met(s1(), s2());
    expect(answer).toMatchObject({ rule: 'crashed-source', kind: 'partial', direction: from('server1', 'server2') });
    expect(marks(answer)).toEqual(['server1 intent']);
  });

  it('resyncs a crashed target over what was not proven synced', () => {
    const answer = met(s1({ record: clean }), s2());
    expect(answer).toMatchObject({ rule: 'crashed-target', kind: 'partial', direction: from('server1', 'server2') });
    expect(marks(answer)).toEqual(['server1 for server2', 'server1 intent']);
  });

  it('takes an offered generation, never committed nor served under, as equal', () => {
    const offered = s1({ record: { offered: [{ generation: g(5), served: false }] } });
    const adopted = s2({ record: { generation: g(5), history: [g(1), g(0)] } });
    expect(met(offered, adopted)).toMatchObject({ rule: 'crashed-source', kind: 'partial', direction: from('server1', 'server2') });
  });

  it('lets two targets wait for the last source, and copies all from the prior one when the wait ends', () => {
    const a = view('server2', THREE);
    const b = view('server3', THREE);
    expect(met(a, b)).toMatchObject({ rule: 'both-targets', kind: 'wait', waitFor: 'server1', direction: from('server2', 'server3') });
    expect(met(a, b, { ended: true })).toMatchObject({ rule: 'both-targets', kind: 'full', direction: from('server2', 'server3') });
  });

  it('calls two targets equal only where the same source ended both, not where each was stopped for itself', () => {
    const alone = { record: { session: { role: 'target' as const, clean: true } } };
    const together = { record: { ...alone.record, stoppedOnPurpose: true } };
    expect(met(view('server2', THREE, alone), view('server3', THREE, alone))).toMatchObject({ rule: 'both-targets', kind: 'wait' });
    expect(met(view('server2', THREE, together), view('server3', THREE, alone))).toMatchObject({ rule: 'both-targets', kind: 'wait' });
    expect(met(view('server2', THREE, together), view('server3', THREE, together))).toMatchObject({ rule: 'clean', kind: 'none' });
  });

  it('calls nobody equal who was a target of a source that the other knows nothing of', () => {
    const ended = { session: { role: 'target' as const, clean: true }, stoppedOnPurpose: true };
    const elsewhere = { ...ended, sessionIn: epoch(1, 'server4'), terms: [epoch(1, 'server4').random] };
    const here = { ...ended, sessionIn: epoch(0), terms: [epoch(0).random] };
    expect(met(view('server2', THREE, { record: here }), view('server3', THREE, { record: elsewhere }))).toMatchObject({ rule: 'both-targets' });
    const source = s1({ record: { ...clean, terms: [epoch(0).random] } });
    expect(met(source, s2({ record: { ...cleanTarget, sessionIn: epoch(0) } }))).toMatchObject({ rule: 'clean', kind: 'none' });
    expect(met(source, s2({ record: { ...cleanTarget, sessionIn: epoch(1, 'server3') } }))).toMatchObject({ rule: 'crashed-target', kind: 'full' });
    // Records of an earlier version do not say.
    expect(met(s1({ record: clean }), s2({ record: { ...cleanTarget, sessionIn: epoch(1, 'server3') } }))).toMatchObject({ kind: 'none' });
  });

  it('forgets who served apart from each other once both were in sync with a later source', () => {
    const [x, y] = [epoch(2, 'server2', g(21)), epoch(2, 'server3', g(22))];
    const now = { generation: g(5), history: [g(1), g(0)], epochInSync: epoch(4), epochSeen: epoch(4) };
    const a = view('server2', THREE, { record: { ...now, epochServed: x } });
    const b = view('server3', THREE, { record: { ...now, epochServed: y } });
    expect(met(a, b).rule).not.toBe('split-brain');
    // Before that they are two owners of one number.
    const before = (v: NodeView, e: Epoch): NodeView => ({ ...v, record: { ...v.record, epochInSync: e, epochSeen: e } });
    expect(met(before(a, x), before(b, y))).toMatchObject({ rule: 'split-brain', kind: 'refuse' });
    expect(met(a, before(b, y))).toMatchObject({ rule: 'split-brain', kind: 'refuse' });
  });

  it('copies all to a node that served an epoch which this one does not know: it may have been given something before, and took it along', () => {
    const alone = { sessionIn: epoch(2, 'server1'), epochServed: epoch(2, 'server1'), epochInSync: epoch(2, 'server1') };
    const source = { ...tookOver(TWO), terms: [epoch(3).random], epochServed: epoch(3, 'server2'), epochInSync: epoch(3, 'server2') };
    expect(met(s1({ record: alone }), s2Serving({ record: source }))).toMatchObject({ rule: 'serving', kind: 'full' });
  });

  it('refuses when the last source is one of the two and says that it never served', () => {
    expect(met(s1({ record: { epochServed: null } }), s2())).toMatchObject({ rule: 'both-targets', kind: 'refuse' });
  });

  it('does not let the claim of a target that never served spoil the account of the source', () => {
    expect(met(s1(), s2({ record: { epochSeen: epoch(2), claim: epoch(2) } }))).toMatchObject({ rule: 'crashed-source', kind: 'partial' });
  });
});

describe('one is behind', () => {
  const source = (over: Partial<NodeView['record']> = {}): NodeView =>
    s1({ record: { generation: g(2), history: [g(1), g(0)], absentPeers: { server2: g(1) }, inSync: ['server1'], ...over } });

  it('resyncs it over the marks kept for its generation and its own intent marks', () => {
    const answer = met(source(), s2());
    expect(answer).toMatchObject({ rule: 'kept-bitmap', kind: 'partial', direction: from('server1', 'server2') });
    expect(marks(answer)).toEqual(['server1 for server2', 'server2 intent']);
  });

  it('knows the kept generation even when it has fallen out of the history', () => {
    expect(met(source({ history: [g(0)] }), s2())).toMatchObject({ rule: 'kept-bitmap', kind: 'partial' });
  });

  it('copies all when those marks are not a complete account', () => {
    expect(met(source({ accountComplete: [] }), s2())).toMatchObject({ rule: 'kept-bitmap', kind: 'full' });
  });

  it('copies all when its generation is only in the history', () => {
    expect(met(source({ absentPeers: {} }), s2())).toMatchObject({ rule: 'history', kind: 'full', direction: from('server1', 'server2') });
  });

  it('refuses records of which each holds the other in its past', () => {
    const answer = met(s1({ record: { generation: g(2), history: [g(1)] } }), s2({ record: { generation: g(1), history: [g(2)] } }));
    expect(answer).toMatchObject({ kind: 'refuse', direction: null });
  });
});
