/** Daemons and their control interface in a simulated world: what a person can ask, and what it changed on disk. */
import { createHash } from 'node:crypto';
import { expect } from 'vitest';
import { DaemonControl } from '../../../src/control/actions.ts';
import { Daemon, type DaemonOptions } from '../../../src/control/daemon.ts';
import type { ExportRules } from '../../../src/control/export-access.ts';
import type { ActionName, Actions, ControlError, MirrorStatus } from '../../../src/control/types.ts';
import type { NodeTunables } from '../../../src/failover/env.ts';
import { EngineHub } from '../../../src/io/hub.ts';
import { nullLog } from '../../../src/io/log.ts';
import type { Io } from '../../../src/io/types.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { DEFAULT_SETTINGS, type MirrorSettings } from '../../../src/mirror/settings.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';

export const MIB = 1024 * 1024;
export const REGION = 64 * 1024;
const ROOT = '/var';

export interface SimOptions {
  nodes?: string[];
  seed?: number;
  settings?: Partial<MirrorSettings>;
  tunables?: Partial<NodeTunables>;
  /** Nodes whose mirrors anybody may connect to, on port 10809. */
  exporting?: string[];
  /** Of all nodes. */
  exportRules?: ExportRules;
  allow?: string[];
  /** Of a node, such as TLS that is none of Node's. */
  more?: (node: string, io: Io) => Partial<DaemonOptions>;
}

export type Params<A extends ActionName> = Actions[A]['params'];

export class Sim {
  readonly world: SimWorld;
  readonly names: string[];
  readonly daemons = new Map<string, Daemon>();
  readonly controls = new Map<string, DaemonControl>();
  readonly #o: SimOptions;

  /** NODE: message, of all nodes. */
  readonly warnings: string[] = [];

  constructor(o: SimOptions) {
    this.#o = o;
    this.world = new SimWorld(o.seed ?? 1);
    this.names = o.nodes ?? ['server1', 'server2'];
    for (const n of this.names) this.world.node(n);
  }

  /** Runs a story in a world of its own; daemons are up and hear each other. */
  static async run(o: SimOptions, story: (sim: Sim) => Promise<void>): Promise<void> {
    const sim = new Sim(o);
    await sim.world.run(
      (async () => {
        for (const n of sim.names) await sim.start(n);
        await sim.until('all hear each other', () => sim.names.every((n) => sim.daemon(n).env.cluster.reachable().length === sim.names.length - 1));
        await story(sim);
      })(),
    );
  }

