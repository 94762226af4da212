import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NodeState, PeerState } from '../../../src/failover/types.ts';
import { ownState, type PeerLive, peerState } from '../../../src/failover/views.ts';
import { viewOf } from './arbitrary.ts';
import { epoch, g, record, tookOver, view, type ViewOver } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];
const told = (why: string): ViewOver => ({ record: { toldOut: { by: 'server1', epoch: epoch(1), why }, inSync: ['server1'] } });
const cut: ViewOver = { record: { resyncingFrom: { node: 'server1', kind: 'partial', generation: g(1) } } };

describe('how a node sees itself', () => {
  it.each<[NodeState, ViewOver, { joined: boolean } | undefined]>([
    ['Source', { inService: true }, undefined],
    ['Target', {}, { joined: true }],
    ['Waiting', {}, undefined],
    ['Waiting', {}, { joined: false }],
    ['Waiting', { record: { inSync: ['server1'] } }, { joined: true }],
    ['Resyncing', cut, { joined: false }],
    ['Inconsistent', cut, undefined],
    ['Paused', told('paused by an operator'), undefined],
    ['Out of Sync', told('its link broke'), undefined],
    ['Data Corrupt', { flags: { dataCorrupt: true } }, undefined],
  ])('%s', (state, over, session) => {
    expect(ownState(view('server2', THREE, over), undefined, session)).toBe(state);
  });

  it('Split Brain, in service or out of it', () => {
    expect(ownState(view('server2', THREE), { rule: 'split-brain' }, undefined)).toBe('Split Brain');
    expect(ownState(view('server2', THREE, { inService: true }), { rule: 'split-brain' }, undefined)).toBe('Split Brain');
  });
});

describe('how the source sees others', () => {
  const idle: PeerLive = { silent: false, splitBrain: false, refused: false, session: 'none', outOfSyncBytes: 0 };
  const r = record('server2', THREE, tookOver(THREE));
  const flags = { lastOwner: true, source: 'server1', dataCorrupt: false };

  it.each<[PeerState, string, Partial<PeerLive>]>([
    ['Unknown', 'server1', { silent: true }],
    ['Unknown', 'server3', { silent: true, splitBrain: true }],
    ['Split Brain', 'server3', { splitBrain: true }],
    ['Refused', 'server3', { refused: true }],
    ['Resyncing', 'server1', { session: 'resyncing' }],
    ['Target', 'server1', { session: 'in-sync' }],
    ['Out of Sync (Previous Source)', 'server1', {}],
    ['Out of Sync (Previous Source)', 'server1', { session: 'in-sync', outOfSyncBytes: 1 }],
    ['Out of Sync (Wait for Previous Source)', 'server3', {}],
  ])('%s: %s', (state, node, live) => {
    expect(peerState(r, flags, node, { ...idle, ...live })).toBe(state);
  });

  it('Paused by an operator, Out of Sync without a reason of its own', () => {
    expect(peerState({ ...r, paused: ['server3'] }, flags, 'server3', idle)).toBe('Paused');
    expect(peerState({ ...r, mergePending: [] }, { ...flags, source: 'server2' }, 'server3', idle)).toBe('Out of Sync');
  });

  it('calls nobody a Target who has marks or no session (M6)', () => {
    const live = fc.record({
      silent: fc.boolean(),
      splitBrain: fc.boolean(),
      refused: fc.boolean(),
      session: fc.constantFrom('none' as const, 'resyncing' as const, 'in-sync' as const),
      outOfSyncBytes: fc.constantFrom(0, 65536),
    });
    fc.assert(
      fc.property(viewOf('server2'), fc.constantFrom('server1', 'server3'), live, (v, peer, l) => {
        if (peerState(v.record, v.flags, peer, l) !== 'Target') return;
        expect(l).toEqual({ silent: false, splitBrain: false, refused: false, session: 'in-sync', outOfSyncBytes: 0 });
      }),
    );
  });
});
