import { describe, expect, it } from 'vitest';
import { Mismatches, MISMATCHES_MAX } from '../../../src/nbd-client-js/mismatches.ts';

function counted(): { m: Mismatches; told: () => number } {
  let told = 0;
  const m = new Mismatches(() => {
    told += 1;
  });
  return { m, told: () => told };
}

describe('what came damaged', () => {
  it('is sent again, and counted each time', () => {
    const { m, told } = counted();
    expect([m.met(1), m.met(1)]).toEqual([undefined, undefined]);
    expect(told()).toBe(2);
    m.metHeader();
    expect(told()).toBe(3);
  });

  it('three times running, of whatever request, is too much', () => {
    const { m } = counted();
    expect([m.met(1), m.met(1)]).toEqual([undefined, undefined]);
    expect(m.met(1)).toBe('3 payloads in a row did not match their checksums');
  });

  it('is forgiven as often as something else comes through between', () => {
    const { m } = counted();
    for (let i = 0; i < 100; i += 1) {
      expect([m.met(1), m.met(2)]).toEqual([undefined, undefined]);
      m.answeredWell();
    }
  });

  it('is too much when it is the same payload three times, whatever else comes through', () => {
    const { m } = counted();
    for (let sent = 1; sent < MISMATCHES_MAX; sent += 1) {
      expect(m.met(sent)).toBeUndefined();
      m.answeredWell();
    }
    expect(m.met(MISMATCHES_MAX)).toBe('one payload did not match its checksum 3 times in a row');
  });
});
