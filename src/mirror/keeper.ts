/** Snapshots, as the mirror device sees them on a write's way. */
import type { MirrorRequest } from './request.ts';

export interface Keeper {
  /** A write, with its lock and about to be issued. True: what it overwrites has to be kept first, and it comes back by `onDurable`. */
  takes(m: MirrorRequest): boolean;
}
