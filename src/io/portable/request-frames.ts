/** Requests as bytes, compact or with extended headers: how long a header is, what it says, and whether a payload follows. */
import { CHECKSUM_BYTES } from '../../nbd/wire/checksums.ts';
import { sealReserved } from './checksum.ts';
import { NBD_CMD_DISC, NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE } from '../../nbd/wire/constants.ts';
import { EXTENDED_REQUEST, REQUEST } from '../../nbd/wire/layout.ts';
import { decodeExtendedRequest, decodeRequest, encodeExtendedRequest, encodeRequest, type RequestHeader } from '../../nbd/wire/transmission.ts';
import type { WireParams } from '../types.ts';
import type { Outbox } from './outbox.ts';

export function requestBytes(wire: WireParams): number {
  return wire.extendedHeaders ? EXTENDED_REQUEST.SIZE : REQUEST.SIZE;
}

/** Of a command with these flags. Nothing follows DISC that would be looked at. */
export function hasPayload(wire: WireParams, cmd: number, flags: number): boolean {
  return wire.extendedHeaders ? (flags & NBD_CMD_FLAG_PAYLOAD_LEN) !== 0 && cmd !== NBD_CMD_DISC : cmd === NBD_CMD_WRITE;
}

/**
 * False when the stream has lost its place, or is about to: a wrong magic, a payload beyond the limit, or a WRITE that does not
 * say, as extended headers demand, that a payload follows. Whether one does nobody knows then: what it holds may be somebody
 * else's bytes, which must not be taken for requests.
 */
export function readRequest(v: DataView, wire: WireParams, into: RequestHeader): boolean {
  if (!(wire.extendedHeaders ? decodeExtendedRequest(v, 0, into) : decodeRequest(v, 0, into))) return false;
  if (hasPayload(wire, into.type, into.flags)) return into.length <= wire.payloadMaxBytes;
  return into.type !== NBD_CMD_WRITE;
}

export function writeRequest(out: Outbox, wire: WireParams, h: Readonly<RequestHeader>): void {
  const sealed = wire.checksums === true;
  const length = requestBytes(wire);
  const at = out.reserve(length + (sealed ? CHECKSUM_BYTES : 0));
  if (wire.extendedHeaders) encodeExtendedRequest(out.view, at, h);
  else encodeRequest(out.view, at, h);
  if (sealed) sealReserved(out, at, length);
}
