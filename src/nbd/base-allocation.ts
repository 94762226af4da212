/** Block status descriptors: of what a device reports as extents (base:allocation), and of other meta contexts. Pure. */
import type { Extent } from '../io/types.ts';
import type { StatusExtent } from './device.ts';
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from './wire/constants.ts';
import type { BlockDescriptor } from './wire/transmission.ts';

/** Descriptors in one reply, of all contexts together; a reply may end early, the client asks again. */
export const DESCRIPTORS_MAX = 8192;

/** A descriptor's length has 32 bits; the largest whole number of 64 KiB blocks (the largest minimum block size) below that. */
const DESCRIPTOR_MAX_BYTES = 0x1_0000_0000 - 65536;

export interface StatusRequest {
  offset: number;
  length: number;
  /** NBD_CMD_FLAG_REQ_ONE: one descriptor, never longer than the request. */
  oneExtent: boolean;
}

/** What extents say of base:allocation, without gaps, from the request's offset on. */
function* allocationStatus(request: StatusRequest, extents: readonly Extent[]): Generator<StatusExtent, void, undefined> {
  let at = request.offset;
  for (const e of extents) {
    if (e.offset > at) return;
    const end = e.offset + e.length;
    if (end <= at) continue;
    yield { length: end - at, flags: (e.hole ? NBD_STATE_HOLE : 0) | (e.zero ? NBD_STATE_ZERO : 0) };
    at = end;
  }
}

/** At least one descriptor: where nothing is known the answer is "allocated data", which is always safe. */
export function baseAllocation(request: StatusRequest, extents: readonly Extent[], descriptorsMax: number = DESCRIPTORS_MAX): BlockDescriptor[] {
  const out = descriptorsOf(request, allocationStatus(request, extents), descriptorsMax);
  if (out.length === 0) out.push({ length: Math.min(request.length, DESCRIPTOR_MAX_BYTES), flags: 0 });
  return out;
}

/**
 * Descriptors from the request's offset on, neighbours of one status merged. The last may reach beyond the request, as the
 * specification allows, unless REQ_ONE was asked.
 */
export function descriptorsOf(request: StatusRequest, status: Iterable<StatusExtent>, descriptorsMax: number): BlockDescriptor[] {
  const end = request.offset + request.length;
  const max = request.oneExtent ? 1 : descriptorsMax;
  const out: BlockDescriptor[] = [];
  let at = request.offset;
  for (const s of status) {
    if (at >= end) break;
    const to = request.oneExtent ? Math.min(at + s.length, end) : at + s.length;
    const last = out.at(-1);
    if (last?.flags === s.flags) {
      const grown = Math.min(last.length + to - at, DESCRIPTOR_MAX_BYTES);
      at += grown - last.length;
      last.length = grown;
    } else {
      if (out.length === max) break;
      const length = Math.min(to - at, DESCRIPTOR_MAX_BYTES);
      out.push({ length, flags: s.flags });
      at += length;
    }
    // A descriptor at its longest ends the reply: what follows would have to be a neighbour of the same status.
    if (at < to) break;
  }
  return out;
}
