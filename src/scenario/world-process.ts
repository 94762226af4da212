/**
 * The world as it is: real daemons on real files below one temporary folder, linked through relays.
 *
 *   FOLDER/NODE       the node's root, its leg, and what its leg is asked to do wrong
 *   FOLDER/NODE.log   what its daemons said
 */
import { existsSync, readFileSync } from 'node:fs';
import { type FileHandle, mkdir, mkdtemp, open, rename, rm, truncate, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { configPath } from '../control/places.ts';
import type { ControlClient } from '../control/types.ts';
import { nodePaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { EngineHub } from '../io/hub.ts';
import { nodeClock } from '../io/node/clock.ts';
import { createNodeIo } from '../io/node/node-io.ts';
import type { Clock, Files, Io } from '../io/types.ts';
import { StepFailure } from './errors.ts';
import { configText, tunablesText } from './node-files.ts';
import { DaemonProcess, daemonCommand, forgetFolder, removeAtEnd } from './process-daemon.ts';
import { Relays } from './process-relay.ts';
import type { Outcome } from './report.ts';
import { runSteps } from './runner.ts';
import type { LegFault, Scenario, ScenarioMirror } from './types.ts';
import { type CommandRunner, type NodeRunning, type ScenarioWorld, sleep, type Slowness } from './world.ts';

/** A longer one leaves too little of what a unix socket's path may have. */
const TEMPORARY_MAX_CHARS = 50;
/** The wrapper of a leg looks for faults this often at least. */
const FAULT_SEEN_MS = 100;
const CHUNK_BYTES = 1024 * 1024;
const HOUR_MS = 3_600_000;
/** Below the ports that the kernel gives to outgoing connections. */
const PORT_FROM = 10_000;
const PORT_TO = 32_000;
const PORTS_TRIED = 200;

interface Node {
  root: string;
  logPath: string;
  address: { host: string; port: number };
  daemon: DaemonProcess | undefined;
  /** Of its leg, until diskok. */
  faults: Set<LegFault>;
}

export interface ProcessOptions {
  command: CommandRunner;
  /** Not null: the nodes' folders are left behind, and it is told where. */
  keep: ((line: string) => void) | null;
  /** Of the daemons; by default what the environment asks for. */
  engine?: string | undefined;
}

export async function runInProcesses(scenario: Scenario, o: ProcessOptions): Promise<Outcome> {
  const began = nodeClock.now();
  // The clock's timers do not keep this process alive.
  const hold = setInterval(() => undefined, HOUR_MS);
  const world = await ProcessWorld.make(scenario.mirror, o.engine);
  try {
    await o.command.load();
    const failure = await runSteps(scenario, world, o.command);
    const seconds = (nodeClock.now() - began) / 1000;
    return { file: scenario.file, scenario: scenario.title, world: 'process', seed: null, steps: scenario.steps.length, seconds, failure };
  } finally {
    await world.close(o.keep !== null);
    o.keep?.(`${scenario.file}: the nodes' folders are in ${world.folder}`);
    clearInterval(hold);
  }
}

export class ProcessWorld implements ScenarioWorld {
  readonly name = 'process';
  readonly losesUnsynced = false;
  readonly clock: Clock = nodeClock;
  readonly folder: string;
  readonly #io: Io = createNodeIo();
  readonly #engine: string | undefined;
  readonly #hub: EngineHub;
  readonly #nodes: Map<NodeName, Node>;
  readonly #relays: Relays;
  readonly #command = daemonCommand();

  private constructor(folder: string, nodes: Map<NodeName, Node>, relays: Relays, engine: string | undefined) {
    this.#engine = engine;
    this.folder = folder;
    this.#nodes = nodes;
    this.#relays = relays;
    this.#hub = new EngineHub(this.#io.createEngine());
  }

  static async make(mirror: ScenarioMirror, engine = process.env['NETRAID_ENGINE']): Promise<ProcessWorld> {
    const temporary = tmpdir().length > TEMPORARY_MAX_CHARS ? '/tmp' : tmpdir();
    const folder = await mkdtemp(join(temporary, 'netraid-scenario-'));
    removeAtEnd(folder);
    const relays = new Relays();
    const nodes = new Map<NodeName, Node>();
    for (const { name } of mirror.nodes) {
      const root = join(folder, name);
      nodes.set(name, {
        root,
        logPath: `${root}.log`,
        address: { host: '127.0.0.1', port: await freePort(nodes) },
        daemon: undefined,
        faults: new Set(),
      });
    }
    for (const [name, node] of nodes) {
      const peers: Record<NodeName, string> = {};
      for (const [other, { address }] of nodes) {
        if (other !== name) peers[other] = `127.0.0.1:${String(await relays.open(name, other, address.host, address.port))}`;
      }
      const listen = `${node.address.host}:${String(node.address.port)}`;
      await mkdir(faultsPath(node), { recursive: true });
      for (const [path, content] of [
        [configPath(node.root), configText(name, mirror, { listen, peers })],
        [nodePaths(node.root).tunables, tunablesText(mirror)],
        [legOf(node), ''],
      ] as const) {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, content);
      }
      await truncate(legOf(node), mirror.sizeBytes);
    }
    return new ProcessWorld(folder, nodes, relays, engine);
  }

  async close(keep: boolean): Promise<void> {
    for (const n of this.#nodes.values()) await n.daemon?.kill();
    await this.#hub.engine.shutdown();
    await this.#relays.close();
    forgetFolder(this.folder);
    if (!keep) await rm(this.folder, { recursive: true, force: true });
  }

  running(name: NodeName): NodeRunning {
    const { daemon } = this.#node(name);
    if (daemon === undefined) return 'down';
    return daemon.frozen ? 'frozen' : 'up';
  }

  async up(name: NodeName): Promise<void> {
    const node = this.#node(name);
    if (node.daemon !== undefined) throw new StepFailure(`${name} is up already`);
    const place = { name, root: node.root, logPath: node.logPath, faultsPath: faultsPath(node), engine: this.#engine };
    node.daemon = new DaemonProcess(place, this.#command);
    await node.daemon.started();
  }

  async down(name: NodeName): Promise<void> {
    const daemon = this.#up(name);
    this.#node(name).daemon = undefined;
    await daemon.stop();
  }

  async crash(names: readonly NodeName[]): Promise<void> {
    const daemons = names.map((n) => this.#alive(n));
    for (const n of names) this.#node(n).daemon = undefined;
    await Promise.all(daemons.map((d) => d.kill()));
  }

  powerfail(names: readonly NodeName[]): Promise<void> {
    return this.crash(names);
  }

  freeze(name: NodeName): void {
    this.#up(name).freeze();
  }

  thaw(name: NodeName): void {
    if (this.running(name) !== 'frozen') throw new StepFailure(`${name} is ${this.running(name)}, not frozen`);
    this.#alive(name).thaw();
  }

  cut(from: NodeName, to: NodeName): void {
    this.#relays.cut(from, to);
  }

  heal(a: NodeName, b: NodeName): void {
    this.#relays.heal(a, b);
  }

  slow(a: NodeName, b: NodeName, how: Slowness): void {
    this.#relays.slow(a, b, how);
  }

  control(name: NodeName): ControlClient {
    return this.#up(name).control;
  }

  io(): { io: Pick<Io, 'clock' | 'net'>; hub: EngineHub } {
    return { io: this.#io, hub: this.#hub };
  }

  root(name: NodeName): string {
    return this.#node(name).root;
  }

  legPath(name: NodeName): string {
    return legOf(this.#node(name));
  }

  files(): Files {
    return this.#io.files;
  }

  exists(_name: NodeName, path: string): Promise<boolean> {
    return Promise.resolve(existsSync(path));
  }

  async sizeBytes(_name: NodeName, path: string): Promise<number | undefined> {
    const file = await openIfThere(path);
    if (file === undefined) return undefined;
    try {
      return (await file.stat()).size;
    } finally {
      await file.close();
    }
  }

  async read(_name: NodeName, path: string, offset: number, length: number): Promise<Uint8Array | undefined> {
    const file = await openIfThere(path);
    if (file === undefined) return undefined;
    try {
      return await readAt(file, offset, length);
    } finally {
      await file.close();
    }
  }

  async write(_name: NodeName, path: string, offset: number, bytes: Uint8Array): Promise<void> {
    const file = await open(path, 'r+');
    try {
      for (let at = 0; at < bytes.length; ) at += (await file.write(bytes, at, bytes.length - at, offset + at)).bytesWritten;
      await file.sync();
    } finally {
      await file.close();
    }
  }

  async unlink(_name: NodeName, path: string): Promise<void> {
    await unlink(path);
  }

  async firstDifference(a: NodeName, b: NodeName): Promise<number> {
    const files = await Promise.all([open(this.legPath(a)), open(this.legPath(b))]);
    try {
      for (let offset = 0; ; offset += CHUNK_BYTES) {
        const [x, y] = await Promise.all([readAt(files[0], offset, CHUNK_BYTES), readAt(files[1], offset, CHUNK_BYTES)]);
        if (Buffer.compare(x, y) !== 0) {
          const n = Math.min(x.length, y.length);
          const at = x.subarray(0, n).findIndex((byte, i) => byte !== y[i]);
          return offset + (at < 0 ? n : at);
        }
        if (x.length < CHUNK_BYTES) return -1;
      }
    } finally {
      await Promise.all(files.map((f) => f.close()));
    }
  }

  async fault(name: NodeName, fault: LegFault | null): Promise<void> {
    const node = this.#node(name);
    const path = join(faultsPath(node), 'leg.fault');
    if (fault === null) node.faults.clear();
    else node.faults.add(fault);
    await writeFile(`${path}.tmp`, [...node.faults].join('\n'));
    await rename(`${path}.tmp`, path);
    await sleep(this.clock, FAULT_SEEN_MS);
  }

  checkDaemons(): void {
    for (const n of this.#nodes.values()) n.daemon?.check();
  }

  lastWords(name: NodeName): string[] {
    const { logPath } = this.#node(name);
    return existsSync(logPath)
      ? readFileSync(logPath, 'utf8')
          .split('\n')
          .filter((l) => l !== '')
      : [];
  }

  #node(name: NodeName): Node {
    const found = this.#nodes.get(name);
    if (found === undefined) throw new Error(`there is no node ${name}`);
    return found;
  }

  #up(name: NodeName): DaemonProcess {
    if (this.running(name) !== 'up') throw new StepFailure(`${name} is ${this.running(name)}`);
    return this.#alive(name);
  }

  #alive(name: NodeName): DaemonProcess {
    const { daemon } = this.#node(name);
    if (daemon === undefined) throw new StepFailure(`${name} is down already`);
    return daemon;
  }
}

function legOf(node: Node): string {
  return join(node.root, 'leg');
}

function faultsPath(node: Node): string {
  return join(node.root, 'faults');
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e && e.code === 'ENOENT') return undefined;
    throw e;
  }
}

/** Fewer at the end of the file. */
async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** One that nobody has now, and that the kernel gives to nobody who does not ask for it. */
async function freePort(taken: ReadonlyMap<NodeName, Node>): Promise<number> {
  for (let tried = 0; tried < PORTS_TRIED; tried += 1) {
    const port = PORT_FROM + Math.floor(Math.random() * (PORT_TO - PORT_FROM));
    if ([...taken.values()].some((n) => n.address.port === port)) continue;
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => {
        resolve(false);
      });
      server.listen({ host: '127.0.0.1', port }, () => {
        server.close(() => {
          resolve(true);
        });
      });
    });
    if (free) return port;
  }
  throw new Error(`no free port from ${String(PORT_FROM)} to ${String(PORT_TO)}`);
}
