/**
 * Runs a program of the system: with a deadline, without a shell and without stdin, and with what it said in the error.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { memoryShield, shieldChoice } from '../io/node/memory-shield.ts';
import { errnoName } from '../io/types.ts';
import { AttachError } from './errors.ts';

/** The Debian package of each program that this room starts. */
const packageOf: Record<string, string> = {
  blkid: 'util-linux',
  dd: 'coreutils',
  e2fsck: 'e2fsprogs',
  fusermount3: 'fuse3',
  losetup: 'mount',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  modprobe: 'kmod',
  mount: 'mount',
  'nbd-client': 'nbd-client',
  nbdfuse: 'libnbd-bin',
  umount: 'mount',
  wipefs: 'util-linux',
  xfs_repair: 'xfsprogs',
};

/** Output kept of a program, bytes: enough for a message, bounded whatever it says. */
const outputMaxBytes = 64 * 1024;

export interface CommandResult {
  status: number;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  timeoutMs: number;
  /** Statuses other than 0 that are an answer and not a failure. */
  accept?: readonly number[];
  /** More of the environment. */
  environment?: Record<string, string>;
}

/** System programs live in folders that an ordinary PATH may lack. */
function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`, LC_ALL: 'C', ...extra };
}

export function missingProgram(program: string): AttachError {
  return new AttachError('missing-program', `${program} is not installed: apt-get install ${packageOf[program] ?? program}`);
}

/** Said after a command's name: the last lines of what it wrote, on one line. */
export function oneLine(text: string): string {
  const lines = text
    .split('\n')
    .map((l) => l.trim())
    .filter((l) => l !== '');
  return lines.slice(-4).join('; ');
}

/**
 * Runs to the end. Throws AttachError: `missing-program`; `timeout` after `timeoutMs`, the program then killed;
 * `failed` for a status that is not accepted.
 */
export function run(program: string, args: readonly string[], o: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: environment(o.environment), stdio: ['ignore', 'pipe', 'pipe'], cwd: '/' });
    const shown = [program, ...args].join(' ');
    let stdout = '';
    let stderr = '';
    let settled = false;
    const settle = (f: () => void): void => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      f();
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy();
      child.stderr.destroy();
      // A program that hangs in the kernel does not die at once: it is not waited for.
      child.unref();
      settle(() => {
        reject(new AttachError('timeout', `${shown}: no end within ${String(o.timeoutMs)} ms${said(stderr)}`));
      });
    }, o.timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (s: string) => {
      stdout = (stdout + s).slice(-outputMaxBytes);
    });
    child.stderr.setEncoding('utf8').on('data', (s: string) => {
      stderr = (stderr + s).slice(-outputMaxBytes);
    });
    child.on('error', (e: NodeJS.ErrnoException) => {
      settle(() => {
        reject(e.code === 'ENOENT' ? missingProgram(program) : new AttachError('failed', `${shown}: ${e.message}`));
      });
    });
    child.on('close', (code, signal) => {
      settle(() => {
        const status = code ?? -1;
        if (status === 0 || o.accept?.includes(status) === true) resolve({ status, stdout, stderr });
        else
          reject(
            new AttachError('failed', `${shown}: ${signal === null ? `status ${String(status)}` : `ended by ${signal}`}${said(stderr, stdout)}`),
          );
      });
    });
  });
}

function said(...outputs: string[]): string {
  const line = outputs.map(oneLine).find((l) => l !== '');
  return line === undefined ? '' : `: ${line}`;
}

export interface Background {
  pid: number;
  /** How the program ended; undefined while it runs. */
  ended(): string | undefined;
  /** The last lines of its log, on one line; empty when it said nothing. */
  said(): Promise<string>;
  /** Errnos of what it was to have of the memory shield (src/io/node/memory-shield.ts) and could not be given. */
  unshielded: readonly string[];
}

/**
 * Starts a program that carries a device, and outlives this process; what it says goes to `logPath`. `mark` is put in its environment, where
 * another process finds it again (`processes.ts`).
 */
export async function startBackground(program: string, args: readonly string[], logPath: string, mark: Record<string, string>): Promise<Background> {
  const log = await open(logPath, 'w', 0o600);
  try {
    return await new Promise<Background>((resolve, reject) => {
      const start = (): ChildProcess => spawn(program, args, { env: environment(mark), stdio: ['ignore', log.fd, log.fd], cwd: '/', detached: true });
      const shielded = shieldChoice(process.env['NETRAID_MEMORY_SHIELD']);
      const { result: child, errnos } = shielded ? memoryShield().inside(start) : { result: start(), errnos: [] };
      let end: string | undefined;
      child.on('error', (e: NodeJS.ErrnoException) => {
        reject(e.code === 'ENOENT' ? missingProgram(program) : new AttachError('failed', `${program}: ${e.message}`));
      });
      child.on('exit', (code, signal) => {
        end = signal === null ? `status ${String(code)}` : `ended by ${signal}`;
      });
      child.on('spawn', () => {
        child.unref();
        if (child.pid === undefined) reject(new AttachError('failed', `${program}: started without a process id`));
        else
          resolve({
            pid: child.pid,
            ended: () => end,
            said: async () => oneLine((await readFile(logPath, 'utf8')).slice(-outputMaxBytes)),
            unshielded: errnos.map(errnoName),
          });
      });
    });
  } finally {
    await log.close();
  }
}
