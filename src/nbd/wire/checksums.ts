/**
 * Checksums between our own nodes: an addition of ours to NBD's transmission phase, agreed upon in the session that a source opens
 * with its target (src/failover/protocol.ts) before there is a connection. A plain NBD connection never has them.
 *
 *   request    header (28)  CRC      payload of a WRITE  CRC
 *   simple     header (16)  CRC      data of a READ      CRC
 *   chunk      header (20)  CRC      payload             CRC
 *
 * Each CRC is 4 bytes, big-endian: CRC-32 (IEEE 802.3, as zlib's) over the bytes before it, back to the one before. What is empty has none.
 *
 * A header has one of its own because everything that is done with a payload follows from it: how long it is, where it goes, and
 * whom the answer is for. So
 * - a damaged header ends the connection: not even the place of the next one is known;
 * - a damaged payload is not executed, and is answered with EBADMSG, which no other failure is: it may be sent again. A READ
 *   whose data was damaged on its way back ends like that too. What else a chunk may carry (an error, a block status) is as a header.
 */
import { getU32, setU32 } from './layout.ts';

export const CHECKSUM_BYTES = 4;

/** Linux's number of EBADMSG, which NBD has no word for. */
export const CHECKSUM_EBADMSG = 74;

/**
 * What a server's engine reports instead of the command of a request whose payload was damaged: no command of NBD's, so that
 * whoever does not know of it refuses it. It is never sent.
 */
export const CMD_DAMAGED = 0xffff;

export function encodeChecksum(v: DataView, at: number, crc: number): void {
  setU32(v, at, crc);
}

export function decodeChecksum(v: DataView, at: number): number {
  return getU32(v, at);
}
