/**
 * Finds processes through /proc, so that a helper program is found again by a process that did not start it.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { isErrno } from './errors.ts';

/** Set in the environment of each helper program, to the mount folder of its attachment (of the nbd method too). */
export const markName = 'NETRAID_ATTACH';

/** A process may end, or belong to somebody else, while it is looked at: then there is nothing to see. */
async function look<T>(f: () => Promise<T>, nothing: T): Promise<T> {
  try {
    return await f();
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR')) return nothing;
    throw e;
  }
}

async function pids(): Promise<number[]> {
  return (await readdir('/proc')).filter((n) => /^\d+$/.test(n)).map(Number);
}

async function commandOf(pid: number): Promise<string> {
  return (await look(() => readFile(`/proc/${String(pid)}/comm`, 'utf8'), '')).trim();
}

/** Processes of these programs that carry the mark, lowest id first. Dead ones that nobody has waited for do not count. */
export async function markedProcesses(mark: string, programs: readonly string[]): Promise<number[]> {
  const found: number[] = [];
  for (const pid of await pids()) {
    if (!programs.includes(await commandOf(pid))) continue;
    const environ = await look(() => readFile(`/proc/${String(pid)}/environ`, 'utf8'), '');
    if (environ.split('\0').includes(`${markName}=${mark}`)) found.push(pid);
  }
  return found.sort((a, b) => a - b);
}

const namedMax = 5;

/** Killed, and hanging in the kernel until what it waits for answers or fails: SIGKILL is pending, signal 9 being bit 8. */
async function dying(pid: number): Promise<boolean> {
  const status = await look(() => readFile(`/proc/${String(pid)}/status`, 'utf8'), '');
  return [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)].some((m) => (BigInt(`0x${m[1] ?? '0'}`) & 0x100n) !== 0n);
}

/**
 * Those but `except` who have the path, or something below it, open or as their folder: `name (pid)`, the first few. One
 * that was killed already is not counted: it goes as soon as it can.
 */
export async function usersOf(path: string, except: readonly number[]): Promise<string[]> {
  const below = `${path}/`;
  const found: string[] = [];
  for (const pid of await pids()) {
    if (found.length >= namedMax) break;
    if (except.includes(pid)) continue;
    const base = `/proc/${String(pid)}`;
    const fds = await look(() => readdir(`${base}/fd`), []);
    for (const link of [`${base}/cwd`, `${base}/root`, ...fds.map((fd) => `${base}/fd/${fd}`)]) {
      const target = await look(() => readlink(link), '');
      if (target !== path && !target.startsWith(below)) continue;
      if (!(await dying(pid))) found.push(`${await commandOf(pid)} (${String(pid)})`);
      break;
    }
  }
  return found;
}

/** A process named so that another one that gets its id later is not taken for it: id and start time; undefined when it is gone. */
export async function identityOf(pid: number): Promise<string | undefined> {
  const stat = await look(() => readFile(`/proc/${String(pid)}/stat`, 'utf8'), '');
  // The name in parentheses may hold spaces: fields are counted from behind it, state first, start time twentieth.
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const started = rest[18];
  return state === undefined || state === 'Z' || started === undefined ? undefined : `${String(pid)}@${started}`;
}

/** Sends a signal; a process that has ended already is fine. */
export function signal(pid: number, name: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, name);
  } catch (e: unknown) {
    if (!isErrno(e, 'ESRCH')) throw e;
  }
}
