/** Sends one request to the legs that it concerns; the answers go to the owner with (request index, leg slot) as their tag. */
import type { EngineHub, OpOwner } from '../io/hub.ts';
import type { AsyncQueue } from './async-queue.ts';
import type { LocalLeg, TargetLeg } from './legs.ts';
import type { Marks } from './marks.ts';
import type { OwnLegOps } from './own-leg-ops.ts';
import { type MirrorRequest, RequestKind, SLOTS } from './request.ts';
import type { TargetClient } from './target-client.ts';

export class LegIo {
  readonly #hub: EngineHub;
  readonly #owner: OpOwner;
  readonly #own: OwnLegOps;
  readonly #local: LocalLeg;
  readonly #targets: ReadonlyMap<string, TargetLeg>;

  constructor(hub: EngineHub, owner: OpOwner, own: OwnLegOps, local: LocalLeg, targets: ReadonlyMap<string, TargetLeg>) {
    this.#hub = hub;
    this.#owner = owner;
    this.#own = own;
    this.#local = local;
    this.#targets = targets;
  }

  /** False: some async target's queue is full, and holds the writer back. */
  hasRoom(m: MirrorRequest): boolean {
    if (m.kind === RequestKind.READ || m.kind === RequestKind.FLUSH) return true;
    const payloadBytes = m.kind === RequestKind.WRITE ? m.length : 0;
    for (const t of this.#targets.values()) if (t.phase === 'in-sync' && t.queue?.hasRoom(payloadBytes) === false) return false;
    return true;
  }

  /** Adds to `m.pending` each answer that will come. */
  write(m: MirrorRequest, marks: Marks): void {
    for (const t of this.#targets.values()) {
      const client = t.client;
      if (!t.inSession || client === undefined) continue;
      if (t.phase === 'in-sync' && t.queue !== undefined) {
        this.#enqueue(m, t.queue, marks);
      } else if (t.phase !== 'resyncing' || t.toCopy?.coversRange(m.first, m.last) !== true) {
        m.pending += 1;
        send(client, this.#owner, m, m.index * SLOTS + t.slot);
      }
    }
    if (this.#local.state === 'out') return;
    m.pending += 1;
    this.#own.begin(m);
  }

  #enqueue(m: MirrorRequest, queue: AsyncQueue, marks: Marks): void {
    // One more pending count for the time until the target has it.
    marks.intent.begin(m.first, m.last);
    if (m.kind === RequestKind.WRITE) {
      this.#hub.engine.retain(m.h);
      queue.write(m.offset, m.length, m.h, m.first, m.last);
    } else {
      queue.zero(m.kind === RequestKind.TRIM ? 'trim' : 'zero', m.offset, m.length, m.mayPunch, m.first, m.last);
    }
  }

  /** To the own leg and every in-sync sync target (M3); a flush boundary to the async ones. */
  flush(m: MirrorRequest): void {
    m.provesAll = true;
    for (const t of this.#targets.values()) {
      if (!t.inSession || t.client === undefined) continue;
      if (t.phase === 'in-sync' && t.queue === undefined) {
        m.pending += 1;
        t.client.flush(this.#owner, m.index * SLOTS + t.slot);
      } else {
        m.provesAll = false;
        t.queue?.boundary();
      }
    }
    if (this.#local.state === 'out') return;
    m.pending += 1;
    this.#own.begin(m);
  }

  /** From the own leg, else from an in-sync target; false: nobody has the data. */
  read(m: MirrorRequest): boolean {
    if (this.#local.state === 'in') {
      m.readFrom = 0;
      this.#own.begin(m);
      return true;
    }
    const t = this.readableTarget();
    if (t?.client === undefined) return false;
    m.readFrom = t.slot;
    t.client.read(this.#owner, m.index * SLOTS + t.slot, m.offset, m.length);
    return true;
  }

  readableTarget(): TargetLeg | undefined {
    for (const t of this.#targets.values()) if (t.phase === 'in-sync' && t.mode === 'sync') return t;
    return undefined;
  }
}

function send(client: TargetClient, owner: OpOwner, m: MirrorRequest, tag: number): void {
  if (m.kind === RequestKind.WRITE) client.write(owner, tag, m.offset, m.length, m.h, 0, m.fua);
  else if (m.kind === RequestKind.TRIM) client.trim(owner, tag, m.offset, m.length, m.fua);
  else client.writeZeroes(owner, tag, m.offset, m.length, m.fua, m.mayPunch);
}
