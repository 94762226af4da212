/** Marks that another node keeps, as a source asks for them piece by piece. */
import { DirtyBitmap } from '../bitmap/dirty-bitmap.ts';
import { RegionMap } from '../bitmap/regions.ts';
import { decodeRunsInto } from '../bitmap/run-codec.ts';
import type { Marks } from '../mirror/marks.ts';
import { addWithin } from '../mirror/unsynced.ts';
import type { NodeContext } from './context.ts';
import { marksAnswerSchema } from './protocol.ts';
import type { NodeView } from './types.ts';

export interface Fetcher {
  readonly ctx: NodeContext;
  readonly marks: Marks;
  readonly timeoutMs: number;
}

/** A map of another node, as far as the mirror reaches here; `map`: `intent` or `oos:NODE`. Rejects with ClusterError, or when the answers make no sense. */
export async function fetchMarks({ ctx, marks, timeoutMs }: Fetcher, view: NodeView, map: string): Promise<DirtyBitmap> {
  const from = view.node;
  const { regionCount } = new RegionMap({ deviceBytes: view.record.definition.sizeBytes, regionBytes: marks.regions.regionBytes });
  const all = new DirtyBitmap(regionCount);
  let cursor: number | null = 0;
  while (cursor !== null) {
    const raw = await ctx.env.cluster.request(from, 'marks.get', { tag: ctx.tag, map, cursor }, timeoutMs);
    const answer = marksAnswerSchema.parse(raw);
    for (const p of answer.pieces) decodeRunsInto(new Uint8Array(Buffer.from(p, 'base64')), all, regionCount);
    if (answer.next !== null && answer.next <= cursor) throw new Error(`${from} sends its map ${map} in circles`);
    cursor = answer.next;
  }
  const out = new DirtyBitmap(marks.regions.regionCount);
  addWithin(out, all);
  return out;
}
