/**
 * Proves, now and then, that what was written is on stable storage of every leg in session, so that intent marks can go
 * (M5) although the application never flushes. An application that flushes proves its own writes; this then does nothing.
 */
import { answerText } from './answer-text.ts';
import { errnoName, type Timer } from '../io/types.ts';
import type { MirrorDevice } from './device.ts';
import type { Marks } from './marks.ts';

export class Prover {
  readonly #d: MirrorDevice;
  #timer: Timer | undefined;
  #running: Promise<boolean> | undefined;
  /** The proof that begins when the running one has ended: for all who ask meanwhile. */
  #next: Promise<boolean> | undefined;
  #stopped = false;
  #writesAtLastTick = -1;
  /** Since when no tick has found a write. */
  #quietSince = 0;
  #provenAtLastTick = 0;

  constructor(d: MirrorDevice) {
    this.#d = d;
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#d.clock.after(this.#d.settings.proveIdleMs, () => {
      void this.#tick().finally(() => {
        this.start();
      });
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** No proof is running. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #tick(): Promise<void> {
    const { intent } = this.#d.marks;
    if (this.#d.stopped || this.#d.suspension !== null || intent.markedRegions === 0) return;
    // Who has flushed since the last tick is left to flush again: each FLUSH reaches each leg as one, and no more come.
    const flushes = intent.provenSeq !== this.#provenAtLastTick;
    if (this.#d.marks.hasUnproven && !flushes && !(await this.prove())) return;
    this.#provenAtLastTick = intent.provenSeq;
    const writes = this.#d.counters.writes;
    if (writes !== this.#writesAtLastTick) this.#quietSince = this.#d.clock.now();
    this.#writesAtLastTick = writes;
    // A hot set keeps its marks, also through a pause; a device that has gone quiet lets go of all of them.
    const quiet = this.#d.clock.now() - this.#quietSince >= this.#d.settings.keepIdleMs;
    const { marks } = this.#d;
    if ((await marks.collectInTurns(!quiet, this.#turns(marks))) > 0 && this.#isOwner(marks)) await marks.durable();
  }

  /** What is proven lets go of its marks, so that there is room for others. */
  makeRoom(): Promise<number> {
    const { marks } = this.#d;
    return marks.makeRoom(this.#turns(marks));
  }

  #turns(marks: Marks): () => Promise<boolean> {
    return () =>
      new Promise((resolve) => {
        this.#d.clock.after(0, () => {
          resolve(this.#isOwner(marks));
        });
      });
  }

  /** Once the term is over the next one's marks are in the same file, and what this one has proven says nothing of them (M1, M5). */
  #isOwner(marks: Marks): boolean {
    return !this.#d.stopped && this.#d.marks === marks;
  }

  /** Syncs every leg in session; true: everything written before the call is proven. */
  prove(): Promise<boolean> {
    if (this.#running === undefined) return this.#begin();
    // The running one began before whatever its caller means to be proven.
    this.#next ??= this.#running.then(() => {
      this.#next = undefined;
      return this.#begin();
    });
    return this.#next;
  }

  /**
   * While nothing is admitted, and nothing in hand: true once everything is proven, and no mark is left but those of an earlier life. What
   * the first proof brings to an async target out of its queue, only the second one covers.
   */
  async proveAll(): Promise<boolean> {
    for (let proofs = 0; proofs < 2; proofs += 1) {
      if (!(await this.prove())) return false;
      this.#d.marks.collect(false);
      if (!this.#d.marks.hasUnproven) break;
    }
    return !this.#d.marks.hasUnproven;
  }

  #begin(): Promise<boolean> {
    const running = this.#prove().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #prove(): Promise<boolean> {
    const d = this.#d;
    // Of the geometry that this proof began in.
    const { marks } = d;
    const seal = marks.seal();
    const legs: Promise<boolean>[] = [];
    for (const t of d.targets.values()) {
      const { client, queue, session } = t;
      if (!t.inSession || client === undefined) continue;
      legs.push(
        new Promise<boolean>((resolve) => {
          const done = (errno: number): void => {
            if (errno !== 0 && t.session === session) d.targetFailed(t, `flush on ${t.node}: ${answerText(errno)}`, true);
            // A target that has left keeps all marks: what it had not synced is in its own map.
            resolve(true);
          };
          if (queue !== undefined) queue.boundary(done);
          else
            client.flush(
              {
                onDone: (_t, errno) => {
                  done(errno);
                },
              },
              0,
            );
        }),
      );
    }
    if (d.local.state === 'in') {
      const own = d.hub.run((op) => {
        d.hub.engine.sync(op, d.local.info.leg);
      });
      legs.push(
        own.then((r) => {
          if (r.errno === 0) return !d.local.syncFailed;
          d.local.syncFailed = true;
          d.localFailed(`sync of the local leg: ${errnoName(r.errno)}`);
          return false;
        }),
      );
    }
    const all = await Promise.all(legs);
    // What the own leg has failed to write a target may have: until either has left, no sync makes the two alike.
    if (!all.every(Boolean) || d.stopped || d.losses.ownLegSettling !== undefined) return false;
    marks.intent.proven(seal);
    return true;
  }
}
