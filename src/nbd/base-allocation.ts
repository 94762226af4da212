/** The base:allocation meta context: what a device reports as extents becomes block status descriptors. Pure. */
import type { Extent } from '../io/types.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from './wire/constants.ts';
import type { BlockDescriptor } from './wire/transmission.ts';

/** Descriptors in one reply; a reply may end early, the client asks again. */
export const DESCRIPTORS_MAX = 8192;

/** A descriptor's length has 32 bits, but with extended headers; the largest whole number of 64 KiB blocks (the largest minimum block size) below that. */
const DESCRIPTOR_MAX_BYTES = 0x1_0000_0000 - 65536;

export interface StatusRequest {
  offset: number;
  length: number;
  /** NBD_CMD_FLAG_REQ_ONE: one descriptor, never longer than the request. */
  oneExtent: boolean;
  /** Lengths of 64 bits. */
  extended: boolean;
}

/**
 * Descriptors from the request's offset on, neighbours of one status merged. The last may reach beyond the request, as the
 * specification allows, unless REQ_ONE was asked. At least one: where nothing is known the answer is "allocated data",
 * which is always safe.
 */
export function baseAllocation(request: StatusRequest, extents: readonly Extent[]): BlockDescriptor[] {
  const end = request.offset + request.length;
  const most = request.extended ? Number.MAX_SAFE_INTEGER : DESCRIPTOR_MAX_BYTES;
  const out: BlockDescriptor[] = [];
  let at = request.offset;
  for (const e of extents) {
    if (at >= end || e.offset > at) break;
    const extentEnd = e.offset + e.length;
    if (extentEnd <= at) continue;
    const flags = (e.hole ? NBD_STATE_HOLE : 0) | (e.zero ? NBD_STATE_ZERO : 0);
    const to = request.oneExtent ? Math.min(extentEnd, end) : extentEnd;
    const last = out.at(-1);
    if (last?.flags === flags) {
      const grown = Math.min(last.length + to - at, most);
      at += grown - last.length;
      last.length = grown;
    } else {
      if (out.length === (request.oneExtent ? 1 : DESCRIPTORS_MAX)) break;
      const length = Math.min(to - at, most);
      out.push({ length, flags });
      at += length;
    }
    // A descriptor at its longest ends the reply: what follows would have to be a neighbour of the same status.
    if (at < to) break;
  }
  if (out.length === 0) out.push({ length: Math.min(request.length, most), flags: 0 });
  return out;
}
