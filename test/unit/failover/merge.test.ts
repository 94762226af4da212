import { describe, expect, it } from 'vitest';
import { enteringAccount, planMerge, servedLastOfAll } from '../../../src/failover/merge.ts';
import type { NodeView, StateRecord } from '../../../src/failover/types.ts';
import { definition, epoch, g, record, tookOver, view, type ViewOver } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];
const FOUR = [...THREE, 'server4'];
const far = { priority: 5, leg: '', mode: 'sync' as const, foreignUri: 'nbd://far' };
const withForeign = definition(THREE, { nodes: { ...definition(THREE).nodes, far } });
const s = (over: ViewOver = {}, nodes = THREE): NodeView =>
  view('server2', nodes, { inService: true, ...over, record: { ...tookOver(nodes), ...over.record } });
const p = (over: ViewOver = {}, nodes = THREE): NodeView => view('server1', nodes, over);

describe('merging the marks of the previous source', () => {
  it("unites the previous source's marks for us and its intent into our marks for it, and all three into those for the others", () => {
    const from = (map: string): unknown => ({ node: 'server1', map });
    expect(planMerge(s(), p()).operations).toEqual([
      { into: 'oos:server1', from: from('oos:server2') },
      { into: 'oos:server1', from: from('intent') },
      { into: 'oos:server3', from: from('oos:server2') },
      { into: 'oos:server3', from: from('oos:server3') },
      { into: 'oos:server3', from: from('intent') },
    ]);
  });

  it('leaves nothing pending and a complete account of all', () => {
    expect(planMerge(s(), p())).toMatchObject({ mergePending: [], accountComplete: ['server1', 'server3'], fullFor: [] });
  });

  it('touches only those still pending, and keeps what is pending from others', () => {
    const pending = [
      { from: 'server1', for: ['server3'] },
      { from: 'server4', for: ['server3'] },
    ];
    const plan = planMerge(s({ record: { mergePending: pending } }, FOUR), p({}, FOUR));
    expect(plan.operations.map((o) => o.into)).not.toContain('oos:server4');
    expect(plan.mergePending).toEqual([{ from: 'server4', for: ['server3'] }]);
  });

  it('waits on for what the previous source itself was waiting for', () => {
    const chain = p({ record: { mergePending: [{ from: 'server4', for: ['server3'] }], accountComplete: ['server2'] } }, FOUR);
    const plan = planMerge(s({ record: { mergePending: [{ from: 'server1', for: ['server3'] }] } }, FOUR), chain);
    expect(plan).toMatchObject({ mergePending: [{ from: 'server4', for: ['server3'] }], accountComplete: ['server1'], fullFor: [] });
  });

  it('does not wait for itself: what the previous source was waiting for from us, we have', () => {
    const back = p({ record: { mergePending: [{ from: 'server2', for: ['server3'] }], accountComplete: ['server2'] } });
    expect(planMerge(s({ record: { accountComplete: ['server1', 'server3'] } }), back)).toMatchObject({
      mergePending: [],
      accountComplete: ['server1', 'server3'],
      fullFor: [],
    });
    expect(planMerge(s(), back)).toMatchObject({ mergePending: [], accountComplete: ['server1'], fullFor: ['server3'] });
  });

  it('asks for a full resync of a node of which the previous source had no account either', () => {
    const plan = planMerge(s(), p({ record: { accountComplete: ['server2'] } }));
    expect(plan).toMatchObject({ mergePending: [], accountComplete: ['server1'], fullFor: ['server3'] });
  });

  it.each<[string, ViewOver, ViewOver]>([
    ['its bitmap is damaged', {}, { bitmapDamaged: true }],
    ['our bitmap is damaged', { bitmapDamaged: true }, {}],
    ['it has given its marks to somebody else', {}, { record: { accountGivenTo: 'server3' } }],
    ['it has kept no marks for us', {}, { record: { accountComplete: ['server3'] } }],
    ['its regions have another size', {}, { record: { definition: definition(THREE, { regionSizeBytes: 4096 }) } }],
    ['it is smaller', {}, { record: { definition: definition(THREE, { sizeBytes: 65_536 }) } }],
    ['it is of another mirror', {}, { record: { definition: definition(THREE, { createId: 'cfffffffffffffff' }) } }],
  ])('merges nothing and resyncs fully when %s', (_what, own, previous) => {
    expect(planMerge(s(own), p(previous))).toMatchObject({ operations: [], mergePending: [], accountComplete: [], fullFor: ['server3'] });
  });
});

