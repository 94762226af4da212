import { beforeEach, expect, it } from 'vitest';
import { Offenders } from '../../../src/nbd/offenders.ts';
import { ManualClock } from '../../support/manual-clock.ts';

let clock: ManualClock;
let offenders: Offenders;

beforeEach(() => {
  clock = new ManualClock();
  offenders = new Offenders(clock, { misdeedsMax: 3, withinMs: 1000 });
});

it('an address that fails too often is barred until its time is over, and no other', () => {
  for (let i = 0; i < 2; i += 1) offenders.note('a');
  expect(offenders.barred('a')).toBeUndefined();
  offenders.note('a');
  expect([offenders.barred('a'), offenders.barred('b')]).toEqual([3, undefined]);
  clock.advance(999);
  expect(offenders.barred('a')).toBe(3);
  clock.advance(1);
  expect(offenders.barred('a')).toBeUndefined();
});

it('misdeeds that are long apart do not add up', () => {
  for (let i = 0; i < 20; i += 1) {
    offenders.note('a');
    clock.advance(600);
    expect(offenders.barred('a')).toBeUndefined();
  }
});

it('of very many addresses the ones known longest are forgotten', () => {
  for (let i = 0; i < 3; i += 1) offenders.note('first');
  for (let i = 0; i < 5000; i += 1) offenders.note(`10.0.${String(i >> 8)}.${String(i & 255)}`);
  expect(offenders.barred('first')).toBeUndefined();
  for (let i = 0; i < 2; i += 1) offenders.note('10.0.19.135');
  expect(offenders.barred('10.0.19.135')).toBe(3);
});

it('whoever goes on at twice that pace while it is barred stays barred, and is forgiven soon after it has stopped', () => {
  for (let i = 0; i < 30; i += 1) {
    offenders.note('a');
    if (i >= 2) expect(offenders.barred('a')).toBeDefined();
    clock.advance(150);
  }
  clock.advance(2000);
  expect(offenders.barred('a')).toBeUndefined();
});

it('whoever comes now and then while it is barred is let in when its time is over', () => {
  for (let i = 0; i < 3; i += 1) offenders.note('a');
  clock.advance(500);
  offenders.note('a');
  expect(offenders.barred('a')).toBe(4);
  clock.advance(500);
  expect(offenders.barred('a')).toBeUndefined();
});

it('misdeeds without number bar an address no longer than for this time and the next', () => {
  for (let i = 0; i < 1000; i += 1) offenders.note('a');
  clock.advance(1999);
  expect(offenders.barred('a')).toBeDefined();
  clock.advance(1);
  expect(offenders.barred('a')).toBeUndefined();
});
