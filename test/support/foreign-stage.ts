/**
 * A mirror whose only target is an NBD server that nobody here wrote, and an application that writes to it. One daemon an engine serves
 * all mirrors of a test file, so that its tests can run beside each other.
 *
 *   Application -> node's socket -> own leg TAG.leg, foreign server -> TAG.image
 */
import { writeFileSync } from 'node:fs';
import type { MirrorStatus, TargetStatus } from '../../src/control/types.ts';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { Errno, IoError } from '../../src/io/types.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { parseNbdUri } from '../../src/nbd-client-js/uri.ts';
import { Application } from './application.ts';
import { Cleanup } from './cleanup.ts';
import { Daemons, type DaemonsOptions, freePort } from './daemons.ts';
import { expectIdentical } from './machine.ts';
import { ServerProcess } from './nbdkit-server.ts';
import { type Ran, runOk, until } from './programs.ts';

export const MIB = 1024 * 1024;
export const SIZE = 8 * MIB;
const REGION = 64 * 1024;
export const FAILURE_TIMEOUT_MS = 1500;
/** Where no server is to fail by its silence: a busy machine keeps an honest one waiting. */
export const PATIENT_MS = 4000;
/** Names of the daemons, which are those of their engines. */
export const ENGINES = ['native', 'portable'] as const;
export type Engine = (typeof ENGINES)[number];
/** Name of the foreign target. */
export const ELSEWHERE = 'elsewhere';

export function startEngines(o: Pick<DaemonsOptions, 'prepare' | 'failureTimeoutMs'> = {}): Promise<Daemons> {
  return Daemons.start({
    nodes: ENGINES,
    failureTimeoutMs: FAILURE_TIMEOUT_MS,
    ...o,
    tunables: { LKDR_SPEED_LIMIT_MIN: 500_000 },
    env: Object.fromEntries(ENGINES.map((e) => [e, { NETRAID_ENGINE: e }])),
  });
}

let stages = 0;

export class Stage {
  readonly daemons: Daemons;
  readonly engine: Engine;
  readonly tag: string;
  readonly cleanup = new Cleanup();
  /** Of the foreign server. */
  uri = '';
  /** Who has occupied it goes. */
  leave: () => void = () => undefined;
  #server: ServerProcess | undefined;
  #args: ((extra: readonly string[]) => string[]) | undefined;
  #app: Application | undefined;

  private constructor(daemons: Daemons, engine: Engine) {
    stages += 1;
    this.daemons = daemons;
    this.engine = engine;
    this.tag = `t${String(stages)}`;
  }

  /** Runs a test on a stage of its own, and leaves nothing. */
  static async run(daemons: Daemons, engine: Engine, test: (s: Stage) => Promise<void>): Promise<void> {
    const s = new Stage(daemons, engine);
    try {
      await test(s);
    } finally {
      await s.cleanup.run();
    }
  }

  file(name: string): string {
    return this.daemons.path(`${this.tag}.${name}`);
  }

  get image(): string {
    return this.file('image');
  }

