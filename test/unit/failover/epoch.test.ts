import { describe, expect, it } from 'vitest';
import { compareEpoch, epochText, highestEpoch, isHigher, isSame, nextEpoch } from '../../../src/failover/epoch.ts';
import { countingChance, epoch } from './build.ts';

describe('epochs', () => {
  it('orders by number, and puts no epoch at all below any', () => {
    expect(compareEpoch(epoch(1), epoch(2))).toBe('lower');
    expect(compareEpoch(epoch(3), epoch(2))).toBe('higher');
    expect(compareEpoch(epoch(2), epoch(2))).toBe('equal');
    expect(compareEpoch(null, epoch(1))).toBe('lower');
    expect(compareEpoch(epoch(1), null)).toBe('higher');
    expect(compareEpoch(null, null)).toBe('equal');
  });

  it('sees two owners of one number, and two claims of one owner, as a conflict and not as an order', () => {
    expect(compareEpoch(epoch(2, 'server1'), epoch(2, 'server2'))).toBe('conflict');
    expect(compareEpoch(epoch(2, 'server1', 'aaaaaaaaaaaaaaaa'), epoch(2, 'server1', 'bbbbbbbbbbbbbbbb'))).toBe('conflict');
    expect(isHigher(epoch(2, 'server1'), epoch(2, 'server2'))).toBe(false);
    expect(isSame(epoch(2, 'server1'), epoch(2, 'server2'))).toBe(false);
  });

  it('takes the number after the highest one seen, with its own owner and a new random', () => {
    const chance = countingChance();
    expect(nextEpoch(null, 'server1', chance)).toEqual({ number: 1, owner: 'server1', random: '0000000000000001' });
    expect(nextEpoch(epoch(7, 'server2'), 'server1', chance)).toEqual({ number: 8, owner: 'server1', random: '0000000000000002' });
  });

  it('refuses to go on when numbers are used up', () => {
    expect(() => nextEpoch({ number: Number.MAX_SAFE_INTEGER, owner: 'server1', random: 'a' }, 'server1', countingChance())).toThrow(RangeError);
  });

  it('finds the highest of many, and keeps the first of two in conflict', () => {
    expect(highestEpoch(null, epoch(1), epoch(3), epoch(2))).toEqual(epoch(3));
    expect(highestEpoch(epoch(2, 'server1'), epoch(2, 'server2'))).toEqual(epoch(2, 'server1'));
    expect(highestEpoch()).toBeNull();
    expect(epochText(epoch(3, 'server2'))).toBe('3 (server2)');
    expect(epochText(null)).toBe('none');
  });
});
