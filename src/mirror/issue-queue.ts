/**
 * Requests that need nothing more before the legs: they go in order, as soon as no loss is being settled, no generation is
 * due and every async target has room.
 */
import type { Log } from '../io/log.ts';
import type { Gate } from './gate.ts';
import type { MirrorHost } from './host.ts';
import { type MirrorRequest, RequestKind } from './request.ts';

export interface IssueOwner {
  hasRoom(m: MirrorRequest): boolean;
  readonly losses: {
    /** Writes can't be made safe now: they are answered with an error. */
    readonly marksFailed: boolean;
    /** Until this ends, nothing is read; undefined: reads need not wait. */
    readonly readsWait: Promise<void> | undefined;
  };
  issue(m: MirrorRequest): void;
  refuse(m: MirrorRequest): void;
  /** No generation could be committed. */
  giveUp(): void;
}

const GENERATION = 'generation';

export class IssueQueue {
  readonly #gate: Gate;
  readonly #host: MirrorHost;
  readonly #log: Log;
  readonly #owner: IssueOwner;
  #ready: MirrorRequest[] = [];
  #reads = 0;
  #needsGeneration = false;

  constructor(gate: Gate, host: MirrorHost, log: Log, owner: IssueOwner) {
    this.#gate = gate;
    this.#host = host;
    this.#log = log;
    this.#owner = owner;
  }

  enter(m: MirrorRequest): void {
    if (this.#ready.length === 0 && this.#gate.mayIssue && !this.#needsGeneration && !this.#owner.losses.marksFailed && this.#owner.hasRoom(m)) {
      this.#owner.issue(m);
      return;
    }
    this.#ready.push(m);
    if (m.kind === RequestKind.READ) this.#reads += 1;
    this.drain();
  }

  /** The next write waits for a new generation. */
  needGeneration(): void {
    this.#needsGeneration = true;
    this.#gate.shut();
  }

  /** Nothing waits, and nothing has to: a write would be issued at once. */
  get isClear(): boolean {
    return !this.#needsGeneration && this.#ready.length === 0 && !this.#owner.losses.marksFailed && this.#owner.losses.readsWait === undefined;
  }

  drain(): void {
    // They have waited for the own leg's fate, and wait for no target's.
    if (this.#reads > 0 && this.#owner.losses.readsWait === undefined && this.#gate.suspended.size === 0) {
      for (const m of this.take('reads')) this.#owner.issue(m);
    }
    while (this.#ready.length > 0 && this.#gate.mayIssue) {
      const m = this.#ready[0];
      if (m === undefined) return;
      const changes = m.kind !== RequestKind.READ && m.kind !== RequestKind.FLUSH;
      if (this.#owner.losses.marksFailed && m.kind !== RequestKind.READ) {
        this.#ready.shift();
        this.#owner.refuse(m);
        continue;
      }
      if (this.#needsGeneration && changes) {
        this.#commitGeneration();
        return;
      }
      if (!this.#owner.hasRoom(m)) return;
      this.#ready.shift();
      if (m.kind === RequestKind.READ) this.#reads -= 1;
      this.#owner.issue(m);
    }
  }

  /** Takes out what waits, all of it, or only reads, or only what changes data or says that it is durable. */
  take(which: 'all' | 'reads' | 'writes'): MirrorRequest[] {
    const taken = (m: MirrorRequest): boolean => which === 'all' || (m.kind === RequestKind.READ) === (which === 'reads');
    const out = this.#ready.filter(taken);
    this.#ready = this.#ready.filter((m) => !taken(m));
    if (which !== 'writes') this.#reads = 0;
    return out;
  }

  #commitGeneration(): void {
    if (this.#gate.held.has(GENERATION)) return;
    this.#gate.held.add(GENERATION);
    // Whoever asks for one from now on means a later one.
    this.#needsGeneration = false;
    this.#host.commitGeneration().then(
      () => {
        this.#gate.held.delete(GENERATION);
        this.drain();
      },
      (e: unknown) => {
        this.#log.error('a new generation could not be committed; the device stops answering', { error: String(e) });
        this.#gate.held.delete(GENERATION);
        this.#owner.giveUp();
      },
    );
  }
}
