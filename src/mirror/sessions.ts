/** Targets and their sessions, as the device knows them: which slot, whether writes go there, whether they count. */
import { answerText } from './answer-text.ts';
import type { NodeName } from '../failover/types.ts';
import type { EngineHub } from '../io/hub.ts';
import { AsyncQueue, type AsyncLimits } from './async-queue.ts';
import { TargetLeg, type TargetMode } from './legs.ts';
import type { Marks } from './marks.ts';
import { LEGS_MAX } from './request.ts';
import type { TargetClient } from './target-client.ts';

export interface SessionsOwner {
  readonly marks: Marks;
  /** Writes that nobody is told of (`Engine.serve`). */
  readonly served: { look(): void; readonly underWay: boolean };
  targetFailed(t: TargetLeg, why: string, syncFailed: boolean): void;
  /** An async queue has room again. */
  goOn(): void;
}

export class Sessions {
  readonly targets = new Map<NodeName, TargetLeg>();
  readonly #bySlot: (TargetLeg | undefined)[] = new Array<TargetLeg | undefined>(LEGS_MAX).fill(undefined);
  readonly #hub: EngineHub;
  readonly #limits: AsyncLimits;
  readonly #owner: SessionsOwner;

  constructor(hub: EngineHub, limits: AsyncLimits, owner: SessionsOwner) {
    this.#hub = hub;
    this.#limits = limits;
    this.#owner = owner;
  }

  at(slot: number): TargetLeg | undefined {
    return this.#bySlot[slot];
  }

  add(node: NodeName, mode: TargetMode, foreign: boolean): TargetLeg {
    for (let slot = 1; slot < LEGS_MAX; slot += 1) {
      if (this.#bySlot[slot] !== undefined) continue;
      const t = new TargetLeg(node, slot, mode, foreign);
      this.#bySlot[slot] = t;
      this.targets.set(node, t);
      this.#owner.served.look();
      return t;
    }
    throw new Error(`a mirror has at most ${String(LEGS_MAX - 1)} targets`);
  }

  /** The target must be out. Its marks are the host's to drop. */
  remove(node: NodeName): void {
    const t = this.targets.get(node);
    if (t === undefined) return;
    if (t.phase !== 'out') throw new Error(`${node} is still in a session`);
    this.targets.delete(node);
    this.#bySlot[t.slot] = undefined;
  }

  /** Application writes go to the target from now on, except where its regions are still to be copied. */
  open(t: TargetLeg, client: TargetClient): void {
    if (t.phase !== 'out') throw new Error(`${t.node} has a session already`);
    if (this.#owner.served.underWay) throw new Error(`writes that ${t.node} would not get may be under way`);
    t.session += 1;
    const { session } = t;
    t.client = client;
    t.toCopy = this.#owner.marks.outOfSync(t.node).clone();
    t.phase = 'resyncing';
    client.onClosed((_errno, why) => {
      if (t.session === session) this.#owner.targetFailed(t, why, false);
    });
  }

  /** From this turn on the target counts: no write is acknowledged without it. */
  require(t: TargetLeg): void {
    if (t.phase !== 'resyncing' || t.client === undefined) throw new Error(`${t.node} is not resyncing`);
    t.phase = 'in-sync';
    t.toCopy = undefined;
    t.rewriteAll = false;
    if (t.mode === 'sync') return;
    t.queue = new AsyncQueue(t.client, this.#limits, {
      release: (h) => {
        this.#hub.engine.release(h);
      },
      entryEnded: (first, last) => {
        this.#owner.marks.intent.end(first, last);
      },
      room: () => {
        this.#owner.goOn();
      },
      failed: (errno, atFlush) => {
        this.#owner.targetFailed(t, `${atFlush ? 'flush' : 'write'} on ${t.node}: ${answerText(errno)}`, atFlush);
      },
    });
  }
}
