/**
 * Real daemons on loopback: each a child process with its own root folder, so that one can be killed as a crash would.
 *
 *   Daemons -> NodeProcess (netraidd --root FOLDER/NAME, log FOLDER/NAME.log) -> HttpControlClient
 *
 * A daemon dies with the test's process; whatever waits for something fails with the status and the logs of all nodes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { sweep } from '../../src/attach/status.ts';
import { HttpControlClient } from '../../src/control/http-client.ts';
import { controlSocketPath } from '../../src/control/places.ts';
import type { Actions, MirrorStatus, TargetStatus } from '../../src/control/types.ts';
import { programsPath, type Ran, run, type RunOptions } from './programs.ts';

const START_MAX_MS = 20_000;
const STOP_MAX_MS = 70_000;
const LOG_SHOWN_LINES = 15;
/** Below the ports that the kernel gives to outgoing connections. */
const PORT_FIRST = 12_000;
const PORT_RANGE = 18_000;

/** The built programs: of this tree, or of the folder that NETRAID_DIST names. */
const dist = process.env['NETRAID_DIST'] ?? path.join(import.meta.dirname, '..', '..', 'dist');

function builtProgram(name: string): string {
  const file = path.join(dist, 'main', `${name}.js`);
  if (!existsSync(file)) throw new Error(`${file} is not there: npm run build`);
  return file;
}

/** A TCP port of 127.0.0.1 that nobody listens on. */
let nextPort = PORT_FIRST + ((process.pid * 61) % PORT_RANGE);
export async function freePort(): Promise<number> {
  for (;;) {
    nextPort = nextPort >= PORT_FIRST + PORT_RANGE ? PORT_FIRST : nextPort + 1;
    const port = nextPort;
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once('error', () => {
        resolve(false);
      });
      probe.listen(port, '127.0.0.1', () => {
        probe.close(() => {
          resolve(true);
        });
      });
    });
    if (free) return port;
  }
}

export interface DaemonsOptions {
  nodes: readonly string[];
  failureTimeoutMs?: number;
  /** More fields of netraid.yaml, by node. */
  config?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** LKDR_… of all nodes. */
  tunables?: Readonly<Record<string, number | string>>;
  /** Another root folder of a node, such as one on a file system of its own. */
  roots?: Readonly<Record<string, string>>;
}

export class NodeProcess {
  readonly name: string;
  readonly root: string;
  readonly port: number;
  readonly logPath: string;
  readonly control: HttpControlClient;
  #child: ChildProcess | undefined;

  constructor(name: string, folder: string, port: number, root = path.join(folder, name)) {
    this.name = name;
    this.root = root;
    this.port = port;
    this.logPath = path.join(folder, `${name}.log`);
    this.control = new HttpControlClient({ socketPath: controlSocketPath(this.root), root: this.root, timeoutMs: 30_000 });
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined || !this.running) throw new Error(`${this.name} is not running`);
    return pid;
  }

  get running(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when the daemon answers. */
  async start(): Promise<void> {
    if (this.running) throw new Error(`${this.name} runs already`);
    const log = openSync(this.logPath, 'a');
    // The daemon dies with the process that started it, also when that is killed.
    const args = ['--pdeathsig', 'KILL', process.execPath, builtProgram('netraidd'), '--root', this.root];
    const child = spawn('setpriv', args, { env: { ...process.env, PATH: programsPath }, stdio: ['ignore', log, log], cwd: '/' });
    closeSync(log);
    this.#child = child;
    let problem = '';
    child.on('error', (e) => {
      problem = e.message;
    });
    const end = performance.now() + START_MAX_MS;
    for (;;) {
      if (problem !== '' || !this.running) throw new Error(`${this.name} did not start: ${problem}\n${this.log()}`);
      try {
        await this.control.call('info', {});
        return;
      } catch (e: unknown) {
        if (performance.now() > end) throw new Error(`${this.name} does not answer: ${String(e)}\n${this.log()}`, { cause: e });
      }
      await sleep(20);
    }
  }

  /** As a power failure would: SIGKILL. */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  /** In order; rejects when the daemon says that it could not. */
  async stop(): Promise<void> {
    await this.#end('SIGTERM');
    const code = this.#child?.exitCode;
    if (code !== 0) throw new Error(`${this.name} ended with ${String(code)}\n${this.log()}`);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.running) return;
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => {
        resolve();
      });
    });
    child.kill(signal);
    const late = setTimeout(() => {
      child.kill('SIGKILL');
    }, STOP_MAX_MS);
    await ended;
    clearTimeout(late);
  }

  log(lines = LOG_SHOWN_LINES): string {
    if (!existsSync(this.logPath)) return '';
    return `--- ${this.logPath}\n${readFileSync(this.logPath, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')}`;
  }

  /** Lines of the log that match. */
  logged(what: RegExp): string[] {
    return readFileSync(this.logPath, 'utf8')
      .split('\n')
      .filter((l) => what.test(l));
  }

  /** For NBD clients on this machine. */
  uri(tag: string): string {
    return `nbd+unix:///${tag}?socket=${path.join(this.root, 'run', 'nbd.sock')}`;
  }

  /** One of the commands people type, `netraid` and the others, on this node. */
  cli(program: string, args: readonly string[], o: RunOptions = {}): Promise<Ran> {
    return run(process.execPath, [builtProgram(program), ...args, '--root', this.root], o);
  }

  /** Answers the device, such as /dev/loop3. */
  async attach(tag: string): Promise<string> {
    const r = await this.cli('netraid', ['attach', tag, '--method', 'fuse', '--json']);
    if (r.code !== 0) throw new Error(`attach on ${this.name}: exit code ${String(r.code)}\n${r.stderr}${r.stdout}\n${this.log()}`);
    const answer: unknown = JSON.parse(r.stdout);
    if (typeof answer !== 'object' || answer === null || !('device' in answer)) throw new Error(`attach answered ${r.stdout}`);
    return String(answer.device);
  }

  async detach(tag: string): Promise<void> {
    const r = await this.cli('netraid', ['detach', tag]);
    if (r.code !== 0) throw new Error(`detach on ${this.name}: exit code ${String(r.code)}\n${r.stderr}${r.stdout}`);
  }

  /** Resident memory of the daemon now, and at its highest so far, bytes. */
  memory(): { residentBytes: number; highestBytes: number } {
    const text = readFileSync(`/proc/${String(this.pid)}/status`, 'utf8');
    const of = (field: string): number => {
      const kb = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
      if (kb === undefined) throw new Error(`/proc/${String(this.pid)}/status has no ${field}`);
      return Number(kb) * 1024;
    };
    return { residentBytes: of('VmRSS'), highestBytes: of('VmHWM') };
  }
}

