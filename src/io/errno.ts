/** Errors of the outside world by their numbers. */

/** Errno values as Linux numbers them; the ones NBD knows keep their number on the wire. */
export const Errno = {
  OK: 0,
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EPIPE: 32,
  ERANGE: 34,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ECONNRESET: 104,
  ENOTCONN: 107,
  ESHUTDOWN: 108,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EDQUOT: 122,
} as const;
export type Errno = (typeof Errno)[keyof typeof Errno];

/** An operating error of the outside world: typed, expected, to be handled. */
export class IoError extends Error {
  readonly errno: number;
  readonly code: string;
  constructor(errno: number, message: string) {
    super(message);
    this.name = 'IoError';
    this.errno = errno;
    this.code = errnoName(errno);
  }
}

const names = new Map<number, string>(Object.entries(Errno).map(([k, v]) => [v, k]));
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${String(errno)}`;
}
