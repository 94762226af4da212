/** Digest of bytes of a target's leg in a session; null: it can't say. */
import type { Dialer } from './target-dial.ts';
import type { NodeName } from './types.ts';

export async function remoteDigest(s: Dialer, node: NodeName, session: string, offset: number, length: number): Promise<string | null> {
  const { ctx } = s;
  try {
    const d = await ctx.env.cluster.request(node, 'digest', { tag: ctx.tag, session, offset, length }, s.timeoutMs);
    return typeof d === 'string' ? d : null;
  } catch (e: unknown) {
    // Without a digest the piece is sent; a target that is really gone shows in the write.
    if (e instanceof Error) return null;
    throw e;
  }
}
