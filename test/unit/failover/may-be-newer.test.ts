import { describe, expect, it } from 'vitest';
import { lastKnown, type MayBeNewer, mayBeNewer } from '../../../src/failover/may-be-newer.ts';
import { situationOf } from '../../../src/failover/situation.ts';
import type { NodeView } from '../../../src/failover/types.ts';
import { definition, epoch, facts, type FactsOver, g, tookOver, view } from './build.ts';
import { LOST, s1, s2, THREE, TWO } from './decide-support.ts';

const of = (node: string, self: NodeView, peers: NodeView[] = [], over: FactsOver = {}): MayBeNewer =>
  mayBeNewer(situationOf(facts(self, peers, over)), node);

/** server1 served, and server3 has confirmed that it is out. */
const withoutServer3 = { inSync: ['server1', 'server2'], absentPeers: { server3: g(1) } };
const told = { toldOut: { by: 'server1', epoch: epoch(1), why: 'behind' }, inSync: ['server1', 'server2'] };

describe('a silent node', () => {
  it('that was in sync could have newer data: it may have gone on, or taken over', () => {
    expect(of('server2', s1())).toEqual({
      node: 'server2',
      newer: 'could',
      why: 'by the record of server1 it was in sync in epoch 1 (server1), and may have gone on or taken over',
    });
    expect(of('server1', s2()).why).toMatch(
      /by the record of server2 it served epoch 1 \(server1\), the last that is known of, and may have gone on/,
    );
  });

  it('that was left behind on its silence alone, that claimed, or that was handed the mirror, could', () => {
    const dropped = { inSync: ['server1'], droppedUnconfirmed: ['server2'] };
    expect(of('server2', s1({ record: dropped }))).toMatchObject({ newer: 'could', why: expect.stringMatching(/without confirming it/) as unknown });
    const claimed = { inSync: ['server1'], epochSeen: epoch(2) };
    expect(of('server2', s1({ record: claimed }))).toMatchObject({
      newer: 'could',
      why: expect.stringMatching(/claimed epoch 2 \(server2\), and may have served it/) as unknown,
    });
    const grant = { epoch: epoch(1), from: 'server1', to: 'server2', synced: TWO, paused: [] };
    expect(of('server2', s1({ record: { inSync: ['server1'], grant } }))).toMatchObject({
      newer: 'could',
      why: expect.stringMatching(/server1 handed the mirror over to it/) as unknown,
    });
    const behind = { inSync: ['server2'], legBehind: { since: epoch(1), newest: 'server2' } };
    expect(of('server2', s1({ record: behind })).why).toMatch(/it went on in epoch 1 \(server1\) when the leg of server1 failed/);
  });

  it('that was told of a generation which this node lacks knows of newer data', () => {
    const told = { inSync: ['server1'], witnessed: { epoch: epoch(1), generation: g(7) } };
    expect(of('server2', s1(), [view('server2', TWO, { record: told })])).toMatchObject({
      newer: 'has',
      why: `server1 told it of generation ${g(7)} in epoch 1 (server1), and this node lacks that`,
    });
  });

  it('that had confirmed that it is out can not, when all others whose word is needed are heard', () => {
    const self = view('server1', THREE, { record: withoutServer3 });
    const answer = of('server3', self, [view('server2', THREE, { record: { inSync: withoutServer3.inSync } })]);
    expect(answer).toMatchObject({
      newer: 'can-not',
      why: expect.stringMatching(/by the records it is out of sync, and everybody who could have resynced it can be heard/) as unknown,
    });
    expect(answer.why).toMatch(/only a force there/);
    // Two nodes: nobody is left who could have resynced it.
    expect(of('server2', s1({ record: { inSync: ['server1'], absentPeers: { server2: g(1) } } })).newer).toBe('can-not');
  });

  it('that had confirmed that it is out could all the same, when another is silent that may have resynced it', () => {
    const self = view('server1', THREE, { record: withoutServer3 });
    expect(of('server3', self)).toEqual({
      node: 'server3',
      newer: 'could',
      why: 'server2 can not be heard either, may have gone in service, and may have resynced it since',
    });
    const last = view('server3', THREE, { record: told });
    expect(of('server3', self, [last], { silent: { server3: LOST } }).newer).toBe('could');
  });

  it('could, when this node is not proven to be the newest itself', () => {
    const out = { inSync: ['server1'], absentPeers: { server2: g(1) } };
    const cut = { ...out, resyncingFrom: { node: 'server2', kind: 'full' as const, generation: g(1) } };
    expect(of('server2', s1({ record: cut }))).toMatchObject({
      newer: 'could',
      why: expect.stringMatching(/this node itself may lack data: its resync/) as unknown,
    });
    const self = view('server1', THREE, { record: { inSync: ['server1'] } });
    const newer = view('server2', THREE, { record: { ...tookOver(THREE), droppedUnconfirmed: [] } });
    expect(of('server3', self, [newer])).toMatchObject({ newer: 'could', why: 'server2 has data that this node lacks, and may have given it to it' });
  });

  it('could, when this node is an async target that was not the source', () => {
    const d = definition(THREE);
    const nodes = { ...d.nodes, server2: { priority: 10, leg: '/legs/server2', mode: 'async' as const } };
    const r = { definition: { ...d, nodes }, inSync: ['server1', 'server2'] };
    const answer = of('server3', view('server2', THREE, { record: r }), [view('server1', THREE, { record: r })]);
    expect(answer).toMatchObject({ newer: 'could', why: expect.stringMatching(/async target/) as unknown });
  });
});

