/**
 * What the sides of a row are put up on: a folder, the files in it, the processes of servers. All of it goes with `close`.
 *
 * Children die with the process that started them, also when that is killed; every wait has a deadline.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, statfsSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { nodeNet } from '../../src/io/node/net.ts';
import { type Address, IoError } from '../../src/io/types.ts';
import { Cleanup } from '../../test/support/cleanup.ts';
import { programsPath } from '../../test/support/programs.ts';
import { descendants } from './cpu.ts';
import type { Sizes } from './types.ts';

const execute = promisify(execFile);

const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;
const LISTEN_MAX_MS = 10_000;
const END_MAX_MS = 5000;
const SYNC_MAX_MS = 180_000;
const FILE_MAX_MS = 60_000;
const PIECE_BYTES = 1024 * 1024;
const PAGE_BYTES = 4096;
const LOG_SHOWN_CHARS = 1000;

/** What the touched part of a file holds, and whether the rest is allocated. */
export type Content = 'zeroes' | 'random' | 'sparse';

export interface ServerProcess {
  pid: number;
  end(): Promise<void>;
}

export class Stage {
  readonly folder: string;
  /** Where legs and exported files lie. */
  readonly #files: string;
  readonly sizes: Sizes;
  readonly cleanup = new Cleanup();
  readonly #ending: AbortSignal;
  #names = 0;

  /** `filesParent`: legs and exported files lie below it rather than with all else. */
  constructor(parent: string, sizes: Sizes, ending: AbortSignal, filesParent?: string) {
    this.sizes = sizes;
    this.#ending = ending;
    this.folder = this.#made(path.join(parent, 'r-'));
    this.#files = filesParent === undefined ? this.folder : this.#made(path.join(filesParent, 'nb-'));
    // What the daemons' own support makes lies here as well.
    process.env['TMPDIR'] = this.folder;
  }

  #made(prefix: string): string {
    const folder = mkdtempSync(prefix);
    // Large files of small extents take their time, in which signals are still heard.
    this.cleanup.add(folder, () => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  /** A path that nothing has yet; short, for sockets. */
  fresh(ending: string): string {
    return this.#fresh(this.folder, ending);
  }

  #fresh(folder: string, ending: string): string {
    this.#names += 1;
    return path.join(folder, `${String(this.#names)}.${ending}`);
  }

