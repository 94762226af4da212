import { expect, it } from 'vitest';
import { Question } from '../../../src/failover/question.ts';
import type { Asked, Facts } from '../../../src/failover/types.ts';
import { facts, view } from './build.ts';
import { LOST, s2, TWO } from './decide-support.ts';

const asks: Asked = { about: 'takeover, epoch 1 (server1)', lost: 'server1', leftMs: 60_000, then: 'stay' };
const heard = (silentForMs: number, inService = true): Facts =>
  facts(s2(), [view('server1', TWO, { inService })], { silent: { server1: silentForMs } });
const gone = heard(LOST);

it('is new once a situation, and counts its time from then on', () => {
  const q = new Question();
  expect(q.facts(0, gone, false)).toBeUndefined();
  expect(q.decided({ asks }, 1000)).toBe(true);
  expect(q.decided({ asks }, 2000)).toBe(false);
  // Another rule holds for a moment: the question goes on all the same.
  expect(q.decided({}, 3000)).toBe(false);
  expect(q.decided({ asks }, 4000)).toBe(false);
  expect(q.facts(5000, gone, false)).toEqual({ about: asks.about, askedForMs: 4000, word: null });
  expect(q.decided({ asks: { ...asks, about: 'another' } }, 6000)).toBe(true);
  expect(q.facts(6500, gone, false)).toEqual({ about: 'another', askedForMs: 500, word: null });
});

it('remembers the last word, and has no use for one before it was asked', () => {
  const q = new Question();
  expect(q.answer('yes')).toBe(false);
  q.decided({ asks }, 0);
  expect([q.answer('no'), q.facts(1, gone, false)?.word]).toEqual([true, 'no']);
  expect([q.answer('yes'), q.facts(1, gone, false)?.word]).toEqual([true, 'yes']);
});

it.each<[string, Facts, boolean]>([
  ['the lost source is heard again', heard(10, false), false],
  ['somebody else is in service', facts(s2(), [view('server3', TWO, { inService: true })]), false],
  ['this node is in service', gone, true],
])('is settled when %s, and is then asked anew', (_what, now, inService) => {
  const q = new Question();
  q.decided({ asks }, 0);
  q.answer('no');
  expect(q.facts(1000, now, inService)).toBeUndefined();
  expect(q.answer('yes')).toBe(false);
  expect(q.decided({ asks }, 2000)).toBe(true);
  expect(q.facts(3000, gone, false)).toEqual({ about: asks.about, askedForMs: 1000, word: null });
});

it('about no lost node is not settled by hearing one', () => {
  const q = new Question();
  q.decided({ asks: { ...asks, lost: null } }, 0);
  expect(q.facts(1000, heard(10, false), false)).toMatchObject({ askedForMs: 1000 });
});
