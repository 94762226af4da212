import { describe, expect, it } from 'vitest';
import { Arrivals } from '../../../src/io/simulated/arrivals.ts';

describe('Arrivals', () => {
  it('knows the silence that goes on', () => {
    const a = new Arrivals();
    expect(a.longestSilence(100, 400)).toBe(300);
    a.arrived(250);
    expect(a.longestSilence(100, 400)).toBe(150);
    expect(a.longestSilence(300, 400)).toBe(100);
  });

  it('knows a silence that is over, as far as it lies after the moment that is asked for', () => {
    const a = new Arrivals();
    for (const at of [100, 600, 610, 620]) a.arrived(at);
    expect(a.longestSilence(0, 630)).toBe(500);
    expect(a.longestSilence(450, 630)).toBe(150);
    expect(a.longestSilence(605, 630)).toBe(10);
  });

  it('forgets the oldest of many', () => {
    const a = new Arrivals();
    a.arrived(0);
    for (let at = 1000; at < 41_000; at += 40) a.arrived(at);
    expect(a.longestSilence(0, 41_000)).toBe(40);
  });
});
