/** What the engine's things are called by: numbers, each kind for itself. */

export type Handle = number; // engine-owned bytes; 0 is "none"
export type ConnId = number;
export type LegId = number;
/** One request received on a server connection; the engine keeps its cookie. Dead once replied or its connection closed. */
export type RequestId = number;
/** Chosen by the caller, > 0, unique among the operations in flight. 0: no `done` wanted (only for reply). */
export type OpId = number;
