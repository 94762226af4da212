import { describe, expect, it } from 'vitest';
import { nullLog } from '../../../src/io/log.ts';
import { ToldOut } from '../../../src/failover/told-out.ts';
import type { StateRecord } from '../../../src/failover/types.ts';
import { epoch, record } from './build.ts';

const NODES = ['server1', 'server2'];
const E = epoch(3, 'server1');

function told(o: Partial<StateRecord>): { t: ToldOut; written: string[] } {
  const written: string[] = [];
  const node = {
    tag: 't',
    inService: false,
    env: { self: 'server2', log: nullLog },
    record: () => ({ ...record('server2', NODES), ...o }),
    asTarget: () => {
      written.push('out');
      return Promise.resolve();
    },
  };
  return { t: new ToldOut(node as unknown as ConstructorParameters<typeof ToldOut>[0]), written };
}

const inSync: Partial<StateRecord> = { inSync: NODES, epochInSync: E };

describe('the word of a source that this node is out (M2)', () => {
  it('is heeded and written down by a node that is in sync with it', () => {
    const { t, written } = told(inSync);
    expect(t.heard({ epoch: E, nth: 1, why: 'lost' })).toBe(true);
    expect([t.heeds, written]).toEqual([{ epoch: E, nth: 1 }, ['out']]);
  });

  it('is heeded by one that is being resynced in that epoch, which has nothing to write', () => {
    const { t, written } = told({ inSync: [], sessionIn: E });
    expect(t.heard({ epoch: E, nth: 1, why: 'lost' })).toBe(true);
    expect([t.heeds, written]).toEqual([{ epoch: E, nth: 1 }, []]);
  });

  it('means nothing to a node that was never part of that epoch', () => {
    const { t } = told({ ...inSync, epochInSync: epoch(2, 'server1'), sessionIn: epoch(2, 'server1') });
    expect(t.heard({ epoch: E, nth: 1, why: 'lost' })).toBe(false);
    expect(t.heeds).toBeNull();
  });

  it('is over when a session has joined, and does not count again when it arrives late', async () => {
    const { t } = told(inSync);
    t.heard({ epoch: E, nth: 1, why: 'lost' });
    await t.during(E, 2, () => Promise.resolve());
    expect(t.heeds).toBeNull();
    expect(t.heard({ epoch: E, nth: 2, why: 'lost' })).toBe(false);
    expect(t.heard({ epoch: E, nth: 3, why: 'lost again' })).toBe(true);
  });

  it('holds when it comes while a session joins', async () => {
    const { t } = told(inSync);
    await t.during(E, 1, () => {
      t.heard({ epoch: E, nth: 2, why: 'no answer to its join' });
      return Promise.resolve();
    });
    expect(t.heeds).toEqual({ epoch: E, nth: 2 });
  });

  it('holds when the session does not join', async () => {
    const { t } = told(inSync);
    t.heard({ epoch: E, nth: 1, why: 'lost' });
    await expect(t.during(E, 1, () => Promise.reject(new Error('no room')))).rejects.toThrow('no room');
    expect(t.heeds).toEqual({ epoch: E, nth: 1 });
  });
});
