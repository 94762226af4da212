/** Looks at nodes from outside: their daemons' status and the flag files on their disks. */
import { ControlError, type MirrorStatus } from '../control/types.ts';
import { mirrorPaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import type { Seen } from './expect.ts';
import type { ScenarioMirror } from './types.ts';
import { type ScenarioWorld, within } from './world.ts';

/** A daemon that has not said how it is by then does not answer. */
const STATUS_MAX_MS = 2000;
const NAME_MAX_BYTES = 256;

export class Observer {
  readonly #world: ScenarioWorld;
  readonly #mirror: ScenarioMirror;

  constructor(world: ScenarioWorld, mirror: ScenarioMirror) {
    this.#world = world;
    this.#mirror = mirror;
  }

  /** Status, or why there is none. */
  async status(node: NodeName): Promise<{ status: MirrorStatus } | { why: string }> {
    const running = this.#world.running(node);
    if (running !== 'up') return { why: `the daemon is ${running}` };
    try {
      const call = this.#world.control(node).call('status', { tag: this.#mirror.tag });
      const found = await within(this.#world.clock, STATUS_MAX_MS, call);
      return found === undefined ? { why: 'the daemon does not answer' } : { status: found.value };
    } catch (e: unknown) {
      if (!(e instanceof ControlError)) throw e;
      return { why: e.message };
    }
  }

  async see(node: NodeName): Promise<Seen> {
    const [found, flags] = await Promise.all([this.status(node), this.#flags(node)]);
    return {
      running: this.#world.running(node) !== 'down',
      flags,
      status: 'status' in found ? found.status : null,
      why: 'why' in found ? found.why : '',
    };
  }

  /** Of these at one moment, as near as can be. */
  async seeAll(nodes: readonly NodeName[]): Promise<Record<NodeName, Seen>> {
    return Object.fromEntries(await Promise.all(nodes.map(async (n) => [n, await this.see(n)] as const)));
  }

  /** The node in service; of two that say so, the one of the later epoch. */
  async inService(): Promise<MirrorStatus | undefined> {
    const all = await Promise.all(this.#mirror.nodes.map((n) => this.status(n.name)));
    const serving = all.flatMap((f) => ('status' in f && f.status.inService ? [f.status] : []));
    return serving.sort((a, b) => (b.epoch?.number ?? 0) - (a.epoch?.number ?? 0))[0];
  }

  async #flags(node: NodeName): Promise<Seen['flags']> {
    const paths = mirrorPaths(this.#world.root(node), this.#mirror.tag);
    const [lastOwner, dataCorrupt, source] = await Promise.all([
      this.#world.exists(node, paths.lastOwner),
      this.#world.exists(node, paths.dataCorrupt),
      this.#world.read(node, paths.source, 0, NAME_MAX_BYTES),
    ]);
    return { lastOwner, dataCorrupt, source: source === undefined ? null : new TextDecoder().decode(source).trim() };
  }
}
