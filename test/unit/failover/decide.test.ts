import { describe, expect, it } from 'vitest';
import type { NodeView } from '../../../src/failover/types.ts';
import { definition, epoch, type FactsOver, g, TIMEOUT_MS, tookOver, view, type ViewOver } from './build.ts';
import { afterLoss, COMMAND, decided, lastSeen, orphan, s1, s2, THREE, TWO } from './decide-support.ts';

describe('split-brain', () => {
  const wrote = { generation: g(5), history: [g(1)] };

  it('keeps a node out that wrote apart, and does not let its operator say otherwise without force', () => {
    const self = s1({ record: wrote });
    const other = s2({ record: tookOver(TWO) });
    expect(decided(self, [other])).toMatchObject({ action: 'stay-out', rule: 'split-brain' });
    expect(decided(self, [other], COMMAND)).toMatchObject({ action: 'refuse', rule: 'split-brain' });
  });

  it('lets the higher epoch go on if it serves, and takes the lower out of service', () => {
    const high = s2({ inService: true, record: tookOver(TWO) });
    expect(decided(high, [s1({ record: wrote })])).toMatchObject({ action: 'stay-in-service', rule: 'split-brain' });
    expect(decided(s1({ inService: true, record: wrote }), [high])).toMatchObject({ action: 'demote', rule: 'split-brain' });
  });

  it('says by which commands a source without a majority is forced', () => {
    const self = s1({ inService: true, record: { definition: definition(TWO, { arbiter: 'majority' }) } });
    expect(decided(self, [], { majority: false }).changesIf).toEqual([
      'a majority votes for it durably',
      'most nodes are lost for good, and an operator says netraid out-of-service datarep-ext3, then mirror_action datarep-ext3 force server1',
    ]);
  });

  it('says by which commands an operator ends it', () => {
    const self = s1({ record: wrote });
    const ends = 'mirror_action datarep-ext3 force there, unless it serves, then netraid resolve datarep-ext3 --victim OTHER';
    expect(decided(self, [s2({ record: tookOver(TWO) })]).changesIf).toEqual([`an operator chooses whose data is kept: ${ends}`]);
    const high = s2({ inService: true, record: tookOver(TWO) });
    expect(decided(high, [self]).changesIf?.[0]).toBe('an operator gives up the data of server1: netraid resolve datarep-ext3 --victim server1');
  });

  it('takes both out of service when one number has two owners', () => {
    const twin = (node: string): NodeView =>
      view(node, TWO, { inService: true, record: { epochServed: epoch(2, node), epochInSync: epoch(2, node), epochSeen: epoch(2, node) } });
    expect(decided(twin('server1'), [twin('server2')])).toMatchObject({ action: 'demote', rule: 'split-brain' });
    expect(decided(twin('server2'), [twin('server1')])).toMatchObject({ action: 'demote', rule: 'split-brain' });
  });
});

