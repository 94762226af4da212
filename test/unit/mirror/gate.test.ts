import { describe, expect, it } from 'vitest';
import { Gate } from '../../../src/mirror/gate.ts';

it('each party takes back only its own reason', () => {
  const g = new Gate();
  g.suspended.add('a');
  g.suspended.add('b');
  expect([g.mayAdmit, g.mayIssue, g.mayReply(false), g.mayReply(true)]).toEqual([false, false, false, false]);
  g.suspended.delete('a');
  expect(g.mayReply(false)).toBe(false);
  g.suspended.delete('b');
  expect([g.mayAdmit, g.mayIssue, g.mayReply(false), g.mayReply(true)]).toEqual([true, true, true, true]);
});

it('while losses are settled writes are neither issued nor answered, until the last is settled; reads are', () => {
  const g = new Gate();
  g.beginSettling('lost b');
  g.beginSettling('lost c');
  expect([g.mayAdmit, g.mayIssue, g.mayReply(true), g.mayReply(false)]).toEqual([true, false, false, true]);
  g.endSettling('lost b');
  expect([g.mayIssue, g.mayReply(true)]).toEqual([false, false]);
  g.endSettling('lost c');
  expect([g.mayIssue, g.mayReply(true)]).toEqual([true, true]);
});

it('closed, nothing new is admitted, and what was admitted goes on', () => {
  const g = new Gate();
  g.closed.add('resize');
  expect([g.mayAdmit, g.mayIssue, g.mayReply(true)]).toEqual([false, true, true]);
});

it('stopped, everything may be answered at once', () => {
  const g = new Gate();
  g.suspended.add('claim');
  g.beginSettling('lost b');
  g.stop(108);
  expect([g.mayReply(true), g.mayReply(false)]).toEqual([true, true]);
});

describe('a suspension', () => {
  it('is told with its reasons, since when, and when all is answered with errors', () => {
    const gate = new Gate();
    expect(gate.suspension).toBeNull();
    gate.suspend('stalled', 100, null);
    expect(gate.suspension).toEqual({ reasons: ['stalled'], since: 100, errorsAt: null, errno: 0 });
    gate.suspend('no quorum', 250, 900);
    gate.suspend('stalled', 300, null);
    expect(gate.suspension).toEqual({ reasons: ['stalled', 'no quorum'], since: 100, errorsAt: 900, errno: 0 });
    gate.whileSuspended = 5;
    expect(gate.suspension?.errno).toBe(5);
  });

  it('ends with its last reason, and nothing of it is left for the next one', () => {
    const gate = new Gate();
    gate.suspend('no quorum', 100, 900);
    gate.suspend('claim', 200, null);
    gate.whileSuspended = 5;
    expect(gate.unsuspend('no quorum')).toBe(false);
    expect(gate.unsuspend('no quorum')).toBe(false);
    expect(gate.refusal).toBe(5);
    expect(gate.unsuspend('claim')).toBe(true);
    expect([gate.suspension, gate.refusal, gate.mayAdmit]).toEqual([null, 0, true]);
    gate.suspend('claim', 700, null);
    expect(gate.suspension).toEqual({ reasons: ['claim'], since: 700, errorsAt: null, errno: 0 });
  });
});

describe('the call for whoever goes on without asking', () => {
  /** What the gate said at each call. */
  function watched(): { gate: Gate; calls: boolean[] } {
    const gate = new Gate();
    const calls: boolean[] = [];
    gate.shut = () => calls.push(gate.isOpen);
    return { gate, calls };
  }

  it.each<[string, (g: Gate) => void]>([
    ['a reason to suspend', (g) => g.suspended.add('claim')],
    [
      'a suspension',
      (g) => {
        g.suspend('stalled', 100, null);
      },
    ],
    ['a reason to admit nothing', (g) => g.closed.add('resize')],
    ['a reason to issue nothing', (g) => g.held.add('generation')],
    [
      'a loss that is settled',
      (g) => {
        g.beginSettling('lost b');
      },
    ],
    [
      'the stop',
      (g) => {
        g.stop(108);
      },
    ],
  ])('comes with %s, when that counts already', (_what, shut) => {
    const { gate, calls } = watched();
    expect(gate.isOpen).toBe(true);
    shut(gate);
    expect(calls).toEqual([false]);
    expect(gate.isOpen).toBe(false);
  });

  it('comes with each reason, not only with the first, and with none that is taken back', () => {
    const { gate, calls } = watched();
    gate.suspend('stalled', 100, null);
    gate.suspend('claim', 100, null);
    gate.held.add('generation');
    gate.closed.add('resize');
    expect(calls).toEqual([false, false, false, false]);
    gate.unsuspend('claim');
    gate.unsuspend('stalled');
    gate.held.delete('generation');
    gate.closed.delete('resize');
    expect(calls).toHaveLength(4);
    gate.beginSettling('lost b');
    gate.endSettling('lost b');
    expect(calls).toHaveLength(5);
  });

  it('may be heard by another: it is looked up each time', () => {
    const { gate, calls } = watched();
    const others: string[] = [];
    gate.shut = () => others.push('shut');
    gate.held.add('generation');
    expect([calls, others]).toEqual([[], ['shut']]);
  });
});

describe('open', () => {
  it('it is until the first reason and again after the last', () => {
    const g = new Gate();
    g.suspend('claim', 100, null);
    g.closed.add('resize');
    g.held.add('generation');
    g.beginSettling('lost b');
    const steps = [
      () => g.unsuspend('claim'),
      () => g.closed.delete('resize'),
      () => g.held.delete('generation'),
      () => {
        g.endSettling('lost b');
      },
    ];
    for (const takeBack of steps) {
      expect(g.isOpen).toBe(false);
      takeBack();
    }
    expect(g.isOpen).toBe(true);
  });

  it('it never is again once it has stopped', () => {
    const g = new Gate();
    g.stop(108);
    g.suspend('claim', 100, null);
    g.unsuspend('claim');
    expect(g.isOpen).toBe(false);
  });
});