export class Daemons {
  /** Everything of this cluster is below it. Others may pass through, so that a database's own user reaches what is mounted there. */
  readonly folder: string;
  readonly #nodes = new Map<string, NodeProcess>();

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Starts all nodes; on failure nothing is left. */
  static async start(o: DaemonsOptions): Promise<Daemons> {
    const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'netraid-mirror-')));
    chmodSync(folder, 0o755);
    const all = new Daemons(folder);
    for (const name of o.nodes) all.#nodes.set(name, new NodeProcess(name, folder, await freePort(), o.roots?.[name]));
    try {
      for (const n of all.nodes()) {
        mkdirSync(path.join(n.root, 'etc', 'default'), { recursive: true });
        const tunables = Object.entries(o.tunables ?? {}).map(([key, value]) => `${key}=${String(value)}\n`);
        writeFileSync(path.join(n.root, 'etc', 'default', 'LifeKeeper'), tunables.join(''));
        writeFileSync(path.join(n.root, 'etc', 'netraid.yaml'), stringify({ ...all.#configOf(n, o), ...o.config?.[n.name] }));
      }
      await Promise.all(all.nodes().map((n) => n.start()));
      await all.until('all nodes hear each other', async () => {
        const infos = await Promise.all(all.nodes().map((n) => n.control.call('info', {})));
        return infos.every((i) => Object.values(i.peers).every((p) => p.reachable));
      });
    } catch (e: unknown) {
      await all.close();
      throw e;
    }
    return all;
  }

  #configOf(n: NodeProcess, o: DaemonsOptions): Record<string, unknown> {
    const peers = Object.fromEntries(
      this.nodes()
        .filter((p) => p !== n)
        .map((p) => [p.name, `127.0.0.1:${String(p.port)}`]),
    );
    const failureTimeout = `${String(o.failureTimeoutMs ?? 2000)}ms`;
    return { version: 1, cluster: 'interop', node: n.name, listen: `127.0.0.1:${String(n.port)}`, peers, failureTimeout };
  }

  nodes(): NodeProcess[] {
    return [...this.#nodes.values()];
  }

  node(name: string): NodeProcess {
    const n = this.#nodes.get(name);
    if (n === undefined) throw new Error(`no node ${name}`);
    return n;
  }

  path(name: string): string {
    return path.join(this.folder, name);
  }

  /** A mirror in service on its first node; its other nodes are its targets, in sync on return. Answers the status. */
  async createMirror(o: MirrorOptions): Promise<MirrorStatus> {
    const [source, ...targets] = Object.entries(o.legs);
    if (source === undefined) throw new Error('a mirror needs a leg');
    const { control } = this.node(source[0]);
    await control.call('create', {
      tag: o.tag,
      leg: source[1],
      sizeBytes: o.sizeBytes,
      regionBytes: o.regionBytes ?? null,
      priority: 1,
      failureTimeoutMs: null,
      failover: o.failover ?? 'auto',
      arbiter: null,
      waitForPreviousSourceSec: null,
      zeroed: o.zeroed ?? true,
    });
    await control.call('in-service', { tag: o.tag });
    let priority = 0;
    for (const [node, leg] of targets) {
      priority += 10;
      await control.call('extend', { tag: o.tag, node, leg, foreignUri: null, mode: 'sync', priority, zeroed: o.zeroed ?? true });
    }
    for (const [node, foreignUri] of Object.entries(o.foreign ?? {})) {
      priority += 10;
      await control.call('extend', { tag: o.tag, node, leg: null, foreignUri, mode: 'sync', priority, zeroed: true });
    }
    return await this.untilInSync(source[0], o.tag);
  }

  /** Until the source shows every target in sync. */
  async untilInSync(source: string, tag: string, timeoutMs = 30_000): Promise<MirrorStatus> {
    let last: MirrorStatus | undefined;
    const all = async (): Promise<boolean> => {
      last = await this.node(source).control.call('status', { tag });
      return last.targets.length > 0 && last.targets.every((t) => t.state === 'Target');
    };
    await this.until(`all targets of ${tag} are in sync`, all, timeoutMs);
    if (last === undefined) throw new Error('no status');
    return last;
  }

  async target(source: string, tag: string, node: string): Promise<TargetStatus> {
    const t = (await this.node(source).control.call('status', { tag })).targets.find((x) => x.node === node);
    if (t === undefined) throw new Error(`${node} is no target of ${tag}`);
    return t;
  }

  async untilTarget(source: string, tag: string, node: string, what: string, is: (t: TargetStatus) => boolean, timeoutMs = 20_000): Promise<TargetStatus> {
    let last: TargetStatus | undefined;
    const holds = async (): Promise<boolean> => {
      last = await this.target(source, tag, node);
      return is(last);
    };
    await this.until(`${node} ${what}`, holds, timeoutMs);
    if (last === undefined) throw new Error('no status');
    return last;
  }

  /** All legs are compared by the product itself. */
  async verify(source: string, tag: string): Promise<NonNullable<Actions['verify-result']['result']>> {
    const { control } = this.node(source);
    await control.call('verify', { tag });
    const ended = async (): Promise<boolean> => (await control.call('verify-result', { tag }))?.running === false;
    await this.until(`verify of ${tag} ends`, ended, 60_000);
    const result = await control.call('verify-result', { tag });
    if (result === null) throw new Error('no result');
    return result;
  }

  async until(what: string, condition: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`waited ${String(timeoutMs)} ms for: ${what}\n${await this.#describe()}`);
      await sleep(30);
    }
  }

  async #describe(): Promise<string> {
    const parts: string[] = [];
    for (const n of this.nodes()) {
      if (!n.running) parts.push(`--- ${n.name} is not running`);
      else parts.push(`--- ${n.name}: ${await n.control.call('list', {}).then((l) => JSON.stringify(l), String)}`);
      parts.push(n.log());
    }
    return parts.join('\n');
  }

  /**
   * Runs a daemon that is expected to end by itself: a node without peers named `name`, with these fields of netraid.yaml;
   * undefined: a node's own root as it is.
   */
  async runAlone(name: string, fields: Readonly<Record<string, unknown>> | undefined): Promise<Ran> {
    const root = this.path(name);
    if (fields !== undefined) {
      mkdirSync(path.join(root, 'etc'), { recursive: true });
      writeFileSync(path.join(root, 'etc', 'netraid.yaml'), stringify({ version: 1, cluster: 'interop', node: name, ...fields }));
    }
    return await run(process.execPath, [builtProgram('netraidd'), '--root', root], { timeoutMs: START_MAX_MS });
  }

  /** Detaches what is attached, ends all daemons and removes the folder. */
  async close(): Promise<void> {
    try {
      await this.end();
    } finally {
      this.remove();
    }
  }

  /** Detaches what is attached, with what is mounted on it, and ends all daemons; one that had crashed is no failure here. */
  async end(): Promise<void> {
    try {
      await this.detachAll();
    } finally {
      await Promise.all(this.nodes().map((n) => n.kill()));
    }
  }

  /** Detaches what is attached on any node, with what is mounted on it. */
  async detachAll(): Promise<void> {
    const left: string[] = [];
    for (const n of this.nodes()) {
      const runDir = path.join(n.root, 'run');
      if (!existsSync(runDir)) continue;
      const swept = await sweep({ runDir, all: true, timeoutMs: 5000 });
      left.push(...swept.left.map((l) => `${n.name} ${l.tag}: ${l.why}`));
    }
    if (left.length > 0) throw new Error(`still attached: ${left.join('; ')}`);
  }

  /** The folder goes, unless NETRAID_KEEP asks for its logs. */
  remove(): void {
    if (process.env['NETRAID_KEEP'] === undefined) rmSync(this.folder, { recursive: true, force: true });
    else process.stderr.write(`kept: ${this.folder}\n`);
  }
}

export interface MirrorOptions {
  tag: string;
  sizeBytes: number;
  regionBytes?: number;
  /** Node to leg; the first is the source. */
  legs: Readonly<Record<string, string>>;
  /** Name to URI of foreign targets. */
  foreign?: Readonly<Record<string, string>>;
  failover?: 'auto' | 'off';
  /** Word that the legs hold zeroes; true unless said. */
  zeroed?: boolean;
}

/** Size of what is really stored in a file, bytes. */
export function storedBytes(file: string): number {
  return statSync(file).blocks * 512;
}
