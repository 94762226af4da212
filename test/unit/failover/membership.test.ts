import { describe, expect, it } from 'vitest';
import { HISTORY_MAX, OFFERED_MAX, TERMS_MAX } from '../../../src/failover/limits.ts';
import {
  foundOut,
  fullResyncDone,
  fullResyncOrdered,
  fullyMarked,
  generationCommitted,
  generationOffered,
  isSeeded,
  membershipOf,
  membershipTaken,
  ordersThatHold,
  seededByWord,
  targetJoined,
  targetLeft,
  termsOfEarlierVersion,
  termsUnited,
  withoutNode,
} from '../../../src/failover/membership.ts';
import { decodeRecord, encodeRecord } from '../../../src/failover/record.ts';
import type { Epoch, StateRecord } from '../../../src/failover/types.ts';
import { definition, epoch, g, record } from './build.ts';

const nodes = ['server1', 'server2', 'server3'];
const served = (node: string): Epoch | null => (node === 'server2' ? epoch(3, 'server2') : null);
const source = (over: Partial<StateRecord> = {}): StateRecord => record('server1', nodes, over);

const target = (node = 'server2', over: Partial<StateRecord> = {}): StateRecord => record(node, nodes, { sessionIn: null, ...over });

describe('a target that was seeded, by the word of an operator', () => {
  it('is taken as such until it joins', () => {
    const r = seededByWord(source({ accountComplete: [] }), 'server2');
    expect([isSeeded(r, target()), isSeeded(r, target('server3')), r.accountComplete]).toEqual([true, false, ['server2']]);
    expect(isSeeded(targetJoined(r, 'server2', false), target())).toBe(false);
  });

  it('is not once the marks for it are no complete account any more', () => {
    expect(isSeeded({ ...seededByWord(source(), 'server2'), accountComplete: [] }, target())).toBe(false);
  });
});

describe('a target that was seeded, and copied to since', () => {
  it('is taken as such where that was done in an epoch that the source knows, and in no other', () => {
    const r = seededByWord(source({ terms: [epoch(4, 'server1').random] }), 'server2');
    expect(isSeeded(r, target('server2', { sessionIn: epoch(4, 'server1') }))).toBe(true);
    expect(isSeeded(r, target('server2', { sessionIn: epoch(5, 'server3') }))).toBe(false);
  });
});

describe('a target that leaves', () => {
  it('confirmed is out of the set and not required; marks are kept under the generation that it has', () => {
    const r = targetLeft(source({ droppedUnconfirmed: ['server2'] }), 'server2', { confirmed: true, foreign: false });
    expect(r).toMatchObject({ inSync: ['server1', 'server3'], droppedUnconfirmed: [], absentPeers: { server2: g(1) } });
  });

  it('dropped by silence alone still counts: somebody must hear it before anybody goes on without it (M2)', () => {
    const r = targetLeft(source(), 'server2', { confirmed: false, foreign: false });
    expect(r).toMatchObject({ inSync: ['server1', 'server3'], droppedUnconfirmed: ['server2'] });
    expect(targetLeft(r, 'server2', { confirmed: false, foreign: false }).droppedUnconfirmed).toEqual(['server2']);
  });

  it('confirms later: it does not count any more, and keeps the generation it was dropped with', () => {
    const dropped = generationCommitted(generationOffered(targetLeft(source(), 'server2', { confirmed: false, foreign: false }), g(2)), g(2));
    const r = targetLeft(dropped, 'server2', { confirmed: true, foreign: false });
    expect(r).toMatchObject({ droppedUnconfirmed: [], absentPeers: { server2: g(1) }, generation: g(2) });
  });

  it('while it was not in the set changes nothing but what it confirms', () => {
    const r = source({ inSync: ['server1'] });
    expect(targetLeft(r, 'server2', { confirmed: false, foreign: false })).toEqual(r);
  });

  it('foreign is never required', () => {
    expect(targetLeft(source(), 'server3', { confirmed: false, foreign: true }).droppedUnconfirmed).toEqual([]);
  });
});

describe('a target that joins', () => {
  it('counts, has a complete account, and nothing is kept or waited for on its behalf', () => {
    const r = targetJoined(
      source({
        inSync: ['server1'],
        droppedUnconfirmed: ['server2', 'server3'],
        accountComplete: [],
        absentPeers: { server2: g(0), server3: g(0) },
        mergePending: [
          { from: 'server4', for: ['server2', 'server3'] },
          { from: 'server3', for: ['server2'] },
        ],
      }),
      'server2',
      false,
    );
    expect(r).toMatchObject({
      inSync: ['server1', 'server2'],
      droppedUnconfirmed: ['server3'],
      accountComplete: ['server2'],
      absentPeers: { server3: g(0) },
      mergePending: [{ from: 'server4', for: ['server3'] }],
    });
  });

  it('twice counts once', () => {
    const once = targetJoined(source(), 'server2', false);
    expect(targetJoined(once, 'server2', false)).toEqual(once);
  });

  it('foreign never becomes a member, but has an account', () => {
    expect(targetJoined(source({ inSync: ['server1'], accountComplete: [] }), 'server2', true)).toMatchObject({
      inSync: ['server1'],
      accountComplete: ['server2'],
    });
  });
});

