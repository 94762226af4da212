import { expect, it } from 'vitest';
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