  /** A leg, or what is exported: a file of `fileBytes`, allocated, its first part written and durable; sparse: nothing of it. */
  async file(content: Content): Promise<string> {
    const { fileBytes, touchedBytes } = this.sizes;
    const name = this.#fresh(this.#files, 'img');
    const f = await open(name, 'wx');
    try {
      if (content === 'sparse') await f.truncate(fileBytes);
      else {
        // On tmpfs that would take memory for what is never used.
        if (isTmpfs(this.#files)) await f.truncate(fileBytes);
        else await this.run('fallocate', ['-l', String(fileBytes), name], FILE_MAX_MS);
        if (content === 'random') await writeRandom(f, touchedBytes);
        else await this.#writeZeroes(name, touchedBytes);
        await f.sync();
      }
    } finally {
      await f.close();
    }
    return name;
  }

  /**
   * A page at a time: what is written at once lies in the page cache as one folio, and ext4 walks all of a folio's buffers for
   * each write into it, 25 us of a folio of 1 MiB. All sides of a row would pay that twice, and little else would be compared.
   */
  async #writeZeroes(name: string, bytes: number): Promise<void> {
    const blocks = String(bytes / PAGE_BYTES);
    await this.run('dd', ['if=/dev/zero', `of=${name}`, `bs=${String(PAGE_BYTES)}`, `count=${blocks}`, 'conv=notrunc', 'status=none'], FILE_MAX_MS);
  }

  /** Starts a program and waits until it accepts connections at `address`. */
  async server(program: string, args: readonly string[], address: Address): Promise<ServerProcess> {
    const logPath = this.fresh('log');
    const log = openSync(logPath, 'a');
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
      stdio: ['ignore', log, log],
      env: environment(),
    });
    closeSync(log);
    let problem = '';
    child.on('error', (e) => {
      problem = e.message;
    });
    const server = {
      get pid(): number {
        if (child.pid === undefined || !isRunning(child)) throw new Error(`${program} has ended: ${said(logPath)}`);
        return child.pid;
      },
      end: () => endChild(child, program),
    };
    this.cleanup.add(program, server.end);
    const end = performance.now() + LISTEN_MAX_MS;
    for (let last = ''; ; ) {
      if (problem !== '' || !isRunning(child)) throw new Error(`${program} ${args.join(' ')} ended: ${problem}${said(logPath)}`);
      try {
        (await nodeNet.connect(address, 1000)).destroy();
        return server;
      } catch (e: unknown) {
        if (!(e instanceof IoError)) throw e;
        last = e.message;
      }
      if (performance.now() > end) throw new Error(`${program} does not accept connections: ${last} ${said(logPath)}`);
      await sleep(10);
    }
  }

  /** As `server`, for a program that can only serve several connections in the background; answers its process id. */
  async daemon(program: string, args: (pidFile: string) => readonly string[], address: Address): Promise<number> {
    const pidFile = this.fresh('pid');
    this.cleanup.add(program, async () => {
      if (existsSync(pidFile)) await endTree(Number(readFileSync(pidFile, 'utf8')), program);
    });
    await execute(program, args(pidFile), { timeout: LISTEN_MAX_MS, env: environment() });
    const end = performance.now() + LISTEN_MAX_MS;
    for (;;) {
      try {
        (await nodeNet.connect(address, 1000)).destroy();
        if (existsSync(pidFile)) return Number(readFileSync(pidFile, 'utf8'));
      } catch (e: unknown) {
        if (!(e instanceof IoError)) throw e;
      }
      if (performance.now() > end) throw new Error(`${program} does not accept connections, or wrote no process id`);
      await sleep(10);
    }
  }

  /**
   * Runs a program to its end, or to that of the benchmark. Gives its output; rejects with what it said when it fails or is
   * late.
   */
  async run(program: string, args: readonly string[], timeoutMs: number): Promise<string> {
    try {
      const { stdout } = await execute('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
        signal: this.#ending,
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        maxBuffer: OUTPUT_MAX_BYTES,
        env: environment(),
      });
      return stdout;
    } catch (e: unknown) {
      throw new Error(`${program} (within ${String(timeoutMs)} ms): ${e instanceof Error ? e.message.trim() : String(e)}`, { cause: e });
    }
  }

  /** All that was written is on the disk, so that no run pays for the one before it. */
  async settle(): Promise<void> {
    await this.run('sync', ['-f', this.folder], SYNC_MAX_MS);
  }

  /** Everything that was started is ended, everything made is removed. Rejects with all that went wrong. */
  close(): Promise<void> {
    return this.cleanup.run();
  }
}

async function writeRandom(f: FileHandle, bytes: number): Promise<void> {
  const piece = new Uint8Array(PIECE_BYTES);
  for (let at = 0; at < bytes; at += piece.length) {
    randomFillSync(piece);
    await f.write(piece, 0, piece.length, at);
  }
}

function environment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C.UTF-8', PATH: programsPath };
}

const TMPFS_MAGIC = 0x01021994;

export function isTmpfs(folder: string): boolean {
  return statfsSync(folder).type === TMPFS_MAGIC;
}

/** A process that is no child of this one, with those that it has started for connections. */
async function endTree(root: number, program: string): Promise<void> {
  const pids = descendants(root);
  for (const pid of pids) signalled(pid, 'SIGKILL');
  const end = performance.now() + END_MAX_MS;
  while (pids.some((pid) => signalled(pid, 0))) {
    if (performance.now() > end) throw new Error(`${program} (${String(root)}) does not end`);
    await sleep(10);
  }
}

/** False when there is no such process any more. */
function signalled(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e && e.code === 'ESRCH') return false;
    throw e;
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null;
}

function said(logPath: string): string {
  return readFileSync(logPath, 'utf8').trim().slice(-LOG_SHOWN_CHARS);
}

async function endChild(child: ChildProcess, program: string): Promise<void> {
  if (child.pid === undefined || !isRunning(child)) return;
  const ended = new Promise<boolean>((resolve) => {
    child.once('exit', () => {
      resolve(true);
    });
  });
  child.kill('SIGKILL');
  const late = new AbortController();
  const inTime = await Promise.race([ended, sleep(END_MAX_MS, false, { signal: late.signal })]);
  late.abort();
  if (!inTime) throw new Error(`${program} (${String(child.pid)}) does not end`);
}
