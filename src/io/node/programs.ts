/**
 * Programs of the operator as child processes: a group of their own, so that a deadline ends all that they started, and
 * pipes that are read to their end, so that what they leave running in the background never writes into a broken one.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { Errno, IoError, type ProgramEnd, type ProgramLimits, type Programs } from '../types.ts';
import { errnoOf, toIoError, withIoErrors } from './errors.ts';
import { memoryShield } from './memory-shield.ts';

/** The usual folders; behind them the one of this very Node, for programs that are written for it. */
const PATH = `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${dirname(process.execPath)}`;

async function isExecutable(path: string): Promise<boolean> {
  try {
    if (!(await stat(path)).isFile()) return false;
    await access(path, constants.X_OK);
    return true;
  } catch (e: unknown) {
    const errno = errnoOf(e);
    // A link that leads nowhere, a file gone meanwhile, or one without the right to run it.
    if (errno === Errno.ENOENT || errno === Errno.EACCES) return false;
    throw e;
  }
}

/** How long the last words of a program that has ended are waited for, when something in the background holds its pipes. */
const LAST_WORDS_MS = 100;

/** To all processes of its group; false when none is left. */
function signalGroup(child: ChildProcess, signal: NodeJS.Signals): boolean {
  if (child.pid === undefined) return false;
  try {
    return process.kill(-child.pid, signal);
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e && e.code === 'ESRCH') return false;
    throw e;
  }
}

/** Keeps the first bytes of what comes, and reads on without holding this process alive. */
class Output {
  readonly #maxBytes: number;
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  constructor(maxBytes: number, streams: readonly Readable[]) {
    this.#maxBytes = maxBytes;
    for (const s of streams) {
      if (s instanceof Socket) s.unref();
      s.on('data', (part: Buffer) => {
        this.#take(part);
      });
      // The other end is gone, which its program's exit tells as well.
      s.on('error', () => {
        s.destroy();
      });
    }
  }

  #take(part: Buffer): void {
    const room = this.#maxBytes - this.#bytes;
    if (room <= 0) return;
    const kept = Buffer.from(part.subarray(0, room));
    this.#parts.push(kept);
    this.#bytes += kept.length;
  }

  get text(): string {
    return Buffer.concat(this.#parts).toString('utf8');
  }
}

function run(path: string, args: readonly string[], env: Readonly<Record<string, string>>, limits: ProgramLimits): Promise<ProgramEnd> {
  return new Promise((resolve, reject) => {
    const child = memoryShield().outside(() =>
      spawn(path, args, { cwd: '/', env: { PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'], detached: true }),
    );
    const output = new Output(limits.outputMaxBytes, [child.stdout, child.stderr]);
    let timedOut = false;
    let kill: NodeJS.Timeout | undefined;
    let lastWords: NodeJS.Timeout | undefined;
    const end = (exit: number | null, signal: string | null): void => {
      clearTimeout(term);
      clearTimeout(kill);
      clearTimeout(lastWords);
      resolve({ exit, signal, timedOut, output: output.text });
    };
    const term = setTimeout(() => {
      timedOut = true;
      signalGroup(child, 'SIGTERM');
      kill = setTimeout(() => {
        signalGroup(child, 'SIGKILL');
        // One that hangs in the kernel does not die at once: it is not waited for.
        child.unref();
        end(null, 'SIGKILL');
      }, limits.graceMs);
    }, limits.timeoutMs);
    child.once('error', (e) => {
      clearTimeout(term);
      clearTimeout(kill);
      const known = toIoError(e, path);
      reject(known instanceof IoError ? known : new IoError(Errno.EIO, `${path}: ${e.message}`));
    });
    child.once('exit', (exit, signal) => {
      // What its own children have not noticed of the first signal must not outlive the deadline either.
      if (timedOut) signalGroup(child, 'SIGKILL');
      clearTimeout(term);
      clearTimeout(kill);
      lastWords = setTimeout(() => {
        end(exit, signal);
      }, LAST_WORDS_MS);
    });
    child.once('close', end);
  });
}

export const nodePrograms: Programs = {
  list: (folder) =>
    withIoErrors(folder, async () => {
      const names = (await readdir(folder)).sort();
      const executable = await Promise.all(names.map((n) => isExecutable(join(folder, n))));
      return names.filter((_, i) => executable[i]);
    }),
  run,
};
