/** What a successful reply brought, put into the request that asked for it. What does not fit is EIO. */
import { type Engine, type EngineValue, Errno, type Handle } from '../io/types.ts';
import { extentsOf } from './block-status.ts';
import type { Request } from './request-pool.ts';

/** READ. One piece hands its data on; several are copied together. Takes over the reference to `h`. */
export function gatherRead(engine: Engine, r: Request, start: number, asked: number, length: number, h: Handle): void {
  if (h === 0 || length !== asked) {
    if (h !== 0) engine.release(h);
    if (r.errno === 0) r.errno = Errno.EIO;
    return;
  }
  if (asked === r.length) {
    r.data = h;
    return;
  }
  if (r.data === 0) r.data = engine.allocate(r.length);
  engine.view(r.data).set(engine.view(h).subarray(0, length), start);
  engine.release(h);
}

/** BLOCK_STATUS. */
export function translateStatus(r: Request, value: EngineValue | undefined, contextId: number | undefined): void {
  const extents = contextId === undefined ? undefined : extentsOf(value, contextId, r.offset, r.length);
  if (extents === undefined) {
    r.errno = Errno.EIO;
    return;
  }
  const last = extents.at(-1);
  r.doneBytes = last === undefined ? 0 : last.offset + last.length - r.offset;
  r.value = { kind: 'extents', extents };
}
