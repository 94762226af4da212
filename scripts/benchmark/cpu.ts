/** CPU time of processes, out of /proc/PID/stat. */
import { readdirSync, readFileSync } from 'node:fs';

/** The kernel shows it in these units on x64 and arm64. */
const TICKS_PER_SEC = 100;

export interface ProcessTimes {
  pid: number;
  parent: number;
  /** user+sys of the process itself, of all its threads. */
  ownTicks: number;
  /** user+sys of children that have ended and were waited for. */
  endedChildrenTicks: number;
}

/** Throws for what is no line of /proc/PID/stat. */
export function parseStat(line: string): ProcessTimes {
  // The name of the program stands in parentheses, and may contain any character.
  const open = line.indexOf('(');
  const close = line.lastIndexOf(')');
  const fields = line
    .slice(close + 2)
    .trim()
    .split(/\s+/);
  const at = (field: number): number => Number(fields[field - 3] ?? 'x');
  const times = {
    pid: Number(line.slice(0, Math.max(open, 0))),
    parent: at(4),
    ownTicks: at(14) + at(15),
    endedChildrenTicks: at(16) + at(17),
  };
  if (open < 1 || close < open || Object.values(times).some((n) => !Number.isInteger(n))) throw new Error(`no line of /proc/PID/stat: ${line}`);
  return times;
}

/** Those processes with all their descendants, and the descendants of them that have ended. */
export function treeTicks(roots: readonly number[], all: readonly ProcessTimes[]): number {
  const children = new Map<number, number[]>();
  for (const p of all) children.set(p.parent, [...(children.get(p.parent) ?? []), p.pid]);
  const byPid = new Map(all.map((p) => [p.pid, p]));
  let ticks = 0;
  const look = [...roots];
  for (let pid = look.pop(); pid !== undefined; pid = look.pop()) {
    const p = byPid.get(pid);
    if (p === undefined) throw new Error(`process ${String(pid)} has ended`);
    ticks += p.ownTicks + p.endedChildrenTicks;
    look.push(...(children.get(pid) ?? []));
  }
  return ticks;
}

function allProcesses(): ProcessTimes[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n))
    .flatMap((n) => {
      try {
        return [parseStat(readFileSync(`/proc/${n}/stat`, 'utf8'))];
      } catch (e: unknown) {
        // It ended while it was looked at.
        if (e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ESRCH')) return [];
        throw e;
      }
    });
}

/** The process itself and all that it has started, directly or not, which run now. */
export function descendants(root: number): number[] {
  const all = allProcesses();
  const found = all.filter((p) => p.pid === root).map((p) => p.pid);
  // Grows while it is walked.
  for (const pid of found) found.push(...all.filter((p) => p.parent === pid).map((p) => p.pid));
  return found;
}

/** Microseconds of CPU that these processes and all their descendants have used so far. */
export function cpuMicros(roots: readonly number[]): number {
  return (treeTicks(roots, allProcesses()) * 1_000_000) / TICKS_PER_SEC;
}

/** The same of the children of this process that have ended. */
export function endedChildrenMicros(): number {
  return (parseStat(readFileSync('/proc/self/stat', 'utf8')).endedChildrenTicks * 1_000_000) / TICKS_PER_SEC;
}
