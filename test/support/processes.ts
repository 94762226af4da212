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
