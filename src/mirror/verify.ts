/**
 * Compares all legs while the mirror is in use: each piece under the range lock, so that a write in flight can't look
 * like a difference. What differs is marked for resync; the own leg is taken as right, because it is what reads come from.
 */
import { type Handle, IoError } from '../io/types.ts';
import type { MirrorDevice } from './device.ts';
import type { TargetLeg } from './legs.ts';
import { WAITING } from './range-lock.ts';
import { Pacer } from './pacer.ts';

export interface Difference {
  node: string;
  offset: number;
  length: number;
}

export interface VerifyReport {
  comparedBytes: number;
  differingBytes: number;
  /** The first ones; `differingBytes` counts all. */
  ranges: Difference[];
}

const RANGES_MAX = 1000;

export class Verify {
  readonly #d: MirrorDevice;
  readonly report: VerifyReport = { comparedBytes: 0, differingBytes: 0, ranges: [] };
  readonly startedAt: number;
  #cancelled = false;

  constructor(d: MirrorDevice) {
    this.#d = d;
    this.startedAt = d.clock.now();
  }

  cancel(): void {
    this.#cancelled = true;
  }

  /** Resolves with the targets that differ; marks for them are set and durable. */
  async run(): Promise<TargetLeg[]> {
    const d = this.#d;
    const pacer = new Pacer(d.settings.resync);
    const step = d.settings.resync.copyBytes;
    const differing = new Set<TargetLeg>();
    for (let offset = 0; offset < d.sizeBytes && !this.#cancelled && !d.stopped; offset += step) {
      const length = Math.min(step, d.sizeBytes - offset);
      const wait = pacer.take(length, d.clock.now(), d.lastRequestAt);
      if (wait > 0)
        await new Promise<void>((resolve) => {
          d.clock.after(wait, resolve);
        });
      await this.#piece(offset, length, differing);
      this.report.comparedBytes += length;
    }
    if (differing.size > 0 && !(await d.marks.durable())) throw new Error('the differences could not be marked: the bitmap file can not be written');
    return [...differing];
  }

  async #piece(offset: number, length: number, differing: Set<TargetLeg>): Promise<void> {
    const d = this.#d;
    const slot = await new Promise<number>((resolve) => {
      const s = d.lock.acquire(
        offset,
        offset + length,
        {
          onLocked: (_t, got) => {
            resolve(got);
          },
        },
        0,
      );
      if (s !== WAITING) resolve(s);
    });
    try {
      // A leg that has left is behind: nothing may be judged by it.
      if (d.local.state === 'out') throw new Error('the local leg is out of the mirror; there is nothing to compare the targets with');
      const own = await d.hub.must('read of the local leg', (op) => {
        d.hub.engine.read(op, d.local.info.leg, offset, length);
      });
      try {
        await Promise.all([...d.targets.values()].map((t) => this.#against(t, own.h, offset, length, differing)));
      } finally {
        d.hub.engine.release(own.h);
      }
    } finally {
      d.lock.release(slot);
    }
  }

  async #against(t: TargetLeg, own: Handle, offset: number, length: number, differing: Set<TargetLeg>): Promise<void> {
    const { client, session } = t;
    // An async target lags by design: its queue, not a difference.
    if (t.phase !== 'in-sync' || t.mode !== 'sync' || client === undefined) return;
    const d = this.#d;
    const theirs = await new Promise<{ errno: number; h: Handle }>((resolve) => {
      client.read(
        {
          onDone: (_t, errno, _l, h) => {
            resolve({ errno, h });
          },
        },
        0,
        offset,
        length,
      );
    });
    if (theirs.errno !== 0) {
      if (t.session === session) d.targetFailed(t, new IoError(theirs.errno, `read on ${t.node} during verify`).message, false);
      return;
    }
    // Either side may have left while it was being read.
    if (d.local.state === 'out' || t.session !== session) {
      d.hub.engine.release(theirs.h);
      return;
    }
    const a = d.hub.engine.view(own).subarray(0, length);
    const b = d.hub.engine.view(theirs.h).subarray(0, length);
    const { regions } = d.marks;
    for (let at = 0; at < length; ) {
      const end = Math.min(length, (Math.floor((offset + at) / regions.regionBytes) + 1) * regions.regionBytes - offset);
      if (!equal(a, b, at, end)) {
        const r = regions.regionOf(offset + at);
        d.marks.markOutOfSync(t.node, r, r);
        this.report.differingBytes += end - at;
        if (this.report.ranges.length < RANGES_MAX) this.report.ranges.push({ node: t.node, offset: offset + at, length: end - at });
        differing.add(t);
      }
      at = end;
    }
    d.hub.engine.release(theirs.h);
  }
}

function equal(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i += 1) if (a[i] !== b[i]) return false;
  return true;
}