describe('superseded', () => {
  it('keeps the old source out and takes its last_owner off', () => {
    const answer = decided(s1(), [s2({ inService: true, record: tookOver(TWO) })]);
    expect(answer).toMatchObject({ action: 'stay-out', rule: 'superseded', setFlags: { lastOwner: false } });
  });

  it('believes a target that was in sync in a later epoch, or was told out in one', () => {
    const inSync = view('server3', THREE, {
      record: { epochInSync: epoch(2), epochSeen: epoch(2), generation: g(2), history: [g(1)], inSync: ['server2', 'server3'] },
    });
    expect(decided(view('server1', THREE), [inSync])).toMatchObject({ action: 'stay-out', rule: 'superseded' });
    const told = view('server3', THREE, { record: { toldOut: { by: 'server2', epoch: epoch(2), why: 'behind' } } });
    expect(decided(view('server1', THREE), [told])).toMatchObject({ action: 'stay-out', rule: 'superseded' });
  });

  it('demotes a source as soon as it hears of a higher epoch that was served', () => {
    const answer = decided(s1({ inService: true }), [s2({ inService: true, record: { ...tookOver(TWO), generation: g(1), history: [g(0)] } })]);
    expect(answer).toMatchObject({ action: 'demote', rule: 'superseded', setFlags: { lastOwner: false } });
  });

  it('demotes a source whose number has another owner, whichever of the epochs in a record proves it', () => {
    const other = epoch(1, 'server3', g(77));
    for (const record of [
      { epochServed: epoch(1), epochInSync: other },
      { epochServed: other, epochInSync: epoch(1) },
    ]) {
      const answer = decided(s1({ inService: true }), [s2({ record: { ...record, epochSeen: epoch(1) } })]);
      expect(answer).toMatchObject({ action: 'demote', rule: 'split-brain' });
    }
  });

  it('names the contradiction before the later epoch, whichever of two peers knows which', () => {
    const knows = (e: ReturnType<typeof epoch>): ViewOver => ({
      record: { epochInSync: e, epochSeen: e, resyncingFrom: { node: 'server1', kind: 'full', generation: g(1) } },
    });
    const [rival, later] = [knows(epoch(1, 'server9', g(77))), knows(epoch(2, 'server9', g(78)))];
    for (const [two, three] of [[rival, later] as const, [later, rival] as const]) {
      const peers = [view('server2', THREE, two), view('server3', THREE, three)];
      expect(decided(view('server1', THREE), peers)).toMatchObject({ action: 'stay-out', rule: 'split-brain' });
      const serving = decided(view('server1', THREE, { inService: true }), peers);
      expect(serving).toMatchObject({ action: 'demote', rule: 'split-brain' });
      expect(serving.setFlags).toBeUndefined();
    }
  });

  it('suspends a source while a higher epoch is being claimed, and demotes it without losing last_owner when nobody served it', () => {
    const claiming = s2({ record: { claim: epoch(2), epochSeen: epoch(2) } });
    expect(decided(s1({ inService: true }), [claiming])).toMatchObject({ action: 'suspend', rule: 'superseded' });
    const given = decided(s1({ inService: true }), [s2({ record: { epochSeen: epoch(2) } })]);
    expect(given).toMatchObject({ action: 'demote', rule: 'superseded' });
    expect(given.setFlags).toBeUndefined();
  });

  it('does not believe a node of another mirror', () => {
    const stranger = s2({ record: { ...tookOver(TWO), definition: definition(TWO, { createId: 'cfffffffffffffff' }) } });
    expect(decided(s1({ inService: true }), [stranger])).toMatchObject({ action: 'stay-in-service' });
  });
});

