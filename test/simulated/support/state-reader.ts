/** The state record out of its file's bytes, for the checks; undefined: damaged, by the sum that its first line gives. */
import { crc32 } from 'node:zlib';
import type { StateRecord } from '../../../src/failover/types.ts';

export function parseRecord(bytes: Uint8Array | undefined): StateRecord | undefined {
  if (bytes === undefined) return undefined;
  const at = bytes.indexOf(10) + 1;
  const body = new TextDecoder().decode(bytes.subarray(at));
  const sum = / crc32=([0-9a-f]{8}) /u.exec(new TextDecoder().decode(bytes.subarray(0, at)))?.[1];
  if (sum === undefined || crc32(bytes.subarray(at)) !== Number.parseInt(sum, 16)) return undefined;
  try {
    return JSON.parse(body) as StateRecord;
  } catch (e: unknown) {
    if (e instanceof SyntaxError) return undefined;
    throw e;
  }
}
