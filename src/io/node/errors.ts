/** Node's errors as IoErrors. Anything that is not an operating error is a bug and passes through unchanged. */
import { Errno, IoError } from '../types.ts';

/** libuv's own numbers (name resolution and the like) begin here; below are the system's. */
const SYSTEM_ERRNO_MAX = 3000;

/** The errno of an operating error; undefined for anything else. */
export function errnoOf(e: unknown): number | undefined {
  if (!(e instanceof Error)) return undefined;
  if (e instanceof IoError) return e.errno;
  const errno: unknown = 'errno' in e ? e.errno : undefined;
  if (typeof errno === 'number' && Math.abs(errno) > 0 && Math.abs(errno) < SYSTEM_ERRNO_MAX) return Math.abs(errno);
  const code: unknown = 'code' in e ? e.code : undefined;
  if (typeof code !== 'string') return undefined;
  if (code in Errno) return Errno[code as keyof typeof Errno];
  if (code.startsWith('EAI_') || code === 'ENOTFOUND') return Errno.EHOSTUNREACH;
  if (code === 'ERR_STREAM_DESTROYED' || code === 'ERR_STREAM_PREMATURE_CLOSE') return Errno.EPIPE;
  return typeof errno === 'number' ? Errno.EIO : undefined;
}

/** For `throw`: `what` names the path or peer. */
export function toIoError(e: unknown, what: string): unknown {
  const errno = errnoOf(e);
  if (errno === undefined || e instanceof IoError) return e;
  return new IoError(errno, `${what}: ${e instanceof Error ? e.message : String(e)}`);
}

export async function withIoErrors<T>(what: string, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (e: unknown) {
    throw toIoError(e, what);
  }
}
