import { beforeEach, describe, expect, it } from 'vitest';
import { ClientWatch, type WatchedClient } from '../../../src/nbd/client-watch.ts';
import { ManualClock } from '../../support/manual-clock.ts';

class Client implements WatchedClient {
  moved: number | undefined;
  requestsTotal = 0;
  requestsInFlight = 0;
  readonly ended: string[] = [];

  awaited(): number | undefined {
    return this.moved;
  }

  endedAtMs = 0;

  end(why: string): void {
    this.ended.push(why);
    this.endedAtMs = clock.now();
    watch.remove(this);
  }
}

let clock: ManualClock;
let watch: ClientWatch;
let client: Client;

function begin(stalledMs: number, idleMs: number): void {
  watch = new ClientWatch(clock, { stalledMs, idleMs });
  watch.add(client);
}

beforeEach(() => {
  clock = new ManualClock();
  client = new Client();
});

describe('a client that takes no reply', () => {
  it('is ended when no byte has gone for as long as the limit', () => {
    begin(1000, 0);
    clock.advance(5000);
    client.moved = 7;
    clock.advance(900);
    expect(client.ended).toEqual([]);
    clock.advance(700);
    expect(client.ended).toEqual(['stalled']);
    clock.advance(10_000);
    expect(client.ended).toHaveLength(1);
  });

  it('stays as long as it takes a little now and then', () => {
    begin(1000, 0);
    client.moved = 0;
    for (let i = 0; i < 50; i += 1) {
      clock.advance(800);
      client.moved += 1;
    }
    expect(client.ended).toEqual([]);
  });

  it('stays when nothing is awaited of it, however long', () => {
    begin(1000, 0);
    client.moved = 3;
    clock.advance(700);
    client.moved = undefined;
    clock.advance(600);
    client.moved = 3;
    clock.advance(700);
    expect(client.ended).toEqual([]);
  });
});

describe('a client that asks for nothing', () => {
  it('is ended after the time that was said', () => {
    begin(0, 4000);
    clock.advance(3900);
    expect(client.ended).toEqual([]);
    clock.advance(1200);
    expect(client.ended).toEqual(['idle']);
  });

  it('stays while it asks, waits for an answer, or takes one', () => {
    begin(60_000, 4000);
    for (let i = 0; i < 5; i += 1) {
      clock.advance(3000);
      client.requestsTotal += 1;
    }
    client.requestsInFlight = 1;
    clock.advance(20_000);
    client.requestsInFlight = 0;
    client.moved = 1;
    clock.advance(10_000);
    client.moved = undefined;
    clock.advance(3000);
    expect(client.ended).toEqual([]);
    clock.advance(3000);
    expect(client.ended).toEqual(['idle']);
  });
});

it('nothing is looked at where no limit is set, nor when the last has gone', () => {
  begin(0, 0);
  client.moved = 1;
  clock.advance(100_000);
  begin(1000, 0);
  watch.remove(client);
  clock.advance(100_000);
  expect(client.ended).toEqual([]);
});

describe('whoever looks too late', () => {
  /** Each look is `ms` later than it was to be. */
  function chronicallyLate(limits: { stalledMs: number; idleMs: number }, ms: number, moved: number | undefined, between?: () => void): void {
    const late = new ManualClock();
    watch = new ClientWatch(
      {
        now: (): number => late.now(),
        wallNow: (): number => late.wallNow(),
        after: (delay, f) => late.after(delay + ms, f),
        soon: late.soon.bind(late),
      },
      limits,
    );
    clock = late;
    watch.add(client);
    client.moved = moved;
    for (let i = 0; i < 400 && client.ended.length === 0; i += 1) {
      between?.();
      late.advance(250);
    }
  }

  /** It finds out when its next look is `ms` later than it was to be. */
  function heldUp(ms: number, moved: number | undefined): void {
    const late = new ManualClock();
    clock = late;
    let lostMs = 0;
    const held = {
      now: (): number => late.now() + lostMs,
      wallNow: (): number => late.wallNow(),
      after: late.after.bind(late),
      soon: late.soon.bind(late),
    };
    watch = new ClientWatch(held, { stalledMs: 1000, idleMs: 4000 });
    watch.add(client);
    client.moved = moved;
    late.advance(600);
    lostMs = ms;
    late.advance(250);
  }

  it('ends nobody for the time in which it saw nothing, and who is awaited still, a limit later', () => {
    heldUp(5000, 7);
    expect(client.ended).toEqual([]);
    clock.advance(700);
    expect(client.ended).toEqual([]);
    clock.advance(600);
    expect(client.ended).toEqual(['stalled']);
  });

  it('does not take a moment for that', () => {
    heldUp(200, 7);
    expect(client.ended).toEqual([]);
    clock.advance(450);
    expect(client.ended).toEqual(['stalled']);
  });

  it('does not end who could ask for nothing meanwhile either', () => {
    heldUp(5000, undefined);
    clock.advance(3000);
    expect(client.ended).toEqual([]);
    clock.advance(2500);
    expect(client.ended).toEqual(['idle']);
  });

  it('ends who does nothing all the same when that happens again and again', () => {
    chronicallyLate({ stalledMs: 1000, idleMs: 0 }, 400, 7);
    expect(client.ended).toEqual(['stalled']);
    client = new Client();
    chronicallyLate({ stalledMs: 0, idleMs: 1000 }, 400, undefined);
    expect(client.ended).toEqual(['idle']);
  });

  it('does not take for that what is little of a limit, however much of the other', () => {
    chronicallyLate({ stalledMs: 60_000, idleMs: 1000 }, 400, 7);
    expect(client.ended).toEqual(['stalled']);
    expect(client.endedAtMs).toBeLessThan(60_000 * 1.25);
  });

  it('ends nobody who does something between the looks, however late all of them are', () => {
    chronicallyLate({ stalledMs: 1000, idleMs: 0 }, 2000, 7, () => {
      client.moved = (client.moved ?? 0) + 1;
    });
    expect(client.ended).toEqual([]);
  });
});
