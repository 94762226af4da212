import { describe, expect, it } from 'vitest';
import { Rest } from '../../../src/failover/rest.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';

async function ended(p: Promise<void>): Promise<boolean> {
  let done = false;
  void p.then(() => {
    done = true;
  });
  await settle();
  return done;
}

describe('the rest between two tries', () => {
  it('lasts as long as was said', async () => {
    const clock = new ManualClock();
    const rest = new Rest(clock).take(1000);
    clock.advance(999);
    expect(await ended(rest)).toBe(false);
    clock.advance(1);
    expect(await ended(rest)).toBe(true);
  });

  it('is ended by a word that comes in the middle of it, and leaves no timer', async () => {
    const clock = new ManualClock();
    const r = new Rest(clock);
    const rest = r.take(1000);
    expect(await ended(rest)).toBe(false);
    r.end();
    expect(await ended(rest)).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it('is left out when the word came during the try before', async () => {
    const clock = new ManualClock();
    const r = new Rest(clock);
    r.tries();
    r.end();
    expect(await ended(r.take(1000))).toBe(true);
    expect(clock.pending).toBe(0);
  });

  it('is taken again after the next try', async () => {
    const clock = new ManualClock();
    const r = new Rest(clock);
    r.end();
    r.tries();
    const rest = r.take(1000);
    expect(await ended(rest)).toBe(false);
    clock.advance(1000);
    expect(await ended(rest)).toBe(true);
  });
});