describe('what a node knows against itself', () => {
  const cut = { resyncingFrom: { node: 'server2', kind: 'partial' as const, generation: g(1) } };
  const told = { toldOut: { by: 'server1', epoch: epoch(1), why: 'its link broke' } };
  const behind = { legBehind: { since: epoch(1), newest: 'server2' } };

  it('cut-short: stays out, whoever else is dead and whatever an operator asks for short of force', () => {
    expect(decided(s1({ record: cut }))).toMatchObject({ action: 'stay-out', rule: 'cut-short' });
    expect(decided(s1({ record: cut }), [s2()], COMMAND)).toMatchObject({ action: 'refuse', rule: 'cut-short' });
    expect(afterLoss(orphan('server2', TWO, { record: cut }))).toMatchObject({ action: 'stay-out', rule: 'cut-short' });
    expect(decided(s1({ inService: true, record: cut }))).toMatchObject({ action: 'demote', rule: 'cut-short' });
  });

  it('told-out: stays out, though it was in sync before', () => {
    expect(afterLoss(orphan('server2', TWO, { record: told }))).toMatchObject({ action: 'stay-out', rule: 'told-out' });
    expect(decided(s2({ record: told }), [s1()], COMMAND)).toMatchObject({ action: 'refuse', rule: 'told-out' });
  });

  it('told-out: stays out when it has found by itself that it is out, and says so', () => {
    const found = { toldOut: { by: 'server2', epoch: epoch(1, 'server1'), why: 'a sync of the leg of server2 has failed' } };
    const d = afterLoss(orphan('server2', TWO, { record: found }));
    expect(d).toMatchObject({ action: 'stay-out', rule: 'told-out' });
    expect(d.why).toMatch(/this node found in epoch .* a sync of the leg/);
  });

  it('told-out: stays out when it is no longer part of the mirror', () => {
    const newer = s2({ record: { definition: definition(['server2'], { revision: 2 }) } });
    expect(decided(s1(), [newer])).toMatchObject({ action: 'stay-out', rule: 'told-out' });
  });

  it('leg-behind: stays out, last_owner or not', () => {
    expect(decided(s1({ record: behind }), [s2()])).toMatchObject({ action: 'stay-out', rule: 'leg-behind' });
    expect(decided(s1({ record: behind }), [s2()], COMMAND)).toMatchObject({ action: 'refuse', rule: 'leg-behind' });
  });

  it('leg-behind: believes a target of its own epoch that counts itself as in sync, and not the source', () => {
    expect(decided(s1(), [s2({ record: { inSync: ['server2'] } })])).toMatchObject({ action: 'stay-out', rule: 'leg-behind' });
  });

  it('leg-behind: a source goes on in service without its own leg', () => {
    expect(decided(s1({ inService: true, record: behind }), [s2()])).toMatchObject({ action: 'stay-in-service' });
  });

  it('data_corrupt on a node that was not the last source is removed by nothing but force', () => {
    expect(afterLoss(orphan('server2', TWO, { flags: { dataCorrupt: true } }))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(decided(s2({ flags: { dataCorrupt: true } }), [s1()], COMMAND)).toMatchObject({ action: 'refuse', rule: 'source-alone' });
  });
});

describe('stopped-on-purpose', () => {
  const stopped = (over: ViewOver = {}): NodeView =>
    orphan('server2', TWO, { ...over, record: { stoppedOnPurpose: true, session: { role: 'target', clean: true }, ...over.record } });
  const cleanSource = (over: ViewOver = {}): NodeView =>
    s1({ ...over, record: { session: { role: 'source', clean: true }, stoppedOnPurpose: true, keepOut: true, ...over.record } });

  it('does not take over from a source that said that it stops', () => {
    expect(afterLoss(stopped())).toMatchObject({ action: 'stay-out', rule: 'stopped-on-purpose' });
    expect(afterLoss(stopped(), [], COMMAND)).toMatchObject({ action: 'refuse', rule: 'stopped-on-purpose' });
  });

  it('takes over where the mirror is set to do so', () => {
    expect(afterLoss(stopped({ record: { definition: definition(TWO, { takeoverAfterCleanStop: true }) } }))).toMatchObject({
      action: 'go-in-service',
      rule: 'takeover',
    });
  });

  it('leaves the mirror to the source that can be heard, even if an operator keeps that one out', () => {
    expect(decided(stopped({ silentForMs: {} }), [cleanSource()])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(decided(cleanSource(), [stopped()])).toMatchObject({ action: 'stay-out', rule: 'stopped-on-purpose' });
  });

  it('goes in service on command on either node when every required node can be heard', () => {
    expect(decided(stopped({ silentForMs: {} }), [cleanSource()], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(decided(cleanSource(), [stopped()], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
  });
});

describe('target-alone', () => {
  it('stays out when it has not heard its source since it started (two nodes, 4)', () => {
    expect(decided(s2())).toMatchObject({ action: 'stay-out', rule: 'target-alone' });
    expect(decided(s2(), [], COMMAND)).toMatchObject({ action: 'refuse', rule: 'target-alone' });
  });
});

describe('source-alone', () => {
  it('stays out and sets data_corrupt (two nodes, 3)', () => {
    expect(decided(s1())).toMatchObject({ action: 'stay-out', rule: 'source-alone', setFlags: { dataCorrupt: true } });
    expect(decided(s1(), [], COMMAND)).toMatchObject({ action: 'refuse', rule: 'source-alone' });
  });

  it('listens for failureTimeout before it sets the flag', () => {
    const answer = decided(s1(), [], { upForMs: TIMEOUT_MS - 1 });
    expect(answer).toMatchObject({ action: 'wait', rule: 'source-alone' });
    expect(answer.setFlags).toBeUndefined();
  });

  it('requires whoever was dropped by silence alone', () => {
    expect(decided(s1({ record: { inSync: ['server1'], droppedUnconfirmed: ['server2'] } }))).toMatchObject({
      action: 'stay-out',
      rule: 'source-alone',
    });
  });

  it('requires those whom a node that can be heard counts as in sync', () => {
    const self = view('server1', THREE, { record: { inSync: ['server1', 'server2'] } });
    expect(decided(self, [view('server2', THREE)])).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
  });

  it('requires the owner of a later claim, which may have been served', () => {
    const self = view('server1', THREE, { record: { inSync: ['server1'], epochSeen: epoch(2, 'server3') } });
    expect(decided(self, [view('server2', THREE, { record: { inSync: [] } })])).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
  });

  it('does not set data_corrupt after a clean stop', () => {
    const answer = decided(s1({ record: { session: { role: 'source', clean: true } } }));
    expect(answer).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(answer.setFlags).toBeUndefined();
  });

  const deleted = (over: ViewOver = {}): NodeView => s1({ ...over, record: { dataCorruptSet: true } });

  it('takes in-service for force when data_corrupt was set by NetRAID and deleted by hand', () => {
    expect(decided(deleted(), [], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'forced' });
    const answer = decided(deleted());
    expect(answer).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(answer.setFlags).toBeUndefined();
  });

  it('asks more than a deleted data_corrupt where last_owner is gone, too', () => {
    expect(decided(deleted({ flags: { lastOwner: false } }), [], COMMAND)).toMatchObject({ action: 'refuse', rule: 'forced' });
  });
});

describe('source-alone-agreed', () => {
  const alone = { inSync: ['server1'], droppedUnconfirmed: [] };
  const cleanStop = { session: { role: 'source' as const, clean: true }, stoppedOnPurpose: true };

  it('goes in service when every other node had confirmed that it is out, crashed or not', () => {
    expect(decided(s1({ record: alone }))).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
  });

  it('goes in service after a clean stop that the targets wrote down', () => {
    expect(decided(s1({ record: cleanStop }))).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
  });

  it('is not kept out by its own claim, neither by the one that is decided on nor by one that was given up', () => {
    const own = epoch(2, 'server1');
    for (const record of [cleanStop, alone]) {
      expect(decided(s1({ record: { ...record, epochSeen: own, claim: own } }), [], { claiming: true })).toMatchObject({
        action: 'go-in-service',
        rule: 'source-alone-agreed',
      });
      expect(decided(s1({ record: { ...record, epochSeen: own } }))).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
    }
  });

  it('does not after a clean stop where the mirror is set to take over then', () => {
    const set = { ...cleanStop, definition: definition(TWO, { takeoverAfterCleanStop: true }) };
    expect(decided(s1({ record: set }))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
  });

  it('listens first for somebody who was forced meanwhile', () => {
    expect(decided(s1({ record: cleanStop }), [], { upForMs: 10 })).toMatchObject({ action: 'wait', rule: 'source-alone-agreed' });
  });

  it('does not when a later epoch was claimed since, or the flags say otherwise', () => {
    expect(decided(s1({ record: { ...cleanStop, epochSeen: epoch(2) } }))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(decided(s1({ record: cleanStop, flags: { lastOwner: false } }))).toMatchObject({ action: 'stay-out', rule: 'source-alone' });
    expect(decided(s1({ record: alone, flags: { dataCorrupt: true } })).action).toBe('stay-out');
  });

  it('goes in service again by itself where failover is off', () => {
    const off = { definition: definition(TWO, { failover: 'off' }) };
    expect(decided(s1({ record: { ...alone, ...off } }))).toMatchObject({ action: 'go-in-service', rule: 'source-alone-agreed' });
  });
});

describe('evidence', () => {
  it('lets the last source go in service when all can be heard, and removes data_corrupt (two nodes, 4)', () => {
    expect(decided(s1(), [s2()])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(decided(s1({ flags: { dataCorrupt: true } }), [s2()])).toMatchObject({
      action: 'go-in-service',
      rule: 'evidence',
      setFlags: { dataCorrupt: false },
    });
  });

  it('leaves it to the last source, whatever the priorities', () => {
    expect(decided(s2(), [s1()])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
  });

  it('lets a target go when the last source can be heard and cannot', () => {
    const broken = s1({ record: { legBehind: { since: epoch(1), newest: 'server2' } } });
    expect(decided(s2({ record: { inSync: ['server2'] } }), [broken])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('leaves a change of source to an operator where failover is off, but not the return of the last source', () => {
    const off = { definition: definition(TWO, { failover: 'off' }) };
    const broken = s1({ record: { ...off, legBehind: { since: epoch(1), newest: 'server2' } } });
    const self = s2({ record: { ...off, inSync: ['server2'] } });
    expect(decided(self, [broken])).toMatchObject({ action: 'wait', rule: 'evidence' });
    expect(decided(self, [broken], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(decided(s1({ record: off }), [s2({ record: off })])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  describe('of a node that can be heard again', () => {
    const unserved = s1({ record: { epochSeen: epoch(2, 'server2') } });

    it('is none before it has said how it sees the mirror: it may have served since', () => {
      expect(decided(unserved, [s2()], { said: { server2: TIMEOUT_MS - 1 } })).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
      const answer = decided(unserved, [s2()], { said: { server2: TIMEOUT_MS } });
      expect(answer).toMatchObject({ action: 'wait', rule: 'evidence', changesIf: ['server2 says how it sees the mirror', expect.anything()] });
      expect(answer.why).toContain('server2 can be heard again');
      expect(answer.setFlags).toBeUndefined();
      expect(decided(unserved, [s2()], { ...COMMAND, said: { server2: TIMEOUT_MS } })).toMatchObject({ action: 'refuse', rule: 'evidence' });
    });

    it('is not waited for where its word is not needed', () => {
      const left = view('server1', THREE, { record: { inSync: ['server1', 'server2'] } });
      const peers = [view('server2', THREE, { record: { inSync: ['server1', 'server2'] } }), view('server3', THREE, { record: { inSync: [] } })];
      expect(decided(left, peers, { said: { server3: 60_000 } })).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
      expect(decided(left, peers, { said: { server2: 60_000 } })).toMatchObject({ action: 'wait', rule: 'evidence' });
    });

    it('holds back all the same: what it said before may still be so', () => {
      const serves = s2({ inService: true });
      expect(decided(s1(), [serves], { said: { server2: 60_000 } })).toMatchObject({ action: 'stay-out', rule: 'better-candidate' });
    });
  });

  it('takes a higher epoch when one was seen that nobody served', () => {
    const answer = decided(s1({ record: { epochSeen: epoch(2) } }), [s2({ record: { epochSeen: epoch(2), inSync: [] } })]);
    expect(answer).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
    expect(answer.why).toContain('never served');
  });

  it('is open to a last source whose flag was lost between two steps, once all can be heard', () => {
    expect(decided(s1({ flags: { lastOwner: false } }), [s2()])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('puts a brand new mirror in service on command, and only then', () => {
    const fresh = view('server1', ['server1'], {
      record: { hadData: false, history: [], epochSeen: null, epochServed: null, epochInSync: null, session: { role: 'none', clean: true } },
      flags: { lastOwner: false, source: null },
    });
    expect(decided(fresh)).toMatchObject({ action: 'wait', rule: 'evidence' });
    expect(decided(fresh, [], COMMAND)).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });

  it('never puts the empty leg of a node in service that has just been added', () => {
    const added = s2({ record: { hadData: false, history: [], inSync: [], epochSeen: null, epochInSync: null }, flags: { source: null } });
    expect(decided(added, [], COMMAND)).toMatchObject({ action: 'refuse' });
    expect(decided(added, [s1()], COMMAND)).toMatchObject({ action: 'refuse' });
    expect(decided(added, [], { command: { kind: 'force', withoutLastOwner: true } })).toMatchObject({ action: 'refuse', rule: 'forced' });
  });
});

describe('no-quorum', () => {
  const voted = { definition: definition(TWO, { arbiter: 'majority' as const }) };

  it('begins a claim before the vote, and ends it without one', () => {
    const self = (over = {}): NodeView => orphan('server2', TWO, { record: { ...voted, ...over } });
    const claimed = { claim: epoch(2), epochSeen: epoch(2) };
    expect(afterLoss(self())).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(afterLoss(self(), [], { majority: false })).toMatchObject({ action: 'stay-out', rule: 'no-quorum' });
    expect(afterLoss(self(claimed), [], { claiming: true })).toMatchObject({ action: 'stay-out', rule: 'no-quorum' });
    expect(afterLoss(self(claimed), [], { claiming: true, majority: true })).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('suspends a source that has lost its majority', () => {
    expect(decided(s1({ inService: true, record: voted }), [], { majority: false })).toMatchObject({ action: 'suspend', rule: 'no-quorum' });
    expect(decided(s1({ inService: true, record: voted }), [], { majority: true })).toMatchObject({ action: 'stay-in-service' });
  });
});

describe('forced', () => {
  const force = (withoutLastOwner = false): FactsOver => ({ command: { kind: 'force', withoutLastOwner } });

  it('puts the last source in service and takes data_corrupt off (two nodes, 3)', () => {
    expect(decided(s1({ flags: { dataCorrupt: true } }), [], force())).toMatchObject({
      action: 'go-in-service',
      rule: 'forced',
      setFlags: { dataCorrupt: false },
    });
  });

  it('asks for more where last_owner is not there', () => {
    expect(decided(s2(), [], force())).toMatchObject({ action: 'refuse', rule: 'forced' });
    expect(decided(s2(), [], force(true))).toMatchObject({ action: 'go-in-service', rule: 'forced' });
  });

  it('puts even inconsistent data in service, and says what speaks against it', () => {
    const cut = s2({ record: { resyncingFrom: { node: 'server1', kind: 'full', generation: g(1) } } });
    const answer = decided(cut, [], force(true));
    expect(answer).toMatchObject({ action: 'go-in-service', rule: 'forced' });
    expect(answer.why).toContain('inconsistent');
  });

  it('does not make a second source beside one that can be heard', () => {
    expect(decided(s2(), [lastSeen()], force(true))).toMatchObject({ action: 'refuse', rule: 'forced' });
  });

  it('leaves a node alone that is in service', () => {
    expect(decided(s1({ inService: true }), [], force())).toMatchObject({ action: 'stay-in-service' });
  });
});