  async start(name: string): Promise<Daemon> {
    const io = this.world.node(name).boot();
    const d = new Daemon({
      io,
      root: ROOT,
      node: name,
      cluster: 'c',
      listen: { kind: 'tcp', host: name, port: 7000 },
      peers: Object.fromEntries(this.names.filter((x) => x !== name).map((x) => [x, [{ kind: 'tcp' as const, host: x, port: 7000 }]])),
      exportListen: this.#o.exporting?.includes(name) === true ? [{ kind: 'tcp', host: name, port: 10809 }] : [],
      ...(this.#o.exportRules === undefined ? {} : { exportRules: this.#o.exportRules }),
      ...(this.#o.allow === undefined ? {} : { allow: this.#o.allow }),
      failureTimeoutMs: 2000,
      settings: { ...DEFAULT_SETTINGS, ...this.#o.settings },
      tunables: {
        connectionsPerTarget: 1,
        resyncsMax: 1,
        noFullSync: false,
        waitToResync: false,
        connectBeforeServing: true,
        checksums: true,
        ...this.#o.tunables,
      },
      log: { ...nullLog, warn: (message) => this.warnings.push(`${name}: ${message}`) },
      ...this.#o.more?.(name, io),
    });
    this.daemons.set(name, d);
    this.controls.set(name, new DaemonControl(d, { version: '1.2.3', regionBytes: REGION, waitForPreviousSourceSec: -1 }));
    await d.start();
    return d;
  }

  /** In order; the machine stays. */
  async stop(name: string): Promise<void> {
    await this.daemon(name).stop();
    this.world.node(name).crash();
    this.daemons.delete(name);
  }

  crash(name: string): void {
    this.world.node(name).crash();
    this.daemons.delete(name);
  }

  daemon(name: string): Daemon {
    const d = this.daemons.get(name);
    if (d === undefined) throw new Error(`${name} does not run`);
    return d;
  }

  control(name: string): DaemonControl {
    const c = this.controls.get(name);
    if (c === undefined) throw new Error(`${name} was never started`);
    return c;
  }

  call<A extends ActionName>(name: string, action: A, params: Params<A>): Promise<Actions[A]['result']> {
    return this.control(name).call(action, params);
  }

  status(name: string, tag = 't'): Promise<MirrorStatus> {
    return this.call(name, 'status', { tag });
  }

  async until(what: string, holds: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
    const end = this.world.now() + ms;
    while (!(await holds())) {
      if (this.world.now() > end) {
        const states = await Promise.all([...this.daemons.keys()].map(async (n) => JSON.stringify(await this.call(n, 'list', {}))));
        throw new Error(`never: ${what}\n${states.join('\n')}`);
      }
      await this.world.sleep(20);
    }
  }

  // -------------------------------------------------------------------------------------------------- mirrors

  createParams(o: Partial<Params<'create'>> = {}): Params<'create'> {
    return {
      tag: 't',
      leg: '/leg',
      sizeBytes: MIB,
      regionBytes: null,
      priority: 1,
      failureTimeoutMs: null,
      failover: null,
      arbiter: null,
      waitForPreviousSourceSec: null,
      zeroed: true,
      ...o,
    };
  }

  extendParams(node: string, priority: number, o: Partial<Params<'extend'>> = {}): Params<'extend'> {
    return { tag: 't', node, leg: '/leg', foreignUri: null, mode: 'sync', priority, zeroed: true, ...o };
  }

  /** In service on the first node, all others in sync. */
  async mirror(o: Partial<Params<'create'>> = {}): Promise<void> {
    const [source, ...targets] = this.names;
    if (source === undefined) throw new Error('no nodes');
    await this.call(source, 'create', this.createParams(o));
    await this.call(source, 'in-service', { tag: 't' });
    for (const [i, n] of targets.entries()) await this.call(source, 'extend', this.extendParams(n, 10 * (i + 1)));
    await this.inSync(source, ...targets);
  }

  async inSync(source: string, ...targets: string[]): Promise<void> {
    for (const n of targets) await this.until(`${n} is in sync`, async () => (await this.targetState(source, n)) === 'Target');
  }

  async targetState(source: string, node: string): Promise<string | undefined> {
    return (await this.status(source)).targets.find((t) => t.node === node)?.state;
  }

  async client(node: string, tag = 't'): Promise<NbdClient> {
    const io = this.world.client(node);
    return NbdClient.connect({ io, hub: new EngineHub(io.createEngine()), exportName: tag, address: { kind: 'unix', path: `${ROOT}/run/nbd.sock` } });
  }

  async write(node: string, offset: number, length: number, byte: number): Promise<void> {
    const c = await this.client(node);
    await c.writeBytes(offset, new Uint8Array(length).fill(byte));
    await c.flushNow();
    await c.disconnect();
  }

  async read(node: string, offset: number, length: number): Promise<Uint8Array> {
    const c = await this.client(node);
    const bytes = await c.readBytes(offset, length);
    await c.disconnect();
    return bytes;
  }

  legsDiffer(a: string, b: string, path = '/leg', otherPath = path): number {
    return this.world.node(a).firstDifference(path, this.world.node(b), otherPath);
  }

  // -------------------------------------------------------------------------------------------- nothing changed

  /** What mirrors have on every disk: names of files and their contents, legs left out. */
  onDisk(): Record<string, string> {
    const out: Record<string, string> = {};
    for (const n of this.names) {
      const node = this.world.node(n);
      for (const folder of [ROOT, `${ROOT}/subsys/scsi/resources/netraid`, '/']) {
        for (const name of node.peekFolder(folder) ?? []) {
          const path = `${folder === '/' ? '' : folder}/${name}`;
          const bytes = node.peek(path);
          const isRecord = /\/(state_|bitmap_)[^/]*$|_(last_owner|source|data_corrupt)$/.test(path);
          out[`${n}:${path}`] = bytes === undefined ? 'folder' : isRecord ? createHash('sha256').update(bytes).digest('hex') : 'a file';
        }
      }
    }
    return out;
  }

  /** The action is refused with this code and message, and no disk has changed. */
  async refuses<A extends ActionName>(node: string, action: A, params: Params<A>, code: ControlError['code'], message: RegExp): Promise<void> {
    const before = this.onDisk();
    const mirrors = [...this.daemons.values()].map((d) => [...d.mirrors.keys()]);
    let refusal: unknown;
    try {
      await this.call(node, action, params);
    } catch (e: unknown) {
      refusal = e;
    }
    expect(refusal, `${action} was not refused`).toBeInstanceOf(Error);
    expect(refusal).toMatchObject({ name: 'ControlError', message: expect.stringMatching(message) as unknown, code });
    expect((refusal as Error).message).not.toContain('\n');
    expect(this.onDisk()).toEqual(before);
    expect([...this.daemons.values()].map((d) => [...d.mirrors.keys()])).toEqual(mirrors);
  }
}
