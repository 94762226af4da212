import { expect, it } from 'vitest';
import { DaemonUnreachableError } from '../../../../src/control/http-client.ts';
import type { ControlEvent } from '../../../../src/control/types.ts';
import { FakeDaemon, run } from '../fake-daemon.ts';

const event = (tag: string, message: string): ControlEvent => ({
  at: Date.UTC(2026, 10, 20, 13, 5, 1, 250),
  tag,
  kind: 'in-sync',
  message,
  fields: { node: 'b' },
});

function daemon() {
  const d = new FakeDaemon();
  d.eventsToCome = [event('a', 'one'), event('b', 'two\nlines'), event('a', 'three')];
  return d;
}

it('shows events as lines, as many as asked for', async () => {
  const d = daemon();
  const { code, out } = await run('netraid events --count 2', d);
  expect([code, out]).toEqual([0, ['2026-11-20 13:05:01.250Z a in-sync: one', '2026-11-20 13:05:01.250Z b in-sync: two lines']]);
  expect(d.eventsStopped).toBe(true);
});

it('shows those of one mirror, as JSON', async () => {
  const { out } = await run('netraid events a --json --count 2', daemon());
  expect(out.map((l) => JSON.parse(l) as unknown)).toEqual([event('a', 'one'), event('a', 'three')]);
});

it('ends with the daemon', async () => {
  const d = daemon();
  const running = run('netraid events', d);
  await new Promise((resolve) => setImmediate(resolve));
  while (d.onEnd === undefined) await new Promise((resolve) => setImmediate(resolve));
  d.onEnd(new DaemonUnreachableError('netraidd has stopped'));
  const { code, out, errors } = await running;
  expect([code, out.length, errors]).toEqual([3, 3, ['netraid events: netraidd has stopped']]);
});

it.each(['--count 0', '--count x', 'a/b', 'a b'])('refuses %s', async (words) => {
  const d = daemon();
  const { code, errors } = await run(`netraid events ${words}`, d);
  expect([code, errors.length, d.onEvent]).toEqual([2, 1, undefined]);
});
