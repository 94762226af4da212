/** The state record out of its file's bytes, for the checks; whether the product would take it is the product's business. */
import type { StateRecord } from '../../../src/failover/types.ts';

export function parseRecord(bytes: Uint8Array | undefined): StateRecord | undefined {
  if (bytes === undefined) return undefined;
  const text = new TextDecoder().decode(bytes);
  const body = text.slice(text.indexOf('\n') + 1);
  try {
    return JSON.parse(body) as StateRecord;
  } catch (e: unknown) {
    if (e instanceof SyntaxError) return undefined;
    throw e;
  }
}
