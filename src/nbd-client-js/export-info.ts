/** What a server said about an export, decoded and bounded. Pure; proto.md, "Transmission flags" and "Block size constraints". */
import {
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_DEFAULT_PAYLOAD_MAX_BYTES,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from '../nbd/wire/constants.ts';

export interface ExportInfo {
  sizeBytes: number;
  readOnly: boolean;
  canFlush: boolean;
  canFua: boolean;
  canTrim: boolean;
  canWriteZeroes: boolean;
  canFastZero: boolean;
  canDf: boolean;
  /** A flush on one connection covers the completed writes of all. */
  canMultiConn: boolean;
  canCache: boolean;
  rotational: boolean;
  /** Offsets and lengths must be multiples of it (but for the tail of an export that is none); a power of two. */
  blockSizeMinBytes: number;
  blockSizePreferredBytes: number;
  /** Longest READ or WRITE in one request, a multiple of the minimum; longer ones are split by the client. */
  payloadMaxBytes: number;
  /** The server's own text for people, cleaned; empty when it gave none. */
  description: string;
  /** Replies come in chunks. */
  structured: boolean;
  /** Extended headers were agreed: lengths of 64 bits, where no payload is concerned. */
  extended: boolean;
  /** BLOCK_STATUS may name the contexts that it asks for. */
  canFilterStatus: boolean;
  /** The server granted contexts that were not asked for: BLOCK_STATUS should name its own. */
  hasOtherContexts: boolean;
  /** Undefined: block status cannot be asked for. */
  baseAllocationContextId: number | undefined;
}

export interface BlockSizes {
  minimumBytes: number;
  preferredBytes: number;
  maximumBytes: number;
}

/** The facts a handshake gathers. */
export interface ExportFacts {
  sizeBytes: number;
  flags: number;
  /** Undefined: the server announced none, and the defaults of the specification hold. */
  blockSizes: BlockSizes | undefined;
  description: string;
  structured: boolean;
  extended: boolean;
  hasOtherContexts: boolean;
  baseAllocationContextId: number | undefined;
}

const MINIMUM_MAX_BYTES = 64 * 1024;
const DEFAULT_MINIMUM_BYTES = 512;
const DEFAULT_PREFERRED_BYTES = 4096;

/** The export, or one line that says what cannot be. */
export function decodeExport(f: ExportFacts): ExportInfo | string {
  if (!Number.isSafeInteger(f.sizeBytes)) return 'its size of 2^53 bytes or more cannot be';
  const sizes = f.blockSizes ?? {
    minimumBytes: DEFAULT_MINIMUM_BYTES,
    preferredBytes: DEFAULT_PREFERRED_BYTES,
    maximumBytes: NBD_DEFAULT_PAYLOAD_MAX_BYTES,
  };
  const min = sizes.minimumBytes;
  const max = sizes.maximumBytes;
  if (!isPowerOfTwo(min) || min > MINIMUM_MAX_BYTES) return `its minimum block size of ${String(min)} bytes is no power of two up to 64 KiB`;
  if (max < min || (max !== 0xffffffff && max % min !== 0)) {
    return `its maximum block size of ${String(max)} bytes is no multiple of the minimum of ${String(min)}`;
  }
  // The preferred size is a hint: one that cannot be is replaced rather than refused.
  const hint = sizes.preferredBytes;
  const preferred = isPowerOfTwo(hint) && hint >= min ? hint : Math.max(min, DEFAULT_PREFERRED_BYTES);
  const has = (flag: number): boolean => (f.flags & NBD_FLAG_HAS_FLAGS) !== 0 && (f.flags & flag) !== 0;
  return {
    sizeBytes: f.sizeBytes,
    readOnly: (f.flags & NBD_FLAG_READ_ONLY) !== 0,
    canFlush: has(NBD_FLAG_SEND_FLUSH),
    canFua: has(NBD_FLAG_SEND_FUA),
    canTrim: has(NBD_FLAG_SEND_TRIM),
    canWriteZeroes: has(NBD_FLAG_SEND_WRITE_ZEROES),
    canFastZero: has(NBD_FLAG_SEND_FAST_ZERO),
    canDf: has(NBD_FLAG_SEND_DF),
    canMultiConn: has(NBD_FLAG_CAN_MULTI_CONN),
    canCache: has(NBD_FLAG_SEND_CACHE),
    rotational: has(NBD_FLAG_ROTATIONAL),
    blockSizeMinBytes: min,
    blockSizePreferredBytes: preferred,
    payloadMaxBytes: Math.min(max, NBD_DEFAULT_PAYLOAD_MAX_BYTES),
    description: f.description,
    structured: f.structured,
    extended: f.extended,
    canFilterStatus: f.extended && has(NBD_FLAG_BLOCK_STATUS_PAYLOAD),
    hasOtherContexts: f.hasOtherContexts,
    baseAllocationContextId: f.baseAllocationContextId,
  };
}

/** What differs between two connections to what should be one export; undefined when nothing that matters does. */
export function differs(a: ExportInfo, b: ExportInfo): string | undefined {
  const keys = [
    'sizeBytes',
    'readOnly',
    'canFlush',
    'canFua',
    'canTrim',
    'canWriteZeroes',
    'canFastZero',
    'canMultiConn',
    'blockSizeMinBytes',
    'payloadMaxBytes',
    'extended',
  ] as const;
  for (const k of keys) {
    if (a[k] !== b[k]) return `${k} is ${String(a[k])} on one and ${String(b[k])} on another`;
  }
  return undefined;
}

function isPowerOfTwo(n: number): boolean {
  return n > 0 && Number.isInteger(Math.log2(n));
}
