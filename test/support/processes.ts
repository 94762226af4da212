/** What runs on this machine. */
import { readdirSync, readFileSync } from 'node:fs';

/** Command lines of other programs that have a path on them which begins so. */
export function processesBelow(start: string): string[] {
  return readdirSync('/proc')
    .filter((n) => /^\d+$/.test(n) && Number(n) !== process.pid)
    .flatMap((n) => {
      try {
        const line = readFileSync(`/proc/${n}/cmdline`, 'utf8').replaceAll('\0', ' ');
        return line.includes(start) ? [line] : [];
      } catch (e: unknown) {
        // It ended while it was looked at.
        if (e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ESRCH')) return [];
        throw e;
      }
    });
}

/** A process that has ended, and that nobody has waited for, does not run. */
export function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A process that ended and that nobody has waited for still has an id.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${String(pid)}/status`, 'utf8'));
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e && (e.code === 'ESRCH' || e.code === 'ENOENT')) return false;
    throw e;
  }
}
