import { describe, expect, it } from 'vitest';
import type { Confirm, Decision, MirrorDefinition } from '../../../src/failover/types.ts';
import { definition, type FactsOver, view } from './build.ts';
import { afterLoss, COMMAND, decided, orphan, s1, THREE, TWO } from './decide-support.ts';

const ABOUT = 'takeover, epoch 1 (server1)';
const set = (over: Partial<MirrorDefinition> = {}) => ({ definition: definition(TWO, { failover: 'confirm', confirmTimeoutSec: 30, ...over }) });
const answered = (over: Partial<Confirm>): FactsOver => ({ confirm: { about: ABOUT, askedForMs: 1000, word: null, ...over } });
const lost = (over: Partial<MirrorDefinition> = {}, facts: FactsOver = {}): Decision =>
  afterLoss(orphan('server2', TWO, { record: set(over) }), [], facts);

describe('failover confirm', () => {
  it('asks first, says until when, and what follows without an answer', () => {
    const d = lost();
    expect(d).toMatchObject({ action: 'wait', rule: 'takeover', asks: { about: ABOUT, lost: 'server1', leftMs: 30_000, then: 'stay' } });
    expect(d.why).toContain('without an answer within 30 s it stays out');
    expect(lost({ confirmDefault: 'go' }).why).toContain('without an answer within 30 s it goes in service');
    expect(lost({}, answered({ askedForMs: 10_000 })).asks).toMatchObject({ leftMs: 20_000 });
  });

  it('takes its default when nobody has answered in time, and says so', () => {
    const over = answered({ askedForMs: 30_000 });
    expect(lost({}, over)).toMatchObject({ action: 'stay-out', rule: 'takeover', asks: { leftMs: null } });
    expect(lost({}, over).why).toContain('nobody has answered within 30 s, and the default is to stay out');
    const goes = lost({ confirmDefault: 'go' }, over);
    expect(goes).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    expect(goes.why).toContain('nobody has answered within 30 s, and the default is to go');
  });

  it.each(['go', 'stay'] as const)('does what the operator says, at any time, where the default is to %s', (confirmDefault) => {
    for (const askedForMs of [0, 40_000]) {
      const yes = lost({ confirmDefault }, answered({ askedForMs, word: 'yes' }));
      expect(yes).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
      expect(yes.why).toContain('an operator has confirmed it');
      const no = lost({ confirmDefault }, answered({ askedForMs, word: 'no' }));
      expect(no).toMatchObject({ action: 'stay-out', rule: 'takeover', asks: { leftMs: null } });
      expect(no.why).toContain('an operator has said no');
    }
  });

  it('takes an answer to another question for none', () => {
    expect(lost({}, answered({ about: 'takeover, epoch 7 (server9)', word: 'yes' }))).toMatchObject({ action: 'wait', asks: { leftMs: 30_000 } });
  });

  it('asks nobody for an operator’s in-service, nor for a claim that has begun', () => {
    const no = answered({ word: 'no' });
    expect(lost({}, { ...COMMAND, ...no })).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
    const self = orphan('server2', TWO, { record: { ...set(), claim: { number: 2, owner: 'server2', random: 'a000000000000009' } } });
    expect(afterLoss(self, [], { claiming: true, ...no })).toMatchObject({ action: 'go-in-service', rule: 'takeover' });
  });

  it('asks only the best candidate', () => {
    const record = { definition: definition(THREE, { failover: 'confirm' }) };
    const [second, third] = [orphan('server2', THREE, { record }), orphan('server3', THREE, { record })];
    expect(afterLoss(second, [third])).toMatchObject({ action: 'wait', rule: 'takeover', asks: { lost: 'server1' } });
    expect(afterLoss(third, [second])).toMatchObject({ action: 'wait', rule: 'better-candidate' });
    expect(afterLoss(third, [second]).asks).toBeUndefined();
  });

  it('never asks whether to do what no rule allows', () => {
    for (const over of [{ contactWithSource: false }, { record: { ...set(), inSync: ['server1'] } }]) {
      const d = afterLoss(orphan('server2', TWO, { record: set(), ...over }));
      expect([d.action, d.asks]).toEqual(['stay-out', undefined]);
    }
  });

  it('asks also where the evidence, and no loss, would bring another node in service; the last source itself goes on', () => {
    const broken = view('server1', TWO, {
      record: { ...set(), legBehind: null, inSync: ['server2'], resyncingFrom: null },
      flags: { dataCorrupt: true, lastOwner: false },
    });
    const d = decided(orphan('server2', TWO, { record: { ...set(), inSync: ['server2'] } }), [broken]);
    expect([d.rule, d.asks?.lost]).toEqual(['evidence', null]);
    expect(decided(s1({ record: set() }), [orphan('server2', TWO, { record: set() })])).toMatchObject({ action: 'go-in-service', rule: 'evidence' });
  });
});

describe('failover off', () => {
  it('waits without asking', () => {
    const d = lost({ failover: 'off' }, answered({ word: 'yes', askedForMs: 1_000_000 }));
    expect([d.action, d.rule, d.asks]).toEqual(['wait', 'takeover', undefined]);
  });
});
