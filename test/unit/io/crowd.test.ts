import { expect, it } from 'vitest';
import { crowdedOut } from '../../../src/io/crowd.ts';

const host = (place: string): string => place.slice(0, 1);

it('the oldest of the address that has most places leaves', () => {
  expect(crowdedOut(['a1', 'b1', 'c1', 'b2', 'a2', 'b3'], host)).toBe('b1');
});

it('of addresses that have as many, the one that came first gives one', () => {
  expect(crowdedOut(['c1', 'a1', 'b1', 'a2', 'c2'], host)).toBe('c1');
});

it('a single one that came last stays, however long the others have been there', () => {
  const places = [...Array.from({ length: 63 }, (_, i) => `m${String(i)}`), 'h1'];
  for (let i = 0; i < 200; i += 1) {
    const out = crowdedOut(places, host);
    expect(out).toMatch(/^m/);
    places.splice(places.indexOf(out ?? ''), 1);
    places.push(`m${String(100 + i)}`);
  }
  expect(places).toContain('h1');
});

it('nobody leaves where nobody is', () => {
  expect(crowdedOut([], host)).toBeUndefined();
});
