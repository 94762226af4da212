/** NBD servers that nobody here wrote, as targets: each a process that is stopped, killed and started again as the test likes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { runs } from './processes.ts';
import { programsPath, until } from './programs.ts';

export interface ServerPlace {
  /** Where it listens. */
  at: { path: string } | { port: number };
  logPath: string;
  /** Where it writes its process id: in the foreground once it listens, as the arguments must ask for. */
  pidFile: string;
}

export class ServerProcess {
  readonly #program: string;
  readonly #place: ServerPlace;
  #args: readonly string[];

  constructor(program: string, args: readonly string[], place: ServerPlace) {
    this.#program = program;
    this.#args = args;
    this.#place = place;
  }

  /** Resolves when it takes connections. `args`: other ones from now on. */
  async start(args = this.#args): Promise<void> {
    this.#args = args;
    const { at, logPath, pidFile } = this.#place;
    for (const path of ['path' in at ? at.path : undefined, pidFile]) if (path !== undefined) rmSync(path, { force: true });
    const log = openSync(logPath, 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', this.#program, ...args], {
      stdio: ['ignore', log, log],
      env: { ...process.env, PATH: programsPath },
      // A group of its own: nbd-server, which puts itself in the background, has a process for each connection.
      detached: true,
    });
    closeSync(log);
    child.on('error', (e) => {
      throw e;
    });
    const goesOn = (): boolean => isRunning(child) || child.exitCode === 0;
    const listens = 'path' in at ? (): boolean => true : answers(at, goesOn);
    await until(`${this.#program} listens`, () => (hasContent(pidFile) && listens()) || !goesOn());
    if (!goesOn()) throw new Error(`${this.#program} ${this.#args.join(' ')} ended: ${readFileSync(logPath, 'utf8')}`);
  }

  signal(name: NodeJS.Signals): void {
    try {
      process.kill(-this.#pid(), name);
    } catch (e: unknown) {
      // Nobody of the group is left.
      if (!(e instanceof Error && 'code' in e && e.code === 'ESRCH')) throw e;
    }
  }

  async kill(): Promise<void> {
    if (!hasContent(this.#place.pidFile)) return;
    this.signal('SIGKILL');
    await until(`${this.#program} has ended`, () => !runs(this.#pid()));
    rmSync(this.#place.pidFile);
  }

  #pid(): number {
    const pid = Number(readFileSync(this.#place.pidFile, 'utf8'));
    if (!Number.isInteger(pid) || pid <= 1) throw new Error(`${this.#place.pidFile} holds no process id`);
    return pid;
  }
}

/** nbdkit on a unix socket. */
export class NbdkitServer extends ServerProcess {
  readonly socketPath: string;
  readonly uri: string;

  /** `args`: filters, plugin and its parameters. `socketPath` must be short enough for a unix socket. */
  constructor(socketPath: string, args: readonly string[]) {
    const pidFile = `${socketPath}.pid`;
    super('nbdkit', ['-f', '-P', pidFile, '-U', socketPath, ...args], { at: { path: socketPath }, logPath: `${socketPath}.log`, pidFile });
    this.socketPath = socketPath;
    this.uri = `nbd+unix:///?socket=${socketPath}`;
  }
}

/** Whether somebody has taken a connection at that port of 127.0.0.1, and greeted: on a busy machine that may be seconds later. */
function answers({ port }: { port: number }, goOn: () => boolean): () => boolean {
  let taken = false;
  const look = (): void => {
    const s = connect({ host: '127.0.0.1', port });
    s.once('data', () => {
      taken = true;
      s.destroy();
    });
    s.on('error', () => s.destroy());
    s.on('close', () => {
      if (!taken && goOn()) setTimeout(look, 10);
    });
  };
  look();
  return () => taken;
}

function hasContent(file: string): boolean {
  return existsSync(file) && statSync(file).size > 0;
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}
