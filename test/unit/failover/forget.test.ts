import { describe, expect, it } from 'vitest';
import { forgetRefusal } from '../../../src/failover/forget.ts';
import type { Grant, StateRecord } from '../../../src/failover/types.ts';
import { epoch, record } from './build.ts';

const BOTH = ['server1', 'server2'];
const e1 = epoch(1, 'server1');
const grant: Grant = { epoch: e1, from: 'server1', to: 'server2', synced: ['server1', 'server2'], paused: [] };
const target = (o: Partial<StateRecord> = {}): StateRecord => record('server2', BOTH, { epochSeen: e1, epochInSync: e1, ...o });
const giver = record('server1', BOTH, { epochSeen: e1, epochServed: e1, epochInSync: e1, grant });

describe('a node that is asked by another one to forget the mirror', () => {
  it('does so when it has nothing to do with going in service', () => {
    expect(forgetRefusal(target(), 'server1')).toBeNull();
  });

  it('refuses while it claims an epoch', () => {
    expect(forgetRefusal(target({ claim: epoch(2, 'server2') }), 'server1')).toMatch(/on its way in service/);
  });

  it('refuses while it holds a grant, also when the one that gave it asks', () => {
    expect(forgetRefusal(target({ grant }), 'server1')).toMatch(/server1 has handed the mirror over to server2/);
  });

  it('does so when the grant that it held is void', () => {
    expect(forgetRefusal(target({ grant, epochSeen: epoch(2, 'server3') }), 'server3')).toBeNull();
  });

  it('refuses when it has handed the mirror over, unless the new source asks', () => {
    expect(forgetRefusal(giver, 'server3')).toMatch(/has handed the mirror over to server2/);
    expect(forgetRefusal(giver, 'server2')).toBeNull();
  });
});
