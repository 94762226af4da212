/**
 * What the other nodes of a mirror last said of themselves, and for how long each has been silent about it. A daemon that
 * runs and does not speak of the mirror, because its record is damaged, missing or deleted, can not serve it, whatever an
 * earlier life of it said: from then on the node counts as silent.
 */
import type { Facts, NodeName, NodeView } from './types.ts';

interface Clocks {
  now(): number;
  /** Of the whole daemon, ms; undefined: never heard since start. */
  silentForMs(node: NodeName): number | undefined;
}

/** How late a message can be. A machine that was set back to a snapshot says what looks older, for good. */
const LATE_MAX_MS = 10_000;

export class PeerViews {
  readonly #clocks: Clocks;
  readonly #views = new Map<NodeName, NodeView>();
  readonly #heardAt = new Map<NodeName, number>();
  /** Since when its daemon has not spoken of the mirror, although it spoke. */
  readonly #mute = new Map<NodeName, number>();

  constructor(clocks: Clocks) {
    this.#clocks = clocks;
  }

  get(node: NodeName): NodeView | undefined {
    return this.#views.get(node);
  }

  all(): [NodeName, NodeView][] {
    return [...this.#views];
  }

  /**
   * `view` undefined: its daemon was heard, and said nothing of the mirror. False: it has said something later, which came first. An answer
   * and a heartbeat come on connections of their own, and one of them may be late.
   */
  heard(node: NodeName, view: NodeView | undefined): boolean {
    if (view !== undefined) {
      const now = this.#clocks.now();
      if (isLater(this.#views.get(node), view) && now - (this.#heardAt.get(node) ?? -Infinity) < LATE_MAX_MS) return false;
      this.#views.set(node, view);
      this.#heardAt.set(node, now);
      this.#mute.delete(node);
    } else if (!this.#mute.has(node)) this.#mute.set(node, this.#clocks.now());
    return true;
  }

  /** ms; undefined: never heard since start. */
  silentForMs(node: NodeName): number | undefined {
    const since = this.#mute.get(node);
    const ms = this.#clocks.silentForMs(node);
    return since === undefined || ms === undefined ? ms : Math.max(ms, this.#clocks.now() - since);
  }

  /** Of those among them that have spoken. */
  facts(nodes: readonly NodeName[]): Facts['peers'] {
    const peers: Facts['peers'] = {};
    for (const n of nodes) {
      const view = this.#views.get(n);
      const silentForMs = this.silentForMs(n);
      const heardAt = this.#heardAt.get(n);
      if (view !== undefined && silentForMs !== undefined && heardAt !== undefined)
        peers[n] = { view, silentForMs, saidForMs: this.#clocks.now() - heardAt };
    }
    return peers;
  }
}

/** Of one start of a daemon: nothing is known of the order of two starts, nor of what an older version says. */
function isLater(known: NodeView | undefined, view: NodeView): boolean {
  if (known?.saidAtMs === undefined || view.saidAtMs === undefined) return false;
  return known.node === view.node && known.daemonStart === view.daemonStart && known.saidAtMs > view.saidAtMs;
}