describe('a node that is heard', () => {
  it('has newer data, when its record holds what this node lacks, or it wrote apart', () => {
    expect(of('server2', s1(), [s2({ record: tookOver(TWO) })])).toMatchObject({
      newer: 'has',
      why: expect.stringMatching(/holds generation a0+2, its last epoch is 2 \(server2\)/) as unknown,
    });
    const apart = s1({ record: { generation: g(5), history: [g(1)] } });
    expect(of('server2', apart, [s2({ record: tookOver(TWO) })])).toMatchObject({
      newer: 'has',
      why: expect.stringMatching(/it wrote apart from this node/) as unknown,
    });
    expect(of('server1', s2({ record: told }), [s1({ record: { generation: g(2), history: [g(1)] } })]).newer).toBe('has');
  });

  it('can not, when its record holds nothing that this node lacks', () => {
    expect(of('server2', s1(), [s2()])).toMatchObject({
      newer: 'can-not',
      why: expect.stringMatching(/its record, heard now, holds nothing/) as unknown,
    });
    const after = s2({ record: tookOver(TWO), flags: { lastOwner: true } });
    expect(of('server1', after, [s1()]).newer).toBe('can-not');
  });

  it('could, where writes of a crashed source were in flight, or nobody knows without a third', () => {
    expect(of('server1', s2(), [s1()])).toMatchObject({ newer: 'could', why: expect.stringMatching(/compare says crashed-source/) as unknown });
    expect(of('server3', view('server2', THREE), [view('server3', THREE)])).toMatchObject({
      newer: 'could',
      why: expect.stringMatching(/compare says both-targets/) as unknown,
    });
  });
});

it('a foreign target is never the newer one', () => {
  const d = definition(TWO);
  const nodes = { ...d.nodes, copy: { priority: 90, leg: '', mode: 'sync' as const, foreignUri: 'nbd://h/x' } };
  expect(of('copy', s1({ record: { definition: { ...d, nodes } } }))).toMatchObject({
    newer: 'can-not',
    why: expect.stringMatching(/foreign target/) as unknown,
  });
});

describe('what is last known of a silent node', () => {
  const known = (self: NodeView, node: string, last?: NodeView): string[] => lastKnown(situationOf(facts(self, [])), node, last);

  it('is what it said itself, with its generation and epochs', () => {
    const [said] = known(s1(), 'server2', s2({ record: told }));
    expect(said).toBe(`generation ${g(1)}, served epoch none, last in sync in epoch 1 (server1), told out by server1 (behind)`);
  });

  it('is what the records say, of a node that was never heard', () => {
    expect(known(s1(), 'server2')).toEqual([`by the record of server1: in sync in epoch 1 (server1), generation ${g(1)} or later`]);
    const left = { inSync: ['server1'], absentPeers: { server2: g(0) } };
    expect(known(s1({ record: left }), 'server2')).toEqual([
      `by the record of server1: had generation ${g(0)} when it left, and confirmed that it is out`,
    ]);
    const unconfirmed = s1({ record: { ...left, droppedUnconfirmed: ['server2'] } });
    expect(known(unconfirmed, 'server2')[0]).toMatch(/and has not confirmed that it is out$/);
    expect(known(s1({ record: { inSync: ['server1'] } }), 'server2')).toEqual([]);
  });
});
