/** How many processors this process may run on: what native-shims/send.c counts. */
import { readFileSync } from 'node:fs';

export function processors(): number {
  const mask = /^Cpus_allowed:\s*([0-9a-f,]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
  return (mask.match(/[0-9a-f]/g) ?? []).reduce((n, digit) => n + Number.parseInt(digit, 16).toString(2).replaceAll('0', '').length, 0);
}
