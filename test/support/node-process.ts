/** One daemon as a child process: started, killed, stopped, asked, and attached by the commands that people type. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { HttpControlClient } from '../../src/control/http-client.ts';
import { controlSocketPath } from '../../src/control/places.ts';
import { programsPath, type Ran, run, type RunOptions } from './programs.ts';

export const START_MAX_MS = 20_000;
const STOP_MAX_MS = 70_000;
const LOG_SHOWN_LINES = 15;

/** The built programs: of this tree, or of the folder that NETRAID_DIST names. */
const dist = process.env['NETRAID_DIST'] ?? path.join(import.meta.dirname, '..', '..', 'dist');

export function builtProgram(name: string, from = dist): string {
  const file = path.join(from, 'main', `${name}.js`);
  if (!existsSync(file)) throw new Error(`${file} is not there: npm run build`);
  return file;
}

export class NodeProcess {
  readonly name: string;
  readonly root: string;
  readonly port: number;
  readonly logPath: string;
  readonly control: HttpControlClient;
  readonly #env: Readonly<Record<string, string>>;
  readonly #dist: string;
  readonly #within: readonly string[];
  #child: ChildProcess | undefined;

  /** `from`: the built programs that are run; `within`: a command that runs another, such as one in a network of its own. */
  constructor(
    name: string,
    folder: string,
    port: number,
    root = path.join(folder, name),
    env: Readonly<Record<string, string>> = {},
    from = dist,
    within: readonly string[] = [],
  ) {
    this.#within = within;
    this.#env = env;
    this.#dist = from;
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
    const args = ['--pdeathsig', 'KILL', ...this.#within, process.execPath, builtProgram('netraidd', this.#dist), '--root', this.root];
    const child = spawn('setpriv', args, { env: { ...process.env, PATH: programsPath, ...this.#env }, stdio: ['ignore', log, log], cwd: '/' });
    closeSync(log);
    this.#child = child;
    const spawned = { problem: '' };
    child.on('error', (e) => {
      spawned.problem = e.message;
    });
    const end = performance.now() + START_MAX_MS;
    for (;;) {
      if (spawned.problem !== '' || child.exitCode !== null || child.signalCode !== null)
        throw new Error(`${this.name} did not start: ${spawned.problem}\n${this.log()}`);
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
    return run(process.execPath, [builtProgram(program, this.#dist), ...args, '--root', this.root], o);
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
