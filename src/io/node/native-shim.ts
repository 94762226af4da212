/**
 * The native shim (native-shims/), loaded once: built at installation, or else the one in the package that fits this machine.
 * Where neither is, or neither loads, the portable engine serves, legs are not sparse, and zeroes are written.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { packageFolder } from './package-folder.ts';

/** One engine's calls; see native-shims/engine.h for what goes through shared memory instead. */
export interface NativeCalls {
  /** Shared with the native side, and where in it each array begins, in the order of `native-memory.ts`. */
  readonly buffer: ArrayBuffer;
  readonly layout: readonly number[];
  /** Why its memory can not be kept from being swapped out; 0: it is, or nobody asked for that (`memory-shield.ts`). */
  readonly keepErrno: number;
  /** Begins what the ring holds. */
  submit(): void;
  /** `deliver` is called with the number of events in the batch arrays, once a loop iteration. */
  listen(deliver: (count: number) => void): void;
  /** A connection that has no socket yet; 0: no memory or too many. */
  open(
    server: boolean,
    structured: boolean,
    extended: boolean,
    checksums: boolean,
    payloadMaxBytes: number,
    requestsMax: number,
    bytesMax: number,
  ): number;
  /** `SharedLimits` of a connection, before it starts. */
  share(conn: number, ownBytes: number, allBytesMax: number): void;
  /** `Engine.awaited`; below 0: undefined. */
  awaited(conn: number): number;
  /** Takes a duplicate of the descriptor; early bytes are parsed first. */
  start(conn: number, fd: number, early: Uint8Array): void;
  close(conn: number, errno: number): void;
  closeAll(errno: number): void;
  stopReceiving(conn: number): void;
  /** `Engine.serve`; 0, or the errno of what it lacks. */
  serve(
    conn: number,
    leg: number,
    sizeBytes: number,
    blockBytes: number,
    regionBytes: number,
    touched: Uint32Array,
    allowed: Uint32Array | undefined,
    underWay: Uint32Array | undefined,
    clients: number | undefined,
    asks: Uint32Array | undefined,
  ): number;
  unserve(op: number, conn: number): void;
  heed(op: number, conn: number): void;
  heeded(conn: number): void;
  served(conn: number): number;
  /** A handle; 0: no memory. */
  allocate(length: number): number;
  /** The bytes of a handle's slot: lent until release, never dangling (released bytes show what took their place). */
  view(slot: number): Uint8Array;
  /** Whether that part of a slot's bytes is all zero. */
  isZero(slot: number, offset: number, length: number): boolean;
  /** The native leg, or an errno below 0. The descriptor stays the caller's, and open until the leg is closed. */
  legOpen(fd: number, isDevice: boolean, canPunch: boolean, canZeroRange: boolean): number;
  /** True when no operation is left; otherwise `onLegIdle` tells. */
  legClose(leg: number): boolean;
  /** Ends the I/O threads. No leg may be open. */
  stop(): void;
}

export interface NativeEngineShim {
  /** `spinMicroseconds`: how long to wait awake after few events; 0: never. */
  createEngine(onLegIdle: (leg: number) => void, ioThreads: number, lingerMs: number, spinMicroseconds: number): NativeCalls;
}

/** What the program was built with (scripts/build.mjs), native-shims/sources.cjs; none where the sources themselves are run. */
declare const NETRAID_SOURCES: string | undefined;

type Loaded = { shim: object; lacks?: never } | { shim?: never; lacks: string };

let loaded: Loaded | undefined;

/** Undefined when there is no shim for this machine. */
export function loadShim(): object | undefined {
  loaded ??= fitting(load(), typeof NETRAID_SOURCES === 'string' ? NETRAID_SOURCES : undefined);
  return loaded.shim;
}

/** Why there is no shim; undefined: there is one. */
export function whyNoShim(): string | undefined {
  loadShim();
  return loaded?.lacks;
}

/** A shim and a program that were built from other `sources` each read other things in the memory they share: that shim is none. */
export function fitting(shim: object | undefined, sources: string | undefined): Loaded {
  if (shim === undefined) return { lacks: 'there is no native shim for this machine, neither packed nor built' };
  if (sources === undefined || ('sources' in shim && shim.sources === sources)) return { shim };
  return {
    lacks: 'the native shim was built from other sources than this program (npm rebuild netraid, or in a checkout npm install, builds it anew)',
  };
}

function load(): object | undefined {
  // Tests have it elsewhere, built with sanitizers.
  const folder = process.env['NETRAID_TEST_SHIM'] ?? join(packageFolder(), 'native-shims');
  const require = createRequire(import.meta.url);
  try {
    const loadNative = require('node-gyp-build') as (folder: string) => unknown;
    const shim = loadNative(folder);
    return typeof shim === 'object' && shim !== null ? shim : undefined;
  } catch (e: unknown) {
    // node-gyp-build and the dynamic loader report a build that is absent or unfit as an Error.
    if (e instanceof Error) return undefined;
    throw e;
  }
}

/** Undefined when there is no shim, it is older than the native engine, or this is not the main thread. */
export function loadNativeEngine(): NativeEngineShim | undefined {
  if (!isMainThread) return undefined;
  const shim = loadShim();
  return shim !== undefined && isEngineShim(shim) ? shim : undefined;
}

function isEngineShim(shim: object): shim is NativeEngineShim {
  return 'createEngine' in shim && typeof shim.createEngine === 'function';
}
