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
  /** Writes can't be made safe now: they are answered with an error. */
  readonly refusing: boolean;
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
  #needsGeneration = false;

  constructor(gate: Gate, host: MirrorHost, log: Log, owner: IssueOwner) {
    this.#gate = gate;
    this.#host = host;
    this.#log = log;
    this.#owner = owner;
  }

  enter(m: MirrorRequest): void {
    if (this.#ready.length === 0 && this.#gate.mayIssue && !this.#needsGeneration && !this.#owner.refusing && this.#owner.hasRoom(m)) {
      this.#owner.issue(m);
      return;
    }
    this.#ready.push(m);
    this.drain();
  }

  /** The next write waits for a new generation. */
  needGeneration(): void {
    this.#needsGeneration = true;
  }

  drain(): void {
    while (this.#ready.length > 0 && this.#gate.mayIssue) {
      const m = this.#ready[0];
      if (m === undefined) return;
      const changes = m.kind !== RequestKind.READ && m.kind !== RequestKind.FLUSH;
      if (this.#owner.refusing && m.kind !== RequestKind.READ) {
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
      this.#owner.issue(m);
    }
  }

  /** Takes out what waits, all of it or only what changes data or says that it is durable. */
  take(which: 'all' | 'writes'): MirrorRequest[] {
    const ready = this.#ready;
    this.#ready = which === 'all' ? [] : ready.filter((m) => m.kind === RequestKind.READ);
    return which === 'all' ? ready : ready.filter((m) => m.kind !== RequestKind.READ);
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
