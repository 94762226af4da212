/** Which boot of the machine this is. */
import { readFileSync } from 'node:fs';

const PATH = '/proc/sys/kernel/random/boot_id';

/** Where nobody can tell, every time is the same boot: whoever asks then trusts no page cache, which is the safe reading. */
export const UNKNOWN_BOOT = 'unknown';

export function readBootId(path = PATH): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (e: unknown) {
    if (e instanceof Error && 'code' in e) return UNKNOWN_BOOT;
    throw e;
  }
  const id = text.trim();
  return /^[0-9a-f-]{8,64}$/.test(id) ? id : UNKNOWN_BOOT;
}
