/**
 * Holes that were copied to a leg in doubt as zeroes, since to punch where a hole is seen already changes nothing (M3). Once a sync has made
 * the zeroes certain, they become holes again, so that a sparse leg does not stay allocated in full.
 *
 *   copied as zeroes --noted--> synced there --taken--> range lock, still a hole here --> punched there --> the mark goes
 *
 * Invariants: what is punched reads as zeroes on both legs before, after and in between, so that no sync need follow it; its region is
 * marked until then, as of any write (M1).
 */
import type { MirrorDevice } from './device.ts';
import { isHole } from './own-leg.ts';

export interface Piece {
  offset: number;
  length: number;
}

export class ZeroedHoles {
  #noted: Piece[] = [];

  /** Zeroes were written there. */
  note(offset: number, length: number): void {
    this.#noted.push({ offset, length });
  }

  /** Those noted so far: a sync that begins after this covers them. */
  take(): readonly Piece[] {
    const taken = this.#noted;
    this.#noted = [];
    return taken;
  }
}

/**
 * `lock` resolves with a slot of the device's range lock; `punch`: false when the session has ended, and the rest is left as it is.
 */
export async function punchAgain(
  d: MirrorDevice,
  pieces: readonly Piece[],
  lock: (start: number, end: number) => Promise<number>,
  punch: (offset: number, length: number) => Promise<boolean>,
): Promise<void> {
  for (const { offset, length } of pieces) {
    const slot = await lock(offset, offset + length);
    try {
      if ((await isHoleStill(d, offset, length)) && !(await punch(offset, length))) return;
    } finally {
      d.lock.release(slot);
    }
  }
}

/** Under the lock. Of a leg that lacks what it failed to write, and a target may have, nothing is believed (M5). */
async function isHoleStill(d: MirrorDevice, offset: number, length: number): Promise<boolean> {
  const { hub, local, losses } = d;
  const isGood = (): boolean => losses.readsWait === undefined && local.state === 'in' && !local.syncFailed;
  return isGood() && (await isHole(hub, local.info, offset, length)) && isGood();
}
