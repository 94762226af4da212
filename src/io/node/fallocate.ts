/**
 * The part of the native shim that makes holes. Where there is none, legs are not sparse, and zeroes
 * are written.
 */
import { loadShim } from './native-shim.ts';

/** `done` gets 0 or the errno. */
export type FallocateCall = (fd: number, offset: number, length: number, done: (errno: number) => void) => void;

export interface Fallocate {
  readonly punch: FallocateCall;
  readonly zeroRange: FallocateCall;
}

/** Undefined when there is no shim for this machine. */
export function loadFallocate(): Fallocate | undefined {
  const shim = loadShim();
  return shim !== undefined && isFallocate(shim) ? shim : undefined;
}

function isFallocate(shim: object): shim is Fallocate {
  return 'punch' in shim && 'zeroRange' in shim;
}
