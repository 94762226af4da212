import { describe, expect, it } from 'vitest';
import { whatIf } from '../../../src/control/what-if.ts';
import { decide } from '../../../src/failover/decide.ts';
import { facts, TIMEOUT_MS, view } from '../failover/build.ts';

const nodes = ['server1', 'server2', 'server3'];
const now = facts(view('server2', nodes, { silentForMs: { server1: 10, server3: 10 } }), [
  view('server1', nodes, { inService: true }),
  view('server3', nodes, { silentForMs: { server1: 10, server2: 10 } }),
]);

describe('what if', () => {
  it('a node is lost: it is silent, and so it is for everybody else', () => {
    const then = whatIf(now, ' server1  lost ');
    expect(then.peers['server1']?.silentForMs).toBe(TIMEOUT_MS);
    expect(then.self.silentForMs['server1']).toBe(TIMEOUT_MS);
    expect(then.peers['server3']?.view.silentForMs['server1']).toBe(TIMEOUT_MS);
    expect(then.peers['server3']?.silentForMs).toBe(10);
  });

  it('a node is back: it has just been heard', () => {
    const lost = whatIf(now, 'server1 lost');
    expect(whatIf(lost, 'server1 back').peers['server1']?.silentForMs).toBe(0);
  });

  it('an operator says in-service, or force', () => {
    expect(whatIf(now, 'in-service').command).toEqual({ kind: 'in-service' });
    expect(whatIf(now, 'force').command).toEqual({ kind: 'force', withoutLastOwner: false });
    expect(whatIf(now, 'force --without-last-owner').command).toEqual({ kind: 'force', withoutLastOwner: true });
  });

  it('leaves the facts themselves alone', () => {
    const before = structuredClone(now);
    whatIf(now, 'server1 lost');
    whatIf(now, 'force');
    expect(now).toEqual(before);
  });

  it('refuses what it does not know', () => {
    for (const q of ['', 'server1', 'server1 burns', 'server1 lost now', 'force server1']) {
      expect(() => whatIf(now, q), q).toThrow(/allowed are NODE lost, NODE back, in-service, force/);
    }
    for (const q of ['server9 lost', 'constructor lost', '__proto__ back', 'toString lost']) {
      expect(() => whatIf(now, q), q).toThrow(/is not a node of the mirror; nodes: server1, server2, server3/);
    }
    expect(() => whatIf(now, 'server2 lost')).toThrow(/this is server2; ask another node/);
  });

  it('takes a node that was never heard for lost, and can not know what it would say', () => {
    const alone = facts(view('server2', nodes), []);
    expect(whatIf(alone, 'server1 lost')).toEqual(alone);
    expect(() => whatIf(alone, 'server1 back')).toThrow(/server1 has not been heard since this daemon started/);
  });

  describe('under arbiter majority', () => {
    const asked = (node: string, o: Parameters<typeof view>[2], peers: Parameters<typeof facts>[1]): ReturnType<typeof facts> => {
      const f = facts(view(node, nodes, o), peers);
      const definition = { ...f.self.record.definition, arbiter: 'majority' as const };
      return { ...f, self: { ...f.self, record: { ...f.self.record, definition } } };
    };

    it('a target without its source and another target hears no majority', () => {
      const f = asked('server2', {}, [view('server1', nodes, { inService: true }), view('server3', nodes)]);
      expect(whatIf(f, 'server1 lost').majority).toBeNull();
      const lone = whatIf(whatIf(f, 'server3 lost'), 'server1 lost');
      expect(lone.majority).toBe(false);
    });

    it('a source that loses most others is without it, unless an operator has overruled the arbiter', () => {
      const f = asked('server1', { inService: true }, [view('server2', nodes), view('server3', nodes)]);
      expect(whatIf(f, 'server2 lost').majority).toBe(true);
      const alone = whatIf(whatIf(f, 'server2 lost'), 'server3 lost');
      expect(alone.majority).toBe(false);
      expect(decide(alone).rule).toBe('no-quorum');
      const epoch = { number: 3, owner: 'server1', random: 'f'.repeat(16) };
      const forced = { ...alone, self: { ...alone.self, record: { ...alone.self.record, epochServed: epoch, overruled: epoch } } };
      expect(whatIf(forced, 'server3 lost').majority).toBeNull();
    });
  });
});
