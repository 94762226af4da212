import { describe, expect, it } from 'vitest';
import { ifConfirmed, toConfirm } from '../../../src/failover/confirmed.ts';
import type { Confirmable, Decision, Facts } from '../../../src/failover/types.ts';

const forced: Decision = { action: 'go-in-service', rule: 'forced', why: 'an operator said so' };
const proven: Decision = { action: 'go-in-service', rule: 'evidence', why: 'nobody has newer data' };
const inService = (...confirmed: Confirmable[]): Facts['command'] => ({ kind: 'in-service', confirmed });
const force = (...confirmed: Confirmable[]): Facts['command'] => ({ kind: 'force', withoutLastOwner: false, confirmed });

describe('what an operator must say yes to', () => {
  it.each<[string, Decision, boolean | null, Confirmable[]]>([
    ['a force', forced, null, ['force']],
    ['a force, with a majority in hearing', forced, true, ['force']],
    ['a force without the majority that the mirror asks for', forced, false, ['force', 'no-majority']],
    ['nothing where the evidence is enough', proven, false, []],
    ['nothing where it is refused in any case', { ...forced, action: 'refuse' }, false, []],
  ])('%s', (_what, d, majority, expected) => {
    expect(toConfirm(d, majority)).toEqual(expected);
  });
});

describe('a decision that needs a yes', () => {
  it.each<[string, Facts['command'], boolean | null]>([
    ['in-service, confirmed as a force', inService('force'), null],
    ['force, which is a yes to itself', force(), true],
    ['force, confirmed without a majority', force('no-majority'), false],
  ])('is carried out on %s', (_what, command, majority) => {
    expect(ifConfirmed(forced, command, majority)).toBe(forced);
  });

  it.each<[string, Facts['command'], boolean | null, Confirmable[]]>([
    ['in-service', inService(), null, ['force']],
    ['in-service of a client that knows of no such thing', { kind: 'in-service' }, null, ['force']],
    ['no command at all', { kind: 'none' }, null, ['force']],
    ['in-service, confirmed as a force, when the majority is lost since', inService('force'), false, ['no-majority']],
    ['force, when the majority is lost since', force('force'), false, ['no-majority']],
  ])('is refused on %s', (_what, command, majority, missing) => {
    const d = ifConfirmed(forced, command, majority);
    expect(d).toMatchObject({ action: 'refuse', rule: 'forced', unconfirmed: missing });
    expect(d.why).toContain(forced.why);
  });

  it('by evidence needs none', () => {
    expect(ifConfirmed(proven, inService(), false)).toBe(proven);
  });
});
