/**
 * Compares all legs while the mirror is in use: each piece under the range lock, so that a write in flight can't look
 * like a difference. The own leg is taken as right, because it is what reads come from.
 *
 *   all pieces --difference--> marked, and the target leaves at once (M6) --resynced, in sync again--> what it missed
 *
 * Invariants: a target that differs counts as in sync no longer than until that is known; whatever was not compared is
 * reported, so that "no difference" is never said of bytes that nobody looked at.
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

export interface NotCompared {
  node: string;
  bytes: number;
  why: string;
}

export interface VerifyReport {
  comparedBytes: number;
  differingBytes: number;
  /** The first ones; `differingBytes` counts all. */
  ranges: Difference[];
  /** Targets of which not all was compared. Complete once the run has ended. */
  notCompared: NotCompared[];
}

const RANGES_MAX = 1000;
/** A target that has left so often in one run is not waited for again: it differs in too many places. */
const OWN_LEG_FAILED = 'the local leg has failed, and may lack what a target has';
const LEFT_MAX = 8;
/** How long a target that left may take to come back in sync. */
const BACK_MAX_MS = 60_000;
const LOOK_AGAIN_MS = 200;

interface Range {
  offset: number;
  end: number;
}

/** What one target was not compared in, in order; neighbours are one range. */
interface Missed {
  ranges: Range[];
  why: string;
  /** How often it left because it differed. */
  left: number;
}

export class Verify {
  readonly #d: MirrorDevice;
  readonly #pacer: Pacer;
  readonly report: VerifyReport = { comparedBytes: 0, differingBytes: 0, ranges: [], notCompared: [] };
  readonly startedAt: number;
  readonly #missed = new Map<TargetLeg, Missed>();
  #cancelled = false;

  constructor(d: MirrorDevice) {
    this.#d = d;
    this.#pacer = new Pacer(d.settings.resync);
    this.startedAt = d.clock.now();
  }

  cancel(): void {
    this.#cancelled = true;
  }

  /** Resolves when all that can be compared was, or it was cancelled. Rejects when it could not go on: nothing is known then of the rest. */
  async run(): Promise<void> {
    const d = this.#d;
    const step = d.copyBytes;
    for (let offset = 0; offset < d.sizeBytes && !this.#cancelled; offset += step) {
      const length = Math.min(step, d.sizeBytes - offset);
      await this.#piece(offset, length, () => true);
      this.report.comparedBytes += length;
    }
    for (;;) {
      const back = await this.#whoIsBack();
      if (back.size === 0 || this.#cancelled) break;
      await this.#catchUp(back);
    }
    for (const [t, m] of this.#missed) {
      const bytes = m.ranges.reduce((n, r) => n + r.end - r.offset, 0);
      if (bytes > 0) this.report.notCompared.push({ node: t.node, bytes, why: m.why });
    }
    const differs = [...this.#missed.values()].some((m) => m.left > 0);
    if (differs && !(await d.marks.durable())) throw new Error('the differences could not be marked: the bitmap file can not be written');
  }

  /** Of those that left because they differed, who is in sync again. */
  async #whoIsBack(): Promise<Set<TargetLeg>> {
    const d = this.#d;
    const deadline = d.clock.now() + BACK_MAX_MS;
    for (;;) {
      const away = [...this.#missed].filter(([, m]) => m.left > 0 && m.left < LEFT_MAX && m.ranges.length > 0).map(([t]) => t);
      const back = away.filter((t) => t.phase === 'in-sync');
      const gone = away.every((t) => d.targets.get(t.node) !== t);
      if (back.length > 0 || gone || this.#cancelled || d.stopped || d.clock.now() >= deadline) return new Set(back);
      await this.#sleep(LOOK_AGAIN_MS);
    }
  }

  async #catchUp(back: ReadonlySet<TargetLeg>): Promise<void> {
    const step = this.#d.copyBytes;
    for (const t of back) {
      const m = this.#missed.get(t);
      const ranges = m?.ranges ?? [];
      if (m !== undefined) m.ranges = [];
      for (const r of ranges) {
        for (let offset = r.offset; offset < r.end; offset += step) await this.#piece(offset, Math.min(step, r.end - offset), (x) => x === t);
      }
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#d.clock.after(ms, resolve);
    });
  }

  async #piece(offset: number, length: number, wanted: (t: TargetLeg) => boolean): Promise<void> {
    const d = this.#d;
    const wait = this.#pacer.take(length, d.clock.now(), d.lastRequestAt);
    if (wait > 0) await this.#sleep(wait);
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
      if (d.stopped) throw new Error('the mirror has left service');
      // A leg that has left is behind: nothing may be judged by it.
      if (d.local.state === 'out') throw new Error('the local leg is out of the mirror; there is nothing to compare the targets with');
      if (d.losses.readsWait !== undefined) throw new Error(`${OWN_LEG_FAILED}; there is nothing to compare the targets with`);
      const own = await d.hub.must('read of the local leg', (op) => {
        d.hub.engine.read(op, d.local.info.leg, offset, length);
      });
      try {
        await Promise.all([...d.targets.values()].filter(wanted).map((t) => this.#against(t, own.h, offset, length)));
      } finally {
        d.hub.engine.release(own.h);
      }
    } finally {
      d.lock.release(slot);
    }
  }

  #of(t: TargetLeg): Missed {
    const known = this.#missed.get(t);
    if (known !== undefined) return known;
    const m = { ranges: [], why: '', left: 0 };
    this.#missed.set(t, m);
    return m;
  }

