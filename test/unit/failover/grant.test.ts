import { describe, expect, it } from 'vitest';
import { grantAfterClaim, grantGiven, grantHeld, grantRefusal, provenByGrant, sameGrant } from '../../../src/failover/grant.ts';
import { decodeRecord, encodeRecord } from '../../../src/failover/record.ts';
import { recordSchema } from '../../../src/failover/record-schema.ts';
import { enteringAccount } from '../../../src/failover/merge.ts';
import type { Grant } from '../../../src/failover/types.ts';
import { epoch, record } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];
const grant = (over: Partial<Grant> = {}): Grant => ({ epoch: epoch(1), from: 'server1', to: 'server2', synced: [...THREE], paused: [], ...over });

describe('a grant', () => {
  it('is kept in the state record; a record of before there were any has none', () => {
    const r = record('server2', THREE, { grant: grant() });
    expect(decodeRecord(encodeRecord(r))).toEqual({ kind: 'ok', record: r });
    const { grant: none, ...old } = record('server2', THREE);
    expect(none).toBeNull();
    expect(recordSchema.parse(old).grant).toBeNull();
  });

  it('counts for its giver as long as nobody has served after it', () => {
    expect(grantGiven(record('server1', THREE, { grant: grant() }))).toEqual(grant());
    expect(grantGiven(record('server1', THREE, { grant: grant(), epochServed: epoch(3, 'server1') }))).toBeNull();
    expect(grantGiven(record('server1', THREE, { grant: grant(), epochInSync: epoch(2) }))).toBeNull();
    expect(grantGiven(record('server2', THREE, { grant: grant() }))).toBeNull();
  });

  it('counts for its holder until another has claimed a later epoch, or it was part of one', () => {
    expect(grantHeld(record('server2', THREE, { grant: grant() }))).toEqual(grant());
    expect(grantHeld(record('server2', THREE, { grant: grant(), epochSeen: epoch(2) }))).toEqual(grant());
    expect(grantHeld(record('server2', THREE, { grant: grant(), epochSeen: epoch(2, 'server1') }))).toBeNull();
    expect(grantHeld(record('server2', THREE, { grant: grant(), epochSeen: epoch(3), epochInSync: epoch(3) }))).toBeNull();
    expect(grantHeld(record('server3', THREE, { grant: grant() }))).toBeNull();
    expect(grantHeld(record('server2', THREE))).toBeNull();
  });

  it('is void for its holder with the claim of anybody else; what was given is still to be asked for', () => {
    expect(grantAfterClaim(record('server2', THREE, { grant: grant() }))).toBeNull();
    expect(grantAfterClaim(record('server1', THREE, { grant: grant() }))).toEqual(grant());
  });

  it('is the same when giver, taker and epoch are', () => {
    expect(sameGrant(grant(), grant({ synced: [] }))).toBe(true);
    expect(sameGrant(grant(), grant({ to: 'server3' }))).toBe(false);
    expect(sameGrant(grant(), grant({ epoch: epoch(2, 'server1') }))).toBe(false);
    expect(sameGrant(null, null)).toBe(false);
  });

  it.each([
    [{}, {}, null],
    [{}, { to: 'server3' }, /for server3/],
    [{}, { from: 'server3' }, /an epoch of server1/],
    [{ toldOut: { by: 'server1', epoch: epoch(1), why: 'paused' } }, {}, /told that it is out/],
    [{ resyncingFrom: { node: 'server1', kind: 'partial' as const, generation: 'a000000000000001' } }, {}, /resync from server1/],
    [{ legBehind: { since: epoch(1), newest: 'server3' } }, {}, /behind server3/],
    [{ inSync: ['server1'] }, {}, /not in sync/],
    [{ epochInSync: epoch(2) }, {}, /not in sync in epoch 1/],
    [{ epochSeen: epoch(2) }, {}, /has seen epoch 2/],
  ] as const)('with %j is taken as %j or refused', (r, g, why) => {
    const answer = grantRefusal(record('server2', THREE, { ...r, inSync: 'inSync' in r ? [...r.inSync] : THREE }), grant(g));
    if (why === null) expect(answer).toBeNull();
    else expect(answer).toMatch(why);
  });
});

describe('the account of a node that goes in service on a grant', () => {
  const target = record('server2', THREE, { grant: grant() });

  it('is complete for all whom the old source proved to be equal, and waits for nobody', () => {
    expect(provenByGrant(target)).toEqual(['server1', 'server3']);
    expect(enteringAccount(target, THREE)).toMatchObject({ accountComplete: ['server1', 'server3'], mergePending: [] });
  });

  it('waits for the marks of the old source for whoever was not proven', () => {
    const r = record('server2', THREE, { grant: grant({ synced: ['server1', 'server2'] }) });
    expect(enteringAccount(r, THREE)).toMatchObject({ accountComplete: ['server1'], mergePending: [{ from: 'server1', for: ['server3'] }] });
  });

  it('is that of any takeover, when the grant is of an earlier epoch, or it lost its place since', () => {
    const takeover = { accountComplete: ['server1'], mergePending: [{ from: 'server1', for: ['server3'] }] };
    expect(enteringAccount(record('server2', THREE, { grant: grant({ epoch: epoch(0, 'server1') }) }), THREE)).toMatchObject(takeover);
    const out = { ...target, toldOut: { by: 'server1', epoch: epoch(1), why: 'lost' } };
    expect(enteringAccount(out, THREE)).toMatchObject({ accountComplete: [], mergePending: [] });
  });
});