  get #pidFile(): string {
    return this.file('pid');
  }

  get server(): ServerProcess {
    if (this.#server === undefined) throw new Error('no server was started');
    return this.#server;
  }

  get app(): Application {
    if (this.#app === undefined) throw new Error('no application was started');
    return this.#app;
  }

  /** nbdkit on a unix socket; `IMAGE` in the arguments is the image's path. */
  async nbdkit(args: readonly string[], o: { exportName?: string; imageBytes?: number } = {}): Promise<void> {
    const path = this.file('sock');
    const all = (a: readonly string[]): string[] => ['-f', '-P', this.#pidFile, '-U', path, ...a.map((x) => x.replaceAll('IMAGE', this.image))];
    await this.#serve('nbdkit', all, args, { path }, o.imageBytes);
    this.uri = `nbd+unix:///${o.exportName ?? ''}?socket=${path}`;
  }

  async qemuNbd(args: readonly string[] = []): Promise<void> {
    const path = this.file('sock');
    const all = (a: readonly string[]): string[] => [
      '-t',
      '--pid-file',
      this.#pidFile,
      '-k',
      path,
      '-f',
      'raw',
      '-e',
      '8',
      '-x',
      'disk',
      ...a,
      this.image,
    ];
    await this.#serve('qemu-nbd', all, args, { path });
    this.uri = `nbd+unix:///disk?socket=${path}`;
  }

  /** Any of them on a port of 127.0.0.1. */
  async tcp(program: string, args: (port: string, pidFile: string) => string[], uri: (port: string) => string): Promise<void> {
    const port = await freePort();
    await this.#serve(program, () => args(String(port), this.#pidFile), [], { port });
    this.uri = uri(String(port));
  }

  /** `settings`: of the export, such as `flush = true`. */
  async nbdServer(settings: readonly string[]): Promise<void> {
    const port = await freePort();
    const all = (more: readonly string[]): string[] => {
      const lines = ['[generic]', 'listenaddr = 127.0.0.1', `port = ${String(port)}`, '[disk]', `exportname = ${this.image}`, ...more];
      writeFileSync(this.file('conf'), `${lines.join('\n')}\n`);
      return ['-C', this.file('conf'), '-p', this.#pidFile];
    };
    await this.#serve('nbd-server', all, settings, { port });
    this.uri = `nbd://127.0.0.1:${String(port)}/disk`;
  }

  /** As after a crash, with other arguments. */
  async restart(extra?: readonly string[]): Promise<void> {
    await this.server.kill();
    await this.server.start(extra === undefined ? undefined : this.#args?.(extra));
  }

  /** Somebody else connects to the foreign server, and stays; false: it is not let in. */
  async occupy(): Promise<boolean> {
    const io = createNodeIo();
    const engine = io.createEngine();
    try {
      const client = await NbdClient.connect({ io, hub: new EngineHub(engine), ...parseNbdUri(this.uri) });
      this.leave = (): void => {
        client.close(Errno.ESHUTDOWN);
        void engine.shutdown();
        this.leave = (): void => undefined;
      };
      this.cleanup.add('the other client', () => {
        this.leave();
      });
      return true;
    } catch (e: unknown) {
      await engine.shutdown();
      if (e instanceof IoError) return false;
      throw e;
    }
  }

  async #serve(
    program: string,
    args: (extra: readonly string[]) => string[],
    extra: readonly string[],
    at: { path: string } | { port: number },
    imageBytes = SIZE,
  ): Promise<void> {
    await runOk('truncate', ['-s', String(imageBytes), this.image]);
    const server = new ServerProcess(program, args(extra), { at, logPath: this.file('server.log'), pidFile: this.#pidFile });
    this.cleanup.add(program, () => server.kill());
    await server.start();
    this.#server = server;
    this.#args = args;
  }

  /** In service on its node, without a target. */
  async create(o: { sectorBytes?: number } = {}): Promise<void> {
    const wishes = { priority: 1, failureTimeoutMs: null, failover: null, arbiter: null, waitForPreviousSourceSec: null, zeroed: true };
    await this.#control.call('create', { tag: this.tag, leg: this.file('leg'), sizeBytes: SIZE, regionBytes: REGION, ...wishes, ...o });
    this.cleanup.add('the mirror', async () => {
      await this.#control.call('delete', { tag: this.tag });
    });
    await this.#control.call('in-service', { tag: this.tag });
    this.cleanup.add('its service', async () => {
      await this.#control.call('out-of-service', { tag: this.tag });
    });
  }

  /** Rejects with the reason when the server can not be a target. */
  async extend(): Promise<void> {
    const target = { node: ELSEWHERE, leg: null, foreignUri: this.uri, mode: 'sync' as const, priority: 10, zeroed: false };
    await this.#control.call('extend', { tag: this.tag, ...target });
  }

  netraid(...args: string[]): Promise<Ran> {
    return this.daemons.node(this.engine).cli('netraid', args);
  }

  /** A mirror with the foreign server as its target, in sync, and an application on it. */
  async open(o: { sectorBytes?: number } = {}): Promise<void> {
    await this.create(o);
    await this.extend();
    await this.untilTarget('is in sync', (t) => t.state === 'Target');
    await this.start(o.sectorBytes);
  }

  /** An application begins to write all over the mirror. */
  async start(blockBytes?: number): Promise<void> {
    const app = await Application.start(this.daemons.node(this.engine).uri(this.tag), blockBytes);
    this.cleanup.add('the application', () => {
      app.close();
    });
    this.#app = app;
  }

  /** The application has had so many more answers. */
  async answers(count: number): Promise<void> {
    const enough = this.app.answers + count;
    await until(`${String(count)} answers on ${this.tag}`, () => this.app.answers >= enough, 30_000);
  }

  /** The application ends well; both images hold the same. */
  async end(image = this.image): Promise<TargetStatus> {
    await this.app.end();
    const t = await this.target();
    if (t.state !== 'Target') throw new Error(`${this.tag}: the target is ${t.state}: ${t.detail}`);
    await expectIdentical([this.file('leg'), image]);
    return t;
  }

  status(): Promise<MirrorStatus> {
    return this.#control.call('status', { tag: this.tag });
  }

  target(): Promise<TargetStatus> {
    return this.daemons.target(this.engine, this.tag, ELSEWHERE);
  }

  untilTarget(what: string, is: (t: TargetStatus) => boolean): Promise<TargetStatus> {
    return this.daemons.untilTarget(this.engine, this.tag, ELSEWHERE, what, is, 30_000);
  }

  /** Lines of the node's log about this mirror. */
  logged(what: RegExp): string[] {
    const own = new RegExp(`\\b${this.tag}\\b`);
    return this.daemons
      .node(this.engine)
      .logged(what)
      .filter((l) => own.test(l));
  }

  get #control(): ReturnType<Daemons['node']>['control'] {
    return this.daemons.node(this.engine).control;
  }
}