describe('going in service', () => {
  it('has an account of the previous source alone, and waits for its marks for the others', () => {
    expect(enteringAccount(record('server2', THREE), ['server3'])).toEqual({
      inSync: ['server2'],
      droppedUnconfirmed: ['server1'],
      accountComplete: ['server1'],
      accountGivenTo: null,
      mergePending: [{ from: 'server1', for: ['server3'] }],
      absentPeers: { server1: 'a000000000000001', server3: 'a000000000000001' },
    });
  });

  it('counts a member that has not accepted the claim as dropped without having confirmed it', () => {
    expect(enteringAccount(record('server2', THREE), []).droppedUnconfirmed).toEqual(['server1', 'server3']);
  });

  it('has an account of nobody when a node that was not in sync is forced', () => {
    const out = record('server2', THREE, { inSync: ['server1'], toldOut: { by: 'server1', epoch: epoch(1), why: 'behind' } });
    expect(enteringAccount(out, [])).toMatchObject({ accountComplete: [], mergePending: [], droppedUnconfirmed: ['server1'] });
  });

  it('has an account of nobody when a source was writing to it that it has not joined, though it was in sync with the one before', () => {
    const written = { sessionIn: epoch(3, 'server3'), terms: [epoch(1).random] };
    expect(enteringAccount(record('server2', THREE, written), [])).toMatchObject({ accountComplete: [], mergePending: [] });
    const joined = { sessionIn: epoch(1), terms: [epoch(1).random] };
    expect(enteringAccount(record('server2', THREE, joined), [])).toMatchObject({ accountComplete: ['server1'] });
  });

  it('keeps all as the last source', () => {
    expect(enteringAccount(record('server1', THREE), [])).toEqual({
      inSync: THREE,
      droppedUnconfirmed: [],
      accountComplete: ['server2', 'server3'],
      accountGivenTo: null,
      mergePending: [],
      absentPeers: {},
    });
  });

  it.each<[string, Partial<StateRecord>]>([
    ['it has given its marks away', { accountGivenTo: 'server2' }],
    ['another was overwriting its data', { resyncingFrom: { node: 'server2', kind: 'partial', generation: g(2) } }],
    ['its own leg is behind', { legBehind: { since: epoch(1), newest: 'server2' } }],
    ['another was writing to it, and it has not joined that one', { sessionIn: epoch(2), terms: [epoch(1).random] }],
  ])('has an account of nobody as the last source, forced, when %s', (_what, over) => {
    expect(enteringAccount(record('server1', THREE, over), [])).toMatchObject({ accountComplete: [], accountGivenTo: null });
  });

  it('copies all to a previous source whose leg was behind', () => {
    expect(enteringAccount(record('server2', THREE, { inSync: ['server2', 'server3'] }), [])).toMatchObject({ accountComplete: [] });
  });

  it('leaves foreign targets to a full resync', () => {
    const r = record('server2', THREE, { definition: withForeign });
    expect(enteringAccount(r, [])).toMatchObject({ accountComplete: ['server1'], mergePending: [{ from: 'server1', for: ['server3'] }] });
  });

  it('as the last source keeps its account of a foreign target only where nobody else can have served since', () => {
    const r = record('server1', THREE, { definition: withForeign, accountComplete: ['server2', 'server3', 'far'] });
    expect(enteringAccount(r, [], true).accountComplete).toEqual(['server2', 'server3', 'far']);
    expect(enteringAccount(r, ['server2', 'server3']).accountComplete).toEqual(['server2', 'server3']);
  });
});

describe('nobody else can have served since', () => {
  const r = record('server1', THREE, { definition: withForeign });
  const all = ['server2', 'server3'];
  const quiet = { forced: false, seen: [epoch(1)] };

  it('once each other node has accepted the claim, foreign targets left out, and none of them knows of a later epoch', () => {
    expect(servedLastOfAll(r, all, quiet)).toBe(true);
    expect(servedLastOfAll(record('server1', ['server1']), [], quiet)).toBe(true);
  });

  it('is not known while one of them has not, by force, or when another has claimed an epoch', () => {
    expect(servedLastOfAll(r, ['server2'], quiet)).toBe(false);
    expect(servedLastOfAll(r, all, { ...quiet, forced: true })).toBe(false);
    expect(servedLastOfAll(r, all, { ...quiet, seen: [epoch(2, 'server2')] })).toBe(false);
  });

  it('does not take claims of its own for those of another', () => {
    expect(servedLastOfAll(r, all, { ...quiet, seen: [epoch(1), epoch(5, 'server1')] })).toBe(true);
  });
});
