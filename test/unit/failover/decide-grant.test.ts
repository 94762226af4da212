/** `decide` after a switchover was begun: who may go in service on a grant, and who must not. */
import { describe, expect, it } from 'vitest';
import type { Grant, NodeView } from '../../../src/failover/types.ts';
import { epoch, view, type ViewOver } from './build.ts';
import { COMMAND, decided, LOST, THREE, TWO } from './decide-support.ts';

const grant = (over: Partial<Grant> = {}): Grant => ({ epoch: epoch(1), from: 'server1', to: 'server2', synced: [...THREE], paused: [], ...over });
/** The old source: stopped in order, with the grant in its record. */
const giver = (nodes = TWO, over: ViewOver = {}): NodeView =>
  view('server1', nodes, { ...over, record: { session: { role: 'source', clean: true }, grant: grant(), ...over.record } });
const holder = (nodes = TWO, over: ViewOver = {}): NodeView =>
  view('server2', nodes, { contactWithSource: true, ...over, record: { grant: grant(), ...over.record } });
const third = (over: ViewOver = {}): NodeView => view('server3', THREE, { contactWithSource: true, ...over });

describe('who holds a grant', () => {
  it('goes in service with the old source heard, before it and before a prior target', () => {
    expect(decided(holder(), [giver()])).toMatchObject({
      action: 'go-in-service',
      rule: 'evidence',
      why: expect.stringContaining('server1 has handed the mirror over') as unknown,
    });
  });

  it('goes in service although the old source is lost, and a third node with it', () => {
    expect(decided(holder())).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(decided(holder(THREE), [third()], { silent: { server3: LOST } })).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('started anew, needs the word of all but the old source', () => {
    const anew = holder(THREE, { contactWithSource: false });
    expect(decided(anew)).toMatchObject({ action: 'stay-out', rule: 'target-alone' });
    expect(decided(anew, [third()])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('does not, when the old source has taken it back, or another has claimed since', () => {
    expect(decided(holder(), [giver(TWO, { record: { grant: null } })])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(decided(holder(TWO, { record: { epochSeen: epoch(2, 'server1') } }))).toMatchObject({ action: 'stay-out', rule: 'target-alone' });
    expect(decided(holder(), [giver(TWO, { inService: true })])).toMatchObject({ action: 'stay-out', rule: 'better-candidate' });
  });

  it('does not ask for confirmation: an operator has said it already', () => {
    const d = holder().record.definition;
    const confirm = holder(TWO, { record: { definition: { ...d, failover: 'confirm' } } });
    expect(decided(confirm, [giver()])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });
});

describe('who gave a grant', () => {
  it('stays out as long as the other cannot be heard, also on command', () => {
    expect(decided(giver())).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(decided(giver()).setFlags).toBeUndefined();
    expect(decided(giver(), [], COMMAND)).toMatchObject({ action: 'refuse', rule: 'source-alone' });
    const agreed = giver(TWO, { record: { stoppedOnPurpose: true } });
    expect(decided(agreed).action).toBe('stay-out');
    const alone = giver(TWO, { record: { inSync: ['server1'], stoppedOnPurpose: true } });
    expect(decided(alone)).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
  });

  it('waits for the other, which holds it; an operator may take it back, and the claim makes it void there', () => {
    expect(decided(giver(), [holder()])).toMatchObject({
      action: 'wait',
      rule: 'better-candidate',
      why: expect.stringContaining('handed over to it') as unknown,
    });
    expect(decided(giver(), [holder()], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('goes in service again when the other can be heard and has no such grant, or can not use it', () => {
    expect(decided(giver(), [holder(TWO, { record: { grant: null } })])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(decided(giver(), [holder(TWO, { record: { toldOut: { by: 'server1', epoch: epoch(1), why: 'lost' } } })]).action).toBe('go-in-service');
  });

  it('becomes a target of the other once that has served', () => {
    const served = holder(TWO, { inService: true, record: { grant: null, epochSeen: epoch(2), epochServed: epoch(2), epochInSync: epoch(2) } });
    expect(decided(giver(), [served])).toMatchObject({ action: 'stay-out', rule: 'superseded', setFlags: { lastOwner: false } });
  });
});

describe('a third node', () => {
  it('leaves the turn to the holder, and takes over when that is lost as well', () => {
    const silent = { server1: LOST };
    const orphan = third({ silentForMs: silent });
    expect(decided(orphan, [giver(THREE), holder(THREE)], { silent })).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(decided(orphan, [giver(THREE), holder(THREE)], { silent: { ...silent, server2: LOST } })).toMatchObject({
      action: 'go-in-service',
      rule: 'takeover',
    });
  });

  it('needs the word of the holder, when it asks in the presence of the giver', () => {
    expect(decided(third(), [giver(THREE, { record: { inSync: [] } })], COMMAND)).toMatchObject({ action: 'refuse', rule: 'target-alone' });
  });
});