describe('a full resync that an operator has ordered', () => {
  it('is in the record, once, for members only, paused ones too, with an account that is complete', () => {
    const r = fullResyncOrdered(source({ paused: ['server2', 'server3'], accountComplete: [] }), ['server2', 'server9'], served);
    expect(r).toMatchObject({ fullOrdered: ['server2'], paused: ['server3'], accountComplete: ['server2'] });
    expect(fullResyncOrdered(r, ['server2'], served).fullOrdered).toEqual(['server2']);
    expect(decodeRecord(encodeRecord(r))).toMatchObject({ kind: 'ok', record: { fullOrdered: ['server2'] } });
  });

  it('is over nothing that is not known: what an earlier word was given over is not kept', () => {
    const r = fullResyncOrdered(source(), ['server2', 'server3'], served);
    expect(fullResyncOrdered(r, ['server2'], () => undefined)).toMatchObject({ fullOrdered: ['server2', 'server3'], orderedOver: { server3: null } });
    expect(fullResyncOrdered(r, ['server2'], () => undefined).orderedOver).not.toHaveProperty('server2');
  });

  it('goes when it is done, when the node is removed, and by the word that the marks are the whole account', () => {
    const r = fullResyncOrdered(source(), ['server2', 'server3'], served);
    expect(r.orderedOver).toEqual({ server2: epoch(3, 'server2'), server3: null });
    expect(withoutNode(r, 'server2').orderedOver).toEqual({ server3: null });
    expect(fullResyncDone(r, 'server2').fullOrdered).toEqual(['server3']);
    expect(withoutNode(r, 'server2').fullOrdered).toEqual(['server3']);
    expect(seededByWord(r, 'server2').fullOrdered).toEqual(['server3']);
    expect(targetJoined(r, 'server2', false).fullOrdered).toEqual(['server2', 'server3']);
    expect(fullResyncDone(source(), 'server2')).toEqual(source());
  });

  it('holds for a source that goes in service again, unless another node may have served since', () => {
    const r = fullResyncOrdered(source({ epochServed: epoch(4, 'server1') }), ['server2'], served);
    expect(ordersThatHold(r, [])).toEqual(['server2']);
    expect(ordersThatHold(r, [epoch(4, 'server1')])).toEqual(['server2']);
    expect(ordersThatHold(r, [epoch(6, 'server1')])).toEqual(['server2']);
    expect(ordersThatHold(r, [epoch(3, 'server2')])).toEqual(['server2']);
    expect(ordersThatHold(r, [epoch(5, 'server2')])).toEqual([]);
    expect(ordersThatHold(r, [epoch(6, 'server2'), epoch(7, 'server1')])).toEqual([]);
    expect(ordersThatHold(source(), [])).toEqual([]);
  });
});

describe('an account in which every region is marked', () => {
  it('is complete whoever else had one, and waits for nobody', () => {
    const r = source({ accountComplete: [], mergePending: [{ from: 'server2', for: ['server3'] }] });
    expect(fullyMarked(r, 'server3')).toMatchObject({ accountComplete: ['server3'], mergePending: [] });
  });

  it('that is complete already is the same record, so that nothing is written', () => {
    const r = source();
    expect(fullyMarked(r, 'server2')).toBe(r);
  });
});

describe('a generation', () => {
  it('offered is not held; committed it is, and what it followed enters the history, older offers too', () => {
    const offered = generationOffered(generationOffered(source(), g(2)), g(3));
    expect(offered).toMatchObject({
      generation: g(1),
      offered: [
        { generation: g(2), served: false },
        { generation: g(3), served: false },
      ],
    });
    expect(generationCommitted(offered, g(3))).toMatchObject({
      generation: g(3),
      offered: [],
      history: [g(2), g(1), g(0)],
      hadData: true,
      legZeroed: false,
    });
  });

  it('committed twice is one entry in the history', () => {
    const once = generationCommitted(generationOffered(source(), g(2)), g(2));
    const again = generationCommitted(once, g(2));
    expect(again.history).toEqual([g(1), g(0)]);
  });

  it('history is bounded, the newest stay', () => {
    let r = source();
    for (let i = 2; i < HISTORY_MAX + 20; i += 1) r = generationCommitted(generationOffered(r, g(i)), g(i));
    expect(r.history).toHaveLength(HISTORY_MAX);
    expect(r.history[0]).toBe(g(HISTORY_MAX + 18));
  });

  it('offered again and again by a source that crashes each time can always be written down (M14)', () => {
    let r = source();
    for (let i = 2; i < OFFERED_MAX + 12; i += 1) r = generationOffered(r, g(i));
    expect(r.offered).toHaveLength(OFFERED_MAX);
    expect(r.offered.at(-1)?.generation).toBe(g(OFFERED_MAX + 11));
    expect(decodeRecord(encodeRecord(r))).toEqual({ kind: 'ok', record: r });
    // Whoever wrote an old one down is still known.
    for (let i = 2; i < OFFERED_MAX + 12; i += 1) expect([...r.history, ...r.offered.map((o) => o.generation)]).toContain(g(i));
  });
});

