/** Bounds of everything that is counted in the state on disk (M14). */
export const NODES_MAX = 8;
/** Earlier generations kept. A peer whose generation has fallen out is still known by `absentPeers`. */
export const HISTORY_MAX = 64;
export const OFFERED_MAX = 64;
/** Epochs that a node's marks know of: a node that has been away for longer is copied to in full. */
export const TERMS_MAX = 64;
export const MERGE_PENDING_MAX = 16;
/** Checkpoints of one mirror on one node, void ones included. */
export const CHECKPOINTS_MAX = 16;
export const BOOT_ID_MAX_CHARACTERS = 64;
export const WHY_MAX_CHARACTERS = 4096;
/** Failover `confirm`, for mirrors that say nothing else; and the longest time to answer, a week. */
export const CONFIRM_TIMEOUT_SEC = 60;
export const CONFIRM_DEFAULT = 'stay';
export const CONFIRM_TIMEOUT_MAX_SEC = 604_800;
/** Sector sizes of a mirror: powers of two. */
export const SECTOR_MIN_BYTES = 512;
export const SECTOR_MAX_BYTES = 4096;
/** Of one mirror at a time: each that a write is news to costs it a copy. */
export const SNAPSHOTS_MAX = 4;
export const PATH_MAX_CHARACTERS = 4096;
export const RECORD_MAX_BYTES = 128 * 1024;
export const FLAG_MAX_BYTES = 256;
