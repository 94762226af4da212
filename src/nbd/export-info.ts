/** What an export tells its clients about itself in the handshake, derived from `DeviceInfo` in one place. */
import type { DeviceInfo } from './device.ts';
import {
  NBD_FLAG_BLOCK_STATUS_PAYLOAD,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from './wire/constants.ts';

/** What was agreed on before, as far as it decides which flags are told. */
export interface Haggled {
  /** Extended headers too have them. */
  structuredReplies: boolean;
  extendedHeaders: boolean;
  /** A meta context of this export was selected. */
  metaContext: boolean;
}

/** Transmission flags (16 bits). What is not announced here is refused by `validateRequest`. */
export function transmissionFlags(info: DeviceInfo, { structuredReplies, extendedHeaders, metaContext }: Haggled): number {
  let flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_CACHE;
  if (info.multiConn) flags |= NBD_FLAG_CAN_MULTI_CONN;
  if (structuredReplies) flags |= NBD_FLAG_SEND_DF;
  if (extendedHeaders && metaContext) flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
  if (info.canFua) flags |= NBD_FLAG_SEND_FUA;
  if (info.readOnly) return flags | NBD_FLAG_READ_ONLY;
  if (info.canTrim) flags |= NBD_FLAG_SEND_TRIM;
  if (info.canWriteZeroes) flags |= NBD_FLAG_SEND_WRITE_ZEROES;
  if (info.canWriteZeroes && info.canFastZero) flags |= NBD_FLAG_SEND_FAST_ZERO;
  return flags;
}

/** The size told to clients: whole minimum blocks only, so that no request can reach a part of one. */
export function exportSizeBytes(info: DeviceInfo): number {
  return info.sizeBytes - (info.sizeBytes % info.blockSizeMinBytes);
}
