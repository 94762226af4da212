/**
 * The native shim that makes holes. A machine without a compiler has none: then legs are not sparse, and zeroes are written.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** `done` gets 0 or the errno. */
export type FallocateCall = (fd: number, offset: number, length: number, done: (errno: number) => void) => void;

export interface Fallocate {
  readonly punch: FallocateCall;
  readonly zeroRange: FallocateCall;
}

let loaded: { shim: Fallocate | undefined } | undefined;

/** Undefined when the shim was not built for this machine. */
export function loadFallocate(): Fallocate | undefined {
  loaded ??= { shim: load() };
  return loaded.shim;
}

function load(): Fallocate | undefined {
  // The same distance from src/io/node and from dist/io/node.
  const folder = fileURLToPath(new URL('../../../native-shims', import.meta.url));
  const require = createRequire(import.meta.url);
  try {
    const loadNative = require('node-gyp-build') as (folder: string) => unknown;
    const shim = loadNative(folder);
    return isFallocate(shim) ? shim : undefined;
  } catch (e: unknown) {
    // node-gyp-build and the dynamic loader report a build that is absent or unfit as an Error.
    if (e instanceof Error) return undefined;
    throw e;
  }
}

function isFallocate(shim: unknown): shim is Fallocate {
  return typeof shim === 'object' && shim !== null && 'punch' in shim && 'zeroRange' in shim;
}
