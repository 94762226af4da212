/**
 * Heartbeats over several paths: a peer counts as silent only when every path is. Where one path between two nodes has been
 * whole for a while, whatever happens to the others, neither may take the other for lost.
 */
import type { Cluster, Machine } from './cluster.ts';

/** A path that was cut, slow, or led to a node that stood still or was down has settled by then: connections are made anew. */
const SETTLED_MS = 1200;

export class PathChecks {
  readonly #c: Cluster;
  /** For each pair and network, since when nothing has been wrong with it, ms. */
  readonly #wholeSince = new Map<string, number>();
  /** Incarnation and state of each node when looked at last. */
  readonly #states = new Map<Machine, string>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  look(): void {
    const { networks, failureTimeoutMs } = this.#c.plan;
    if (networks.length < 2) return;
    const now = this.#c.world.now();
    const disturbed = new Set(this.#c.all.filter((m) => this.#isDisturbed(m)));
    for (const a of this.#c.all) {
      for (const b of this.#c.all) {
        if (a === b) continue;
        const whole = networks.filter((w) => this.#isWhole(a, b, w, disturbed, now));
        if (whole.length === 0) continue;
        const silentForMs = a.mirror?.env.cluster.silentForMs(b.name);
        if (silentForMs === undefined) continue;
        this.#c.checked(whole.length < networks.length ? 'heartbeats (a path lost)' : 'heartbeats (all paths whole)');
        if (silentForMs >= failureTimeoutMs) {
          this.#c.violated(
            'heartbeats',
            `${a.name} has not heard ${b.name} for ${silentForMs.toFixed(0)} ms, and network ${whole.join(', ')} is whole`,
          );
        }
      }
    }
  }

  #isDisturbed(m: Machine): boolean {
    const state = `${m.sim.state} ${String(m.sim.boots)} ${String(m.busy)}`;
    const same = this.#states.get(m) === state;
    this.#states.set(m, state);
    return !same || !m.up;
  }

  #isWhole(a: Machine, b: Machine, network: string, disturbed: ReadonlySet<Machine>, now: number): boolean {
    const key = `${a.name}>${b.name}/${network}`;
    const { world } = this.#c;
    const isBroken = (from: Machine, to: Machine): boolean =>
      world.isCut(from.name, to.name, network) || world.isDamaging(from.name, to.name, network);
    const troubled = [...disturbed].some((m) => m === a || m === b) || isBroken(a, b) || isBroken(b, a);
    if (troubled || !this.#wholeSince.has(key)) this.#wholeSince.set(key, now);
    return now - (this.#wholeSince.get(key) ?? now) >= SETTLED_MS;
  }
}
