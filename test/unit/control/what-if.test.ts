import { describe, expect, it } from 'vitest';
import { whatIf } from '../../../src/control/what-if.ts';
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
    expect(whatIf(now, 'force').command).toEqual({ kind: 'force', withoutLastOwner: true });
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
    for (const q of ['server9 lost', 'server2 lost', 'constructor lost', '__proto__ back', 'toString lost']) {
      expect(() => whatIf(now, q), q).toThrow(/nothing is known of .*heard so far: server1, server3/);
    }
  });
});
