/** nbdkit as a target that nobody here wrote: on a unix socket, killed and started again as the test likes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { programsPath, until } from './programs.ts';

export class NbdkitServer {
  readonly socketPath: string;
  readonly uri: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;

  /** `args`: filters, plugin and its parameters. `socketPath` must be short enough for a unix socket. */
  constructor(socketPath: string, args: readonly string[]) {
    this.socketPath = socketPath;
    this.uri = `nbd+unix:///?socket=${socketPath}`;
    this.#args = args;
  }

  /** Resolves when it listens. */
  async start(): Promise<void> {
    rmSync(this.socketPath, { force: true });
    const logPath = `${this.socketPath}.log`;
    const log = openSync(logPath, 'a');
    const args = ['--pdeathsig', 'KILL', 'nbdkit', '-f', '-U', this.socketPath, ...this.#args];
    const child = spawn('setpriv', args, { stdio: ['ignore', log, log], env: { ...process.env, PATH: programsPath } });
    closeSync(log);
    this.#child = child;
    child.on('error', (e) => {
      throw e;
    });
    await until('nbdkit listens', () => existsSync(this.socketPath) || !isRunning(child));
    if (!isRunning(child)) throw new Error(`nbdkit ${this.#args.join(' ')} ended: ${readFileSync(logPath, 'utf8')}`);
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || !isRunning(child)) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
