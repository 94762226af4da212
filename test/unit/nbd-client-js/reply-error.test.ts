import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { serverErrno, tellsOfConnection } from '../../../src/nbd-client-js/reply-error.ts';

describe('an errno', () => {
  it.each([Errno.EPERM, Errno.EIO, Errno.ENOMEM, Errno.EINVAL, Errno.ENOSPC, Errno.EOVERFLOW, Errno.ENOTSUP, Errno.ESHUTDOWN])(
    "%i is a server's word",
    (errno) => {
      expect(serverErrno(errno)).toBe(errno);
      expect(tellsOfConnection(errno)).toBe(false);
    },
  );

  it('that a server may not use means EINVAL', () => {
    for (const errno of [Errno.EAGAIN, Errno.EROFS, -1, 4711]) expect(serverErrno(errno)).toBe(Errno.EINVAL);
  });

  it('may tell of the connection', () => {
    for (const errno of [Errno.EPIPE, Errno.ECONNRESET, Errno.ETIMEDOUT]) expect(tellsOfConnection(errno)).toBe(true);
  });
});
