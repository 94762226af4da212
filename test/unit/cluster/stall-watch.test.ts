import { describe, expect, it } from 'vitest';
import { StallWatch } from '../../../src/cluster/stall-watch.ts';
import { HandClock } from './hand-clock.ts';

function watched(): { clock: HandClock; watch: StallWatch; ticks: number[]; stalls: number[] } {
  const clock = new HandClock();
  const ticks: number[] = [];
  const stalls: number[] = [];
  const watch = new StallWatch(clock, 100, 50, {
    onTick: (now) => ticks.push(now),
    onStall: (ms) => stalls.push(ms),
  });
  watch.start();
  return { clock, watch, ticks, stalls };
}

describe('noticing our own stalls', () => {
  it('ticks in time are no stall', () => {
    const w = watched();
    w.clock.advance(1000);
    expect(w.ticks).toEqual([100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]);
    expect(w.stalls).toEqual([]);
  });

  it('a tick a little late is no stall', () => {
    const w = watched();
    w.clock.jump(149);
    w.clock.advance(0);
    expect(w.stalls).toEqual([]);
    expect(w.ticks).toEqual([149]);
  });

  it('a late tick is a stall, told before the tick, and never shorter than it was', () => {
    const w = watched();
    w.clock.advance(100);
    w.clock.jump(5000);
    w.clock.advance(0);
    expect(w.stalls).toEqual([5000]);
    w.clock.advance(500);
    expect(w.stalls).toEqual([5000]);
  });

  it('a check finds the stall before the late tick has its turn, and it is told once', () => {
    const w = watched();
    w.clock.jump(700);
    w.watch.check();
    expect(w.stalls).toEqual([700]);
    expect(w.ticks).toEqual([]);
    w.watch.check();
    w.clock.advance(300);
    expect(w.stalls).toEqual([700]);
  });

  it('checks in the middle of a stall do not divide it: it is told again as a whole, until the process ticks', () => {
    const w = watched();
    for (const ms of [200, 10, 190, 300]) {
      w.clock.jump(ms);
      w.watch.check();
    }
    expect(w.stalls).toEqual([200, 400, 700]);
    w.clock.jump(3);
    w.watch.check();
    expect(w.stalls).toEqual([200, 400, 700]);
    w.clock.advance(0);
    expect(w.stalls).toEqual([200, 400, 700, 703]);
    expect(w.ticks).toEqual([703]);
    w.clock.advance(100);
    w.clock.jump(300);
    w.watch.check();
    expect(w.stalls).toEqual([200, 400, 700, 703, 300]);
  });

  it('another pace begins with a tick; what has passed is judged by the pace before, what comes by the new one', () => {
    const w = watched();
    w.clock.advance(130);
    w.watch.setPace(10, 10);
    expect([w.ticks, w.stalls]).toEqual([[100, 130], []]);
    w.clock.advance(20);
    expect(w.ticks).toEqual([100, 130, 140, 150]);
    w.clock.jump(25);
    w.watch.check();
    expect(w.stalls).toEqual([25]);
    w.clock.jump(75);
    w.watch.setPace(100, 50);
    expect(w.stalls).toEqual([25, 100]);
    expect(w.ticks.at(-1)).toBe(250);
    w.clock.advance(99);
    expect(w.ticks.at(-1)).toBe(250);
    w.clock.jump(40);
    w.watch.check();
    expect(w.stalls).toEqual([25, 100]);
  });

  it('the same pace again changes nothing, and one set before the start holds from then on', () => {
    const w = watched();
    w.clock.advance(130);
    w.watch.setPace(100, 50);
    expect(w.ticks).toEqual([100]);
    w.watch.stop();
    w.watch.setPace(10, 10);
    expect(w.ticks).toEqual([100]);
    w.watch.start();
    w.clock.advance(10);
    expect(w.ticks).toEqual([100, 140]);
  });

  it('after stop nothing is told', () => {
    const w = watched();
    w.watch.stop();
    w.clock.jump(700);
    w.watch.check();
    w.clock.advance(1000);
    expect(w.stalls).toEqual([]);
    expect(w.ticks).toEqual([]);
  });
});
