import { describe, expect, it } from 'vitest';
import { ReplyDeadline } from '../../../src/nbd-client-js/reply-deadline.ts';
import { ManualClock } from '../../support/manual-clock.ts';

interface Scene {
  clock: ManualClock;
  deadline: ReplyDeadline;
  /** From when each is waited for, of what is out. */
  out: number[];
  late: number[];
}

function scene(): Scene {
  const clock = new ManualClock();
  const out: number[] = [];
  const late: number[] = [];
  const deadline = new ReplyDeadline({
    clock,
    replyTimeoutMs: 1000,
    dueAt: () => (out[0] === undefined ? undefined : out[0] + 1000),
    onLate: () => late.push(clock.now()),
  });
  return { clock, deadline, out, late };
}

function send(s: Scene): void {
  s.out.push(s.clock.now());
  s.deadline.sent(s.clock.now());
}

describe('the deadline of replies', () => {
  it('is kept with one timer, to the millisecond, for the request that is waited for longest', () => {
    const s = scene();
    send(s);
    for (let i = 0; i < 5; i += 1) {
      s.clock.advance(150);
      send(s);
      expect(s.clock.pending).toBe(1);
    }
    s.out.shift();
    s.clock.advance(399);
    expect(s.late).toEqual([]);
    s.clock.advance(1);
    expect(s.late).toEqual([1150]);
  });

  it('follows what is waited for when that begins anew', () => {
    const s = scene();
    send(s);
    s.clock.advance(900);
    s.out[0] = 900;
    s.clock.advance(999);
    expect(s.late).toEqual([]);
    s.clock.advance(1);
    expect(s.late).toEqual([1900]);
  });

  it('has no timer while nothing is out', () => {
    const s = scene();
    send(s);
    s.out.shift();
    s.clock.advance(1000);
    expect(s.clock.pending).toBe(0);
    send(s);
    s.clock.advance(999);
    expect(s.late).toEqual([]);
    s.clock.advance(1);
    expect(s.late).toEqual([2000]);
  });

  it('gives replies a moment to be read when this process was stopped', () => {
    const timers: { ms: number; f: () => void }[] = [];
    let now = 0;
    const late: number[] = [];
    const clock = {
      ...{ wallNow: () => 0, soon: () => undefined },
      now: () => now,
      after: (ms: number, f: () => void) => {
        timers.push({ ms, f });
        return { cancel: () => undefined };
      },
    };
    const deadline = new ReplyDeadline({ clock, replyTimeoutMs: 1000, dueAt: () => 1000, onLate: () => late.push(now) });
    deadline.sent(0);
    now = 60_000;
    timers[0]?.f();
    expect(late).toEqual([]);
    expect(timers[1]?.ms).toBe(250);
    now = 60_250;
    timers[1]?.f();
    expect(late).toEqual([60_250]);
  });

  it('is over for good when ended', () => {
    const s = scene();
    send(s);
    s.deadline.end();
    send(s);
    s.clock.advance(10_000);
    expect(s.late).toEqual([]);
    expect(s.clock.pending).toBe(0);
  });
});
