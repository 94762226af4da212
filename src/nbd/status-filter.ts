/** Which contexts a BLOCK_STATUS with a payload asks for. Pure; proto.md (extension-ext-header), NBD_CMD_BLOCK_STATUS. */
import { decodeStatusPayload, type StatusPayload } from './wire/extended.ts';

/** Undefined, which is EINVAL: malformed, none at all, one that was not selected, or one twice. The range is not judged here. */
export function statusFilter(payload: Uint8Array, selected: readonly number[]): StatusPayload | undefined {
  const asked = decodeStatusPayload(payload, selected.length);
  if (asked === undefined || asked.contextIds.length === 0) return undefined;
  const ids = new Set(asked.contextIds);
  return ids.size === asked.contextIds.length && asked.contextIds.every((id) => selected.includes(id)) ? asked : undefined;
}
