/** What `Engine.serve` is told: which requests of a connection the engine may execute and answer by itself. */
import type { LegId } from './ids.ts';

/** Where writes that nobody is told of may go, and which are under way: memory that both sides see, each word of it read and written as a whole. */
export interface ServeMarks {
  /**
   * A bit a region, as the first words of `ServeRules.touched`: a WRITE to one whose bit is 0 and that can't be asked for is told, and one to
   * more than one region may be.
   */
  allowed: Uint32Array;
  /**
   * In a word each, region + 1 of every region that is being written, and UNDER_WAY_READ for a read: set before its bit in `touched`, and cleared
   * when that has been set again. Whether its region is allowed is looked at in between: whoever clears that bit, and then finds the region
   * neither under way nor touched, knows that nothing is written there. No more is executed at a time than there are words for.
   */
  underWay: Uint32Array;
  /** So many are served together, by calls with the same `allowed`, from the last one's on until one's `unserve` or end, and in one order (M4). */
  clients: number;
  /**
   * Of one client: where a region whose bit is 0 is asked for (src/io/asks.ts) by an engine that can let the WRITE wait. It is executed, behind
   * what waits before it, when the bit is set; told, when all that was asked for is answered and it is not.
   */
  asks?: Uint32Array;
}

export const UNDER_WAY_READ = 0xffffffff;

/** Which requests of a connection `Engine.serve` is about. */
export interface ServeRules {
  leg: LegId;
  /** Those that reach beyond it are told. */
  sizeBytes: number;
  /** Those whose offset or length is no multiple are told. */
  blockBytes: number;
  /** Of `sizeBytes` and `regionBytes` (src/io/touched.ts): set before a write to it begins, and once more when it has ended. */
  touched: Uint32Array;
  regionBytes: number;
  /** With it READs may be executed, too. Absent: WRITEs alone, to any region. */
  marks?: ServeMarks;
}
