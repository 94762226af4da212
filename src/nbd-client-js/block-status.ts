/** What a server said of base:allocation, as extents. Pure; proto.md, "Metadata querying" and NBD_CMD_BLOCK_STATUS. */
import type { EngineValue, Extent } from '../io/types.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../nbd/wire/constants.ts';

/**
 * Contiguous extents from `offset`, cut at the end of the range; they may end before it, as the server pleases.
 * Undefined when the server's answer says nothing about the first byte: it has then broken the protocol.
 */
export function extentsOf(value: EngineValue | undefined, contextId: number, offset: number, length: number): Extent[] | undefined {
  if (value?.kind !== 'block-status') return undefined;
  const context = value.contexts.find((c) => c.id === contextId);
  if (context === undefined) return undefined;
  const end = offset + length;
  const extents: Extent[] = [];
  let at = offset;
  for (const d of context.extents) {
    if (d.length === 0) return undefined;
    if (at >= end) break;
    const n = Math.min(d.length, end - at);
    append(extents, { offset: at, length: n, hole: (d.flags & NBD_STATE_HOLE) !== 0, zero: (d.flags & NBD_STATE_ZERO) !== 0 });
    at += n;
  }
  return extents.length === 0 ? undefined : extents;
}

/** Adds one that follows the last, joined with it when it is alike. */
export function append(extents: Extent[], e: Extent): void {
  const last = extents.at(-1);
  if (last !== undefined && last.hole === e.hole && last.zero === e.zero && last.offset + last.length === e.offset) last.length += e.length;
  else extents.push(e);
}
