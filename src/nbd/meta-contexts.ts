/** Which meta contexts a client's queries name, and what those that it selected say (proto.md, "Metadata querying"). Pure. */
import type { Extent } from '../io/types.ts';
import { baseAllocation, DESCRIPTORS_MAX, descriptorsOf, type StatusRequest } from './base-allocation.ts';
import type { Device, MetaContext } from './device.ts';
import { NBD_META_CONTEXT_BASE_ALLOCATION } from './wire/constants.ts';
import { encodeBlockStatus } from './wire/transmission.ts';

/** Of one export, base:allocation included. */
export const CONTEXTS_MAX = 64;

/** Of one option. */
export const QUERIES_MAX = 256;

/** What a client has selected. */
export interface SelectedContext {
  id: number;
  name: string;
  /** Absent: base:allocation. */
  context?: MetaContext;
}

/** All that an export offers, with the ids that they have for this client from now on. */
export function contextsOf(device: Device): SelectedContext[] {
  const more = device.metaContexts?.().slice(0, CONTEXTS_MAX - 1) ?? [];
  return [{ id: 1, name: NBD_META_CONTEXT_BASE_ALLOCATION }, ...more.map((context, i) => ({ id: i + 2, name: context.name, context }))];
}

/** In a list request no query asks for all, and one that ends in a colon for all names that begin with it; only a whole name selects. */
export function contextsAsked(offered: readonly SelectedContext[], queries: readonly string[], set: boolean): SelectedContext[] {
  if (!set && queries.length === 0) return [...offered];
  const names = new Set(queries);
  const begins = set ? [] : queries.filter((q) => q.endsWith(':'));
  return offered.filter((c) => names.has(c.name) || begins.some((b) => c.name.startsWith(b)));
}

/** The same contexts as they are now: the export may have gone to another device since they were selected. Undefined: one of them is gone. */
export function selectedOn(device: Device, selected: readonly SelectedContext[]): SelectedContext[] | undefined {
  const offered = new Map(contextsOf(device).map((c) => [c.name, c]));
  const now: SelectedContext[] = [];
  for (const { id, name } of selected) {
    const c = offered.get(name);
    if (c === undefined) return undefined;
    now.push({ ...c, id });
  }
  return now;
}

/** A chunk for each context, the descriptors of all within the limit of one reply. Undefined: one of them can say nothing any more. */
export function statusChunks(
  request: StatusRequest,
  selected: readonly SelectedContext[],
  extents: readonly Extent[],
  descriptorsMax: number = DESCRIPTORS_MAX,
): Uint8Array[] | undefined {
  const each = Math.max(1, Math.floor(descriptorsMax / selected.length));
  const chunks: Uint8Array[] = [];
  for (const { id, context } of selected) {
    if (context === undefined) {
      chunks.push(encodeBlockStatus(id, baseAllocation(request, extents, each)));
      continue;
    }
    const status = context.extents(request.offset, request.length);
    const descriptors = status === undefined ? [] : descriptorsOf(request, status, each);
    if (descriptors.length === 0) return undefined;
    chunks.push(encodeBlockStatus(id, descriptors));
  }
  return chunks;
}