  #miss(t: TargetLeg, offset: number, length: number, why: string): void {
    const m = this.#of(t);
    const last = m.ranges.at(-1);
    if (last?.end === offset) last.end = offset + length;
    else m.ranges.push({ offset, end: offset + length });
    m.why = m.left >= LEFT_MAX ? 'it differs in too many places: resync it fully' : why;
  }

  async #against(t: TargetLeg, own: Handle, offset: number, length: number): Promise<void> {
    const d = this.#d;
    const { client, session, queue } = t;
    if (t.phase !== 'in-sync' || client === undefined || this.#of(t).left >= LEFT_MAX) {
      this.#miss(t, offset, length, t.whyOut === '' ? 'it is not in sync' : `it is not in sync: ${t.whyOut}`);
      return;
    }
    // An async target lags by design: what is queued for these bytes is no difference. The lock lets no more come.
    if (queue?.holds(offset, offset + length) === true) {
      await new Promise<void>((resolve) => {
        queue.boundary(() => {
          resolve();
        });
      });
    }
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
      const why = new IoError(theirs.errno, `read on ${t.node} during verify`).message;
      if (t.session === session) d.targetFailed(t, why, false);
      this.#miss(t, offset, length, why);
      return;
    }
    try {
      // Either side may have left while it was being read.
      if (d.local.state === 'out' || d.losses.readsWait !== undefined) this.#miss(t, offset, length, OWN_LEG_FAILED);
      else if (t.session !== session) this.#miss(t, offset, length, t.whyOut);
      else this.#compare(t, own, theirs.h, offset, length);
    } finally {
      d.hub.engine.release(theirs.h);
    }
  }

  #compare(t: TargetLeg, own: Handle, theirs: Handle, offset: number, length: number): void {
    const d = this.#d;
    const a = d.hub.engine.view(own).subarray(0, length);
    const b = d.hub.engine.view(theirs).subarray(0, length);
    const { regions } = d.marks;
    let differs = false;
    for (let at = 0; at < length; ) {
      const end = Math.min(length, (Math.floor((offset + at) / regions.regionBytes) + 1) * regions.regionBytes - offset);
      if (!equal(a, b, at, end)) {
        const r = regions.regionOf(offset + at);
        d.marks.markOutOfSync(t.node, r, r);
        this.report.differingBytes += end - at;
        if (this.report.ranges.length < RANGES_MAX) this.report.ranges.push({ node: t.node, offset: offset + at, length: end - at });
        differs = true;
      }
      at = end;
    }
    if (!differs) return;
    this.#of(t).left += 1;
    d.targetFailed(t, 'verify found a difference', false, true);
  }
}

function equal(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i += 1) if (a[i] !== b[i]) return false;
  return true;
}
