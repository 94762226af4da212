import { describe, expect, it } from 'vitest';
import { Changes } from '../../../src/failover/context.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';

function make(): { clock: ManualClock; changes: Changes; now: () => number } {
  const clock = new ManualClock();
  return { clock, changes: new Changes((ms, f) => clock.after(ms, f)), now: () => clock.now() };
}

/** Whether a promise has ended by now. */
async function ended(p: Promise<unknown>): Promise<boolean> {
  let done = false;
  void p.then(() => {
    done = true;
  });
  await settle();
  return done;
}

describe('changes', () => {
  it('wake all who wait, once, and leave no timer', async () => {
    const { clock, changes } = make();
    const waiting = [changes.next(1000), changes.next(5000)];
    expect(await ended(Promise.all(waiting))).toBe(false);
    changes.notify();
    expect(await ended(Promise.all(waiting))).toBe(true);
    expect(clock.pending).toBe(0);
    const later = changes.next(1000);
    expect(await ended(later)).toBe(false);
    clock.advance(1000);
    expect(await ended(later)).toBe(true);
    changes.notify();
  });

  it('until a condition holds: looked at again at each change', async () => {
    const { changes, now } = make();
    let holds = false;
    const waiting = changes.until(() => holds, now, 60_000);
    changes.notify();
    expect(await ended(waiting)).toBe(false);
    holds = true;
    changes.notify();
    expect(await waiting).toBe(true);
  });

  it('until a condition holds, and not longer than the deadline', async () => {
    const { clock, changes, now } = make();
    const waiting = changes.until(() => false, now, 3000);
    clock.advance(2999);
    changes.notify();
    expect(await ended(waiting)).toBe(false);
    clock.advance(1);
    expect(await waiting).toBe(false);
  });

  it('that hold already, or whose time is over, need no wait', async () => {
    const { changes, now } = make();
    expect(await changes.until(() => true, now, 0)).toBe(true);
    expect(await changes.until(() => false, now, 0)).toBe(false);
  });

  it('without a deadline are still looked at now and then, should nobody say so', async () => {
    const { clock, changes, now } = make();
    let holds = false;
    const waiting = changes.until(() => holds, now, Infinity);
    expect(await ended(waiting)).toBe(false);
    holds = true;
    clock.advance(60_000);
    expect(await waiting).toBe(true);
  });
});
