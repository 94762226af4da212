/**
 * Real daemons on loopback: each a child process with its own root folder, so that one can be killed as a crash would.
 *
 *   Daemons -> NodeProcess (netraidd --root FOLDER/NAME, log FOLDER/NAME.log) -> HttpControlClient
 *
 * A daemon dies with the test's process; whatever waits for something fails with the status and the logs of all nodes.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { sweep } from '../../src/attach/status.ts';
import type { Actions, MirrorStatus, TargetStatus } from '../../src/control/types.ts';
import { builtProgram, NodeProcess, START_MAX_MS } from './node-process.ts';
import { type Ran, run } from './programs.ts';

export type { NodeProcess };

/** Below the ports that the kernel gives to outgoing connections. */
const PORT_FIRST = 12_000;
const PORT_RANGE = 18_000;

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
  /** The port where `from` reaches `to`, which listens at `port`, such as that of a relay; that port itself when left out. */
  reach?: (from: string, to: string, port: number) => Promise<number>;
  /** A command that each node's daemon is run by, such as `ip netns exec NAME`. */
  within?: Readonly<Record<string, readonly string[]>>;
  /** Told of each node's root before it starts. */
  prepare?: (node: string, root: string) => Promise<void>;
  /** More variables of the daemons' environment, by node. */
  env?: Readonly<Record<string, Readonly<Record<string, string>>>>;
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
    for (const name of o.nodes)
      all.#nodes.set(name, new NodeProcess(name, folder, await freePort(), o.roots?.[name], o.env?.[name], undefined, o.within?.[name]));
    try {
      for (const n of all.nodes()) {
        mkdirSync(path.join(n.root, 'etc', 'default'), { recursive: true });
        const tunables = Object.entries(o.tunables ?? {}).map(([key, value]) => `${key}=${String(value)}\n`);
        writeFileSync(path.join(n.root, 'etc', 'default', 'LifeKeeper'), tunables.join(''));
        writeFileSync(path.join(n.root, 'etc', 'netraid.yaml'), stringify({ ...(await all.#configOf(n, o)), ...o.config?.[n.name] }));
      }
      for (const n of all.nodes()) await o.prepare?.(n.name, n.root);
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

  async #configOf(n: NodeProcess, o: DaemonsOptions): Promise<Record<string, unknown>> {
    const peers: Record<string, string> = {};
    for (const p of this.nodes().filter((p) => p !== n)) {
      const port = (await o.reach?.(n.name, p.name, p.port)) ?? p.port;
      peers[p.name] = `127.0.0.1:${String(port)}`;
    }
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

  async untilTarget(
    source: string,
    tag: string,
    node: string,
    what: string,
    is: (t: TargetStatus) => boolean,
    timeoutMs = 20_000,
  ): Promise<TargetStatus> {
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
