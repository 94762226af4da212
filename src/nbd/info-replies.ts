/** What INFO and GO tell of an export, in the order in which it is sent. Pure; proto.md, NBD_OPT_INFO and NBD_OPT_GO. */
import type { DeviceInfo } from './device.ts';
import { exportSizeBytes, type Haggled, transmissionFlags } from './export-info.ts';
import { NBD_INFO_DESCRIPTION, NBD_INFO_NAME } from './wire/constants.ts';
import { encodeInfoBlockSize, encodeInfoExport, encodeInfoText } from './wire/handshake.ts';

/**
 * Data of each NBD_REP_INFO. Size, flags and block sizes are told to everybody, name and description to who asks (once, however
 * often it asks). What is asked for and not known is left out, as is a description that there is none of.
 *
 * `name`: the export's own, which is not the one asked for where the default export was.
 */
export function infoReplies(info: DeviceInfo, name: string, asked: readonly number[], haggled: Haggled): Uint8Array[] {
  const replies = [
    encodeInfoExport(exportSizeBytes(info), transmissionFlags(info, haggled)),
    encodeInfoBlockSize(info.blockSizeMinBytes, info.blockSizePreferredBytes, info.payloadMaxBytes),
  ];
  if (asked.includes(NBD_INFO_NAME)) replies.push(encodeInfoText(NBD_INFO_NAME, name));
  if (asked.includes(NBD_INFO_DESCRIPTION) && info.description !== '') replies.push(encodeInfoText(NBD_INFO_DESCRIPTION, info.description));
  return replies;
}
