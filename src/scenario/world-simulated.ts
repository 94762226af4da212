/**
 * The seeded world: the daemons that ship, on simulated disks and links, in virtual time.
 *
 * Everything here happens inside `SimWorld.run`. A call of a daemon that dies meanwhile stays open for ever, so each one
 * is raced against the end of its daemon.
 */
import { DaemonControl } from '../control/actions.ts';
import { loadConfig } from '../control/config.ts';
import { Daemon } from '../control/daemon.ts';
import { configPath } from '../control/places.ts';
import { type ActionName, type Actions, type ControlClient, ControlError } from '../control/types.ts';
import { nodePaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { writeAll } from '../io/atomic-file.ts';
import { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import type { SimNode } from '../io/simulated/node.ts';
import type { SimWorld } from '../io/simulated/world.ts';
import { type Clock, Errno, type Files, type Io } from '../io/types.ts';
import { dirname } from 'node:path';
import { StepFailure } from './errors.ts';
import { configText, tunablesText } from './node-files.ts';
import type { LegFault, ScenarioMirror } from './types.ts';
import { type NodeRunning, type ScenarioWorld, sleep, type Slowness, within } from './world.ts';

const ROOT = '/var/lib/netraid';
const LEG = '/srv/leg';
const PORT = 7788;
const START_MAX_MS = 30_000;
const STOP_MAX_MS = 60_000;
const CALL_MAX_MS = 300_000;
const LINES_KEPT = 200;

interface Running {
  daemon: Daemon;
  client: ControlClient;
  /** Rejects when the daemon is gone. */
  gone: Promise<never>;
  end: (why: string) => void;
}

interface Node {
  sim: SimNode;
  running: Running | undefined;
  hub: EngineHub | undefined;
  lines: string[];
}

export class SimulatedWorld implements ScenarioWorld {
  readonly name = 'simulated';
  readonly losesUnsynced = true;
  readonly clock: Clock;
  readonly #world: SimWorld;
  readonly #mirror: ScenarioMirror;
  readonly #nodes = new Map<NodeName, Node>();
  readonly #onLine: ((line: string) => void) | undefined;

  /** `onLine`: every line of every daemon's log. */
  constructor(world: SimWorld, mirror: ScenarioMirror, onLine?: (line: string) => void) {
    this.#world = world;
    this.#mirror = mirror;
    this.#onLine = onLine;
    this.clock = world.clock;
    for (const { name } of mirror.nodes) {
      const sim = world.node(name);
      sim.createFile(LEG, mirror.sizeBytes);
      this.#nodes.set(name, { sim, running: undefined, hub: undefined, lines: [] });
    }
  }

  running(node: NodeName): NodeRunning {
    const { running, sim } = this.#node(node);
    if (running === undefined) return 'down';
    return sim.state === 'frozen' ? 'frozen' : 'up';
  }

  async up(name: NodeName): Promise<void> {
    const node = this.#node(name);
    if (node.running !== undefined) throw new StepFailure(`${name} is up already`);
    const io = node.sim.boot();
    await this.#writeConfig(name, io.files);
    const loaded = await loadConfig(io.files, ROOT, {});
    const daemon = new Daemon({
      io,
      root: ROOT,
      ...loaded.config,
      settings: loaded.settings,
      tunables: loaded.nodeTunables,
      log: this.#log(name, node),
    });
    const control = new DaemonControl(daemon, {
      version: 'scenario',
      regionBytes: loaded.tunables.regionBytes,
      waitForPreviousSourceSec: loaded.tunables.waitForPreviousSourceSec,
    });
    let end: (why: string) => void = () => undefined;
    const gone = new Promise<never>((_resolve, reject) => {
      end = (why) => {
        reject(new ControlError('unreachable', `${name}: ${why}`));
      };
    });
    // Nobody may be waiting for an answer when it goes.
    gone.catch((e: unknown) => e);
    node.running = { daemon, client: new RacedClient(control, this.clock, gone), gone, end };
    const started = await within(this.clock, START_MAX_MS, daemon.start());
    if (started === undefined) throw new StepFailure(`${name} did not start within ${String(START_MAX_MS)} ms`);
  }

  async down(name: NodeName): Promise<void> {
    const { running } = this.#up(name);
    const stopped = await within(this.clock, STOP_MAX_MS, running.daemon.stop());
    if (stopped === undefined) throw new StepFailure(`${name} did not stop in order within ${String(STOP_MAX_MS)} ms`);
    this.#end(name, 'was stopped');
    this.#node(name).sim.crash();
  }

  crash(names: readonly NodeName[]): Promise<void> {
    for (const n of names) this.#alive(n);
    for (const n of names) {
      this.#end(n, 'has crashed');
      this.#node(n).sim.crash();
    }
    return Promise.resolve();
  }

  powerfail(names: readonly NodeName[]): Promise<void> {
    for (const n of names) this.#alive(n);
    for (const n of names) {
      this.#end(n, 'has lost its power');
      this.#node(n).sim.powerFail();
    }
    return Promise.resolve();
  }

  freeze(name: NodeName): void {
    this.#up(name);
    this.#node(name).sim.freeze();
  }

  thaw(name: NodeName): void {
    if (this.running(name) !== 'frozen') throw new StepFailure(`${name} is ${this.running(name)}, not frozen`);
    this.#node(name).sim.thaw();
  }

  cut(from: NodeName, to: NodeName): void {
    this.#world.cutOneWay(from, to);
  }

  heal(a: NodeName, b: NodeName): void {
    this.#world.heal(a, b);
    this.#world.slow(a, b, {});
  }

  slow(a: NodeName, b: NodeName, { rateBytesPerSec, delayMs }: Slowness): void {
    this.#world.slow(a, b, rateBytesPerSec === null ? { delayMs } : { rateBytesPerSec, delayMs });
  }

  control(name: NodeName): ControlClient {
    return this.#up(name).running.client;
  }

  io(name: NodeName): { io: Pick<Io, 'clock' | 'net'>; hub: EngineHub } {
    const node = this.#node(name);
    const io = this.#world.client(name);
    node.hub ??= new EngineHub(io.createEngine());
    return { io, hub: node.hub };
  }

  root(): string {
    return ROOT;
  }

  legPath(): string {
    return LEG;
  }

  files(name: NodeName): Files {
    return this.#world.client(name).files;
  }

  exists(name: NodeName, path: string): Promise<boolean> {
    return Promise.resolve(this.#node(name).sim.peek(path, 0, 0) !== undefined);
  }

  sizeBytes(name: NodeName, path: string): Promise<number | undefined> {
    return Promise.resolve(this.#node(name).sim.peekSizeBytes(path));
  }

  read(name: NodeName, path: string, offset: number, length: number): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.#node(name).sim.peek(path, offset, length));
  }

  async write(name: NodeName, path: string, offset: number, bytes: Uint8Array): Promise<void> {
    const file = await this.files(name).open(path, { write: true });
    try {
      await writeAll(file, path, bytes, offset);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async unlink(name: NodeName, path: string): Promise<void> {
    const files = this.files(name);
    await files.unlink(path);
    await files.syncDirectory(dirname(path));
  }

  firstDifference(a: NodeName, b: NodeName): Promise<number> {
    return Promise.resolve(this.#node(a).sim.firstDifference(LEG, this.#node(b).sim, LEG));
  }

  fault(name: NodeName, fault: LegFault | null): Promise<void> {
    const { sim } = this.#node(name);
    if (fault === null) sim.repairDisk();
    else if (fault === 'full') sim.fail(LEG, { op: 'write', errno: Errno.ENOSPC });
    else if (fault === 'error read') sim.fail(LEG, { op: 'read', errno: Errno.EIO });
    else if (fault === 'error write') sim.fail(LEG, { op: 'write', errno: Errno.EIO });
    else sim.fail(LEG, { op: 'sync', errno: Errno.EIO });
    return Promise.resolve();
  }

  checkDaemons(): void {
    // A daemon that breaks here ends the simulation itself.
  }

  lastWords(name: NodeName): string[] {
    return this.#node(name).lines;
  }

  // ------------------------------------------------------------------------------------------------------- nodes

  #node(name: NodeName): Node {
    const found = this.#nodes.get(name);
    if (found === undefined) throw new Error(`there is no node ${name}`);
    return found;
  }

  /** Running and not frozen. */
  #up(name: NodeName): { running: Running } {
    const { running } = this.#node(name);
    if (running === undefined || this.running(name) !== 'up') throw new StepFailure(`${name} is ${this.running(name)}`);
    return { running };
  }

  #alive(name: NodeName): void {
    if (this.running(name) === 'down') throw new StepFailure(`${name} is down already`);
  }

  #end(name: NodeName, why: string): void {
    const node = this.#node(name);
    node.running?.end(why);
    node.running = undefined;
    node.lines.push(`${this.#world.now().toFixed(1)} --- ${name} ${why}`);
  }

  async #writeConfig(name: NodeName, files: Files): Promise<void> {
    const address = (n: NodeName): string => `${n}:${String(PORT)}`;
    const others = this.#mirror.nodes.map((n) => n.name).filter((n) => n !== name);
    const config = configText(name, this.#mirror, { listen: address(name), peers: Object.fromEntries(others.map((n) => [n, address(n)])) });
    for (const [path, content] of [
      [configPath(ROOT), config],
      [nodePaths(ROOT).tunables, tunablesText(this.#mirror)],
    ] as const) {
      await files.mkdir(dirname(path));
      const file = await files.open(path, { write: true, create: true });
      await file.truncate(0);
      await writeAll(file, path, new TextEncoder().encode(content));
      await file.close();
    }
  }

  #log(name: NodeName, node: Node): Log {
    const line = (level: string) => (message: string, fields?: Record<string, unknown>) => {
      const text = `${this.#world.now().toFixed(1)} ${name} ${level} ${message} ${fields === undefined ? '' : JSON.stringify(fields)}`;
      node.lines.push(text);
      if (node.lines.length > LINES_KEPT) node.lines.shift();
      this.#onLine?.(text);
    };
    return { info: line('INFO'), warn: line('WARN'), error: line('ERROR') };
  }
}

/** Ends every call when the daemon is gone, or time is up. */
class RacedClient implements ControlClient {
  readonly #inner: ControlClient;
  readonly #clock: Clock;
  readonly #gone: Promise<never>;

  constructor(inner: ControlClient, clock: Clock, gone: Promise<never>) {
    this.#inner = inner;
    this.#clock = clock;
    this.#gone = gone;
  }

  async call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']> {
    // As over a socket: the answer comes later, and is a copy.
    await sleep(this.#clock, 0);
    const answered = await within(this.#clock, CALL_MAX_MS, Promise.race([this.#inner.call(action, params), this.#gone]));
    if (answered === undefined) throw new ControlError('unreachable', `${action} was not answered within ${String(CALL_MAX_MS)} ms`);
    return structuredClone(answered.value);
  }

  events(...args: Parameters<ControlClient['events']>): ReturnType<ControlClient['events']> {
    return this.#inner.events(...args);
  }
}
