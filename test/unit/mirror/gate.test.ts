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
  g.stopped = 108;
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
