/**
 * Daemons as child processes, none of which outlives this one: they are killed when it ends, when it is interrupted, and,
 * where `setpriv` is installed, by the kernel when it is killed.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HttpControlClient } from '../control/http-client.ts';
import { controlSocketPath } from '../control/places.ts';
import { type ControlClient, ControlError } from '../control/types.ts';
import { nodeClock } from '../io/node/clock.ts';
import { StepFailure } from './errors.ts';
import { sleep } from './world.ts';

const START_MAX_MS = 30_000;
const START_POLL_MS = 20;
const PROBE_MAX_MS = 2000;
const STOP_MAX_MS = 75_000;
const SETPRIV = '/usr/bin/setpriv';
const LOG_SHOWN_BYTES = 64 * 1024;

const children = new Set<ChildProcess>();
const folders = new Set<string>();
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
let watching = false;

function clearAway(): void {
  for (const c of children) c.kill('SIGKILL');
  for (const f of folders) rmSync(f, { recursive: true, force: true });
}

/** From the first daemon or folder on. */
function watchOver(): void {
  if (watching) return;
  watching = true;
  process.on('exit', clearAway);
  for (const signal of signals) {
    process.once(signal, () => {
      clearAway();
      process.kill(process.pid, signal);
    });
  }
}

/** Removed when this process ends, unless it is forgotten before. */
export function removeAtEnd(folder: string): void {
  watchOver();
  folders.add(folder);
}

export function forgetFolder(folder: string): void {
  folders.delete(folder);
}

/** The daemon of this very package: built where it is up to date, from its sources otherwise. */
export function daemonCommand(): string[] {
  const here = fileURLToPath(import.meta.url);
  if (here.endsWith('.js')) return [join(dirname(here), '../main/netraidd.js')];
  const src = join(dirname(here), '..');
  const built = join(src, '../dist/main/netraidd.js');
  if (existsSync(built) && statSync(built).mtimeMs > newestBelow(src)) return [built];
  return ['--import', 'tsx', join(src, 'main/netraidd.ts')];
}

function newestBelow(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith('.ts'))
    .reduce((newest, e) => Math.max(newest, statSync(join(e.parentPath, e.name)).mtimeMs), 0);
}

export interface DaemonPlace {
  name: string;
  root: string;
  logPath: string;
  /** Where faults of its leg are asked for. */
  faultsPath: string;
  /** NETRAID_ENGINE; by default netraidd's own choice. */
  engine?: string | undefined;
}

/** One run of a daemon. */
export class DaemonProcess {
  readonly control: ControlClient;
  readonly #place: DaemonPlace;
  readonly #child: ChildProcess;
  readonly #ended: Promise<string>;
  #end: string | undefined;
  #stopping = false;
  #frozen = false;

  constructor(place: DaemonPlace, command: readonly string[]) {
    watchOver();
    this.#place = place;
    const [program, before] = existsSync(SETPRIV) ? [SETPRIV, ['--pdeathsig', 'KILL', '--', process.execPath]] : [process.execPath, []];
    const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(LKDR_|NETRAID_|VITEST|NODE_OPTIONS)/.test(k)));
    const log = openSync(place.logPath, 'a');
    this.#child = spawn(program, [...before, ...command, '--root', place.root], {
      // An interrupt of the terminal is for the runner alone, which then ends us.
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...env, NETRAID_TEST_FAULTS: place.faultsPath, ...(place.engine === undefined ? {} : { NETRAID_ENGINE: place.engine }) },
    });
    closeSync(log);
    children.add(this.#child);
    this.#ended = new Promise((resolve) => {
      const ended = (how: string): void => {
        children.delete(this.#child);
        this.#end ??= how;
        resolve(this.#end);
      };
      this.#child.once('error', (e) => {
        ended(e.message);
      });
      this.#child.once('exit', (code, signal) => {
        ended(code === null ? String(signal) : `exit code ${String(code)}`);
      });
    });
    this.control = new HttpControlClient({ socketPath: controlSocketPath(place.root), root: place.root });
  }

  get frozen(): boolean {
    return this.#frozen;
  }

  /** Until it answers. */
  async started(): Promise<void> {
    const { name, root } = this.#place;
    const probe = new HttpControlClient({ socketPath: controlSocketPath(root), root, timeoutMs: PROBE_MAX_MS });
    const deadline = nodeClock.now() + START_MAX_MS;
    for (;;) {
      this.check();
      try {
        await probe.call('info', {});
        return;
      } catch (e: unknown) {
        if (!(e instanceof ControlError)) throw e;
        if (nodeClock.now() > deadline) throw new StepFailure(`${name} did not start within ${String(START_MAX_MS)} ms: ${e.message}`);
      }
      await sleep(nodeClock, START_POLL_MS);
    }
  }

  /** Throws StepFailure when it ended and nobody stopped it. */
  check(): void {
    if (this.#end === undefined || this.#stopping) return;
    throw new StepFailure(`the daemon of ${this.#place.name} ended by itself: ${this.#end}; it said last: ${this.lastWords().at(-1) ?? 'nothing'}`);
  }

  lastWords(): string[] {
    const text = readFileSync(this.#place.logPath, 'utf8').slice(-LOG_SHOWN_BYTES);
    return text.split('\n').filter((l) => l !== '');
  }

  /** Sends the signal now; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
    await this.#ended;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => {
      this.#child.kill('SIGKILL');
    }, STOP_MAX_MS);
    const how = await this.#ended;
    clearTimeout(late);
    if (how !== 'exit code 0')
      throw new StepFailure(`${this.#place.name} did not stop in order: ${how}; it said last: ${this.lastWords().at(-1) ?? 'nothing'}`);
  }

  freeze(): void {
    this.#frozen = true;
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#frozen = false;
    this.#child.kill('SIGCONT');
  }
}
