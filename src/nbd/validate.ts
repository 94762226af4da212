/**
 * The one place where a request is judged. Everything below (devices, legs, mirror) asserts and does not ask again.
 *
 * A flat ladder, first failure wins: command, flags, permission, capability, reserved fields, payload, range, alignment.
 * Error numbers are those that the specification asks for, section "Error values" and each command's own text.
 */
import type { DeviceInfo } from './device.ts';
import { exportSizeBytes } from './export-info.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_SUCCESS,
} from './wire/constants.ts';

/** What the handshake agreed on, as far as it decides which requests are legal. */
export interface Agreed {
  structuredReplies: boolean;
  /** This client may change nothing, whatever others may. */
  readOnly: boolean;
  /** A meta context was selected. */
  blockStatus: boolean;
}

/** Beside FUA, which a client may set on any command once it is announced. An unknown command has no entry. */
const FLAGS_ALLOWED: readonly (number | undefined)[] = (() => {
  const t: (number | undefined)[] = [];
  t[NBD_CMD_READ] = NBD_CMD_FLAG_DF;
  t[NBD_CMD_WRITE] = 0;
  t[NBD_CMD_FLUSH] = 0;
  t[NBD_CMD_TRIM] = 0;
  t[NBD_CMD_CACHE] = 0;
  t[NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
  t[NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE;
  return t;
})();

/** An NBD error number, or NBD_SUCCESS. NBD_CMD_DISC has no reply and never comes here. */
export function validateRequest(info: DeviceInfo, agreed: Agreed, cmd: number, flags: number, offset: number, length: number): number {
  const allowed = FLAGS_ALLOWED[cmd];
  if (allowed === undefined) return NBD_EINVAL;

  if ((flags & ~(allowed | NBD_CMD_FLAG_FUA)) !== 0) return NBD_EINVAL;
  if ((flags & NBD_CMD_FLAG_FUA) !== 0 && !info.canFua) return NBD_EINVAL;
  if ((flags & NBD_CMD_FLAG_DF) !== 0 && !agreed.structuredReplies) return NBD_EINVAL;
  if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 && !info.canFastZero) return NBD_EINVAL;

  const changes = cmd === NBD_CMD_WRITE || cmd === NBD_CMD_TRIM || cmd === NBD_CMD_WRITE_ZEROES;
  if (changes && (info.readOnly || agreed.readOnly)) return NBD_EPERM;

  if (cmd === NBD_CMD_TRIM && !info.canTrim) return NBD_EINVAL;
  if (cmd === NBD_CMD_WRITE_ZEROES && !info.canWriteZeroes) return NBD_EINVAL;
  if (cmd === NBD_CMD_BLOCK_STATUS && !(agreed.blockStatus && agreed.structuredReplies)) return NBD_EINVAL;
  if (cmd === NBD_CMD_BLOCK_STATUS && length === 0) return NBD_EINVAL;

  if (cmd === NBD_CMD_FLUSH) return offset === 0 && length === 0 ? NBD_SUCCESS : NBD_EINVAL;

  if (cmd === NBD_CMD_WRITE && length > info.payloadMaxBytes) return NBD_EINVAL;
  if (cmd === NBD_CMD_READ && length > info.payloadMaxBytes) return (flags & NBD_CMD_FLAG_DF) !== 0 ? NBD_EOVERFLOW : NBD_EINVAL;

  // Subtraction, not addition: offset + length may leave the safe integers, size - offset cannot.
  const size = exportSizeBytes(info);
  if (offset > size || length > size - offset) return cmd === NBD_CMD_WRITE || cmd === NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL;

  const min = info.blockSizeMinBytes;
  if (offset % min !== 0 || length % min !== 0) return NBD_EINVAL;
  return NBD_SUCCESS;
}