describe('membership told to a target', () => {
  it('and taken makes it know what the source knows, in the epoch in which it was told', () => {
    const s = generationOffered(source({ inSync: ['server1', 'server2'], absentPeers: { server3: g(0) }, droppedUnconfirmed: ['server3'] }), g(2));
    const t = membershipTaken(
      record('server2', nodes, { inSync: [], offered: [{ generation: g(7), served: false }] }),
      membershipOf(s),
      epoch(4, 'server1'),
    );
    expect(t).toMatchObject({
      node: 'server2',
      generation: g(1),
      offered: [{ generation: g(2), served: false }],
      history: [g(0)],
      inSync: ['server1', 'server2'],
      absentPeers: { server3: g(0) },
      droppedUnconfirmed: ['server3'],
      epochInSync: epoch(4, 'server1'),
    });
  });

  it('and taken makes its marks know of the epochs that those of the source know of, and of no others', () => {
    const s = source({ terms: [g(4), g(3)] });
    expect(membershipTaken(record('server2', nodes, { terms: [g(9), g(3)] }), membershipOf(s), epoch(4, 'server1')).terms).toEqual([g(4), g(3)]);
    // Of a source of an earlier version nothing is known: the rule that needs it is not asked then.
    const earlier = { ...membershipOf(s), terms: undefined };
    expect(membershipTaken(record('server2', nodes, { terms: [g(9)] }), earlier, epoch(4, 'server1')).terms).toBeUndefined();
    expect(termsOfEarlierVersion(source({ epochServed: epoch(4), epochInSync: epoch(3), terms: undefined }))).toEqual([g(4), g(3)]);
  });

  it('and taken makes it know older offers, which somebody may have taken for committed', () => {
    const s = generationOffered(generationOffered(source(), g(2)), g(3));
    const t = membershipTaken(record('server2', nodes), membershipOf(s), epoch(4, 'server1'));
    expect(t).toMatchObject({ generation: g(1), offered: [{ generation: g(3), served: false }], history: [g(2), g(0)] });
  });

  it('of two accounts that are united knows of the epochs of both, a bounded number of them', () => {
    expect(termsUnited([g(4), g(3)], [g(5), g(3)])).toEqual([g(4), g(3), g(5)]);
    expect(termsUnited(undefined, undefined)).toEqual([]);
    const many = Array.from({ length: TERMS_MAX }, (_, i) => g(i));
    expect(termsUnited([g(999)], many)).toEqual([g(999), ...many.slice(0, -1)]);
  });

  it('without an offer takes away those that the target had', () => {
    const t = membershipTaken(record('server2', nodes, { offered: [{ generation: g(7), served: false }] }), membershipOf(source()), epoch(1));
    expect(t.offered).toEqual([]);
  });

  it('never brings an older definition back, and never makes it forget that it had data', () => {
    const ours = definition(nodes, { revision: 5 });
    const told = { ...membershipOf(source()), hadData: false };
    expect(membershipTaken(record('server2', nodes, { definition: ours }), told, epoch(1))).toMatchObject({ definition: ours, hadData: true });
    const newer = { ...told, definition: definition(nodes, { revision: 6 }) };
    expect(membershipTaken(record('server2', nodes, { definition: ours }), newer, epoch(1)).definition.revision).toBe(6);
  });

  it('takes what the source of the session says also at the revision that it has itself (M12)', () => {
    const ours = definition(nodes, { revision: 6, failover: 'off' });
    const told = { ...membershipOf(source()), definition: definition(nodes, { revision: 6 }) };
    expect(membershipTaken(record('server2', nodes, { definition: ours }), told, epoch(1)).definition).toEqual(told.definition);
  });
});

describe('a target whose own sync has failed', () => {
  it('writes down that it is out, and is no candidate from then on (M3, M12)', () => {
    const e = epoch(3, 'server1');
    const r = foundOut({ ...record('server2', nodes), epochInSync: e }, e, 'a sync failed');
    expect(r).toMatchObject({ inSync: ['server1', 'server3'], toldOut: { by: 'server2', epoch: e, why: 'a sync failed' } });
    expect(foundOut(r, e, 'again')).toBe(r);
  });

  it('does not write it down any more once it has served since, or was in sync in a later epoch', () => {
    const late = { ...record('server2', nodes), epochInSync: epoch(4, 'server2'), epochServed: epoch(4, 'server2') };
    expect(foundOut(late, epoch(3, 'server1'), 'a sync failed')).toBe(late);
  });
});
