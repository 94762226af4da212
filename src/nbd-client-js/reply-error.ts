/** What an errno in a request's `done` tells of: the request, or the connection. */
import { Errno, errnoName } from '../io/types.ts';
import { NBD_EINVAL, NBD_EIO, NBD_ENOMEM, NBD_ENOSPC, NBD_ENOTSUP, NBD_EOVERFLOW, NBD_EPERM, NBD_ESHUTDOWN } from '../nbd/wire/constants.ts';

/** What a server may answer with (proto.md, "Error values"). */
const SERVER_ERRNOS: ReadonlySet<number> = new Set([
  NBD_EPERM,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_ENOTSUP,
  NBD_ESHUTDOWN,
]);

const CONNECTION_ERRNOS: ReadonlySet<number> = new Set([
  Errno.EPIPE,
  Errno.ECONNRESET,
  Errno.ETIMEDOUT,
  Errno.ECONNREFUSED,
  Errno.EHOSTUNREACH,
  Errno.EPROTO,
]);

/** The connection is gone. A server that answers with such a number is taken as gone, which is safe. */
export function tellsOfConnection(errno: number): boolean {
  return CONNECTION_ERRNOS.has(errno);
}

/** A server's errno; one that it may not use means EINVAL. EAGAIN, above all, stays our own word. */
export function serverErrno(errno: number): number {
  return SERVER_ERRNOS.has(errno) ? errno : Errno.EINVAL;
}

export function whyClosed(errno: number): string {
  if (errno === 0) return 'the server closed the connection';
  if (errno === Errno.EPROTO) return 'a header did not match its checksum';
  return errno === Errno.EINVAL ? 'the server broke the protocol' : `connection lost (${errnoName(errno)})`;
}

/** What requests end with after a loss. */
export function opErrno(loss: { errno: number }): number {
  return loss.errno === 0 ? Errno.ESHUTDOWN : loss.errno;
}
