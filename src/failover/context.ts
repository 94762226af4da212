/** What the parts of one mirror's node share. */
import type { RecordStore } from './record.ts';
import type { NodeEnv } from './env.ts';
import type { OwnFlags } from './own-flags.ts';
import type { Epoch, NodeName, NodeView, StateRecord } from './types.ts';

export interface NodeContext {
  readonly env: NodeEnv;
  readonly tag: string;
  readonly store: RecordStore;
  record(): StateRecord;
  /** This node's view of itself, as of now. */
  view(): NodeView;
  /** What a peer last said of itself in a heartbeat or an answer; undefined: nothing since start. */
  peerView(node: NodeName): NodeView | undefined;
  /** Milliseconds since the peer was heard on any path; Infinity: never since start. */
  silentForMs(node: NodeName): number;
  /** The same of the mirror alone: a daemon that runs and says nothing of it is silent, too. */
  mirrorSilentForMs(node: NodeName): number;
  /** Grows each time this process has stood still for failureTimeout or more. */
  readonly stalls: number;
  /** A fresh view, asked for now; null: the peer does not know the mirror. Rejects with ClusterError. */
  askView(node: NodeName, timeoutMs: number): Promise<NodeView | null>;
  /** Somebody serves, or has seen, a higher epoch than ours: this node must stop answering (M9). */
  superseded(by: Epoch, why: string, dropOwnership?: boolean): void;
  readonly own: OwnFlags;
  /** Status has changed: peers and people should hear of it. */
  changed(): void;
}

/** A wait without an end of its own is still looked at again this often. */
const LOOK_AGAIN_MS = 60_000;

/** A condition that is looked at again when somebody says that something has changed, or after a while. */
export class Changes {
  readonly #after: (ms: number, f: () => void) => { cancel(): void };
  #waiting = new Set<() => void>();

  constructor(after: (ms: number, f: () => void) => { cancel(): void }) {
    this.#after = after;
  }

  notify(): void {
    const w = this.#waiting;
    this.#waiting = new Set();
    for (const f of w) f();
  }

  /** Until the next `notify`, at most `timeoutMs`. */
  next(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#after(timeoutMs, () => {
        this.#waiting.delete(end);
        resolve();
      });
      const end = (): void => {
        timer.cancel();
        resolve();
      };
      this.#waiting.add(end);
    });
  }

  /** Until `holds()`, at most `timeoutMs`; whether it held. */
  async until(holds: () => boolean, now: () => number, timeoutMs: number): Promise<boolean> {
    const deadline = now() + timeoutMs;
    while (!holds()) {
      const left = deadline - now();
      if (left <= 0) return false;
      await this.next(Math.min(left, LOOK_AGAIN_MS));
    }
    return true;
  }
}
