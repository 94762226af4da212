/**
 * A TLS connection for the native engine, which reads and writes a descriptor: one end of a pair of unix sockets is the
 * engine's, and what goes over the other is carried to and from TLS here.
 *
 *   engine <-- descriptor | pair | Node --> TLS --> peer
 *
 * Both ways stop when the other side does not take what it was sent, and the end of either is told to the other.
 */
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import { Errno } from '../types.ts';
import { loadShim } from './native-shim.ts';
import type { Taker } from './taker.ts';

const NO_BYTES = new Uint8Array(0);
/** After the engine's end, a peer that never closes its side is not waited for longer. */
const END_LINGER_MS = 10_000;

interface PairMaker {
  /** Two descriptors, or an errno. */
  socketPair(): [number, number] | number;
}

function isPairMaker(shim: object | undefined): shim is PairMaker {
  return shim !== undefined && 'socketPair' in shim && typeof shim.socketPair === 'function';
}

/** `outer` is paused, and has been told to write all that is to leave before. */
export function bridge(outer: Socket, to: Taker): void {
  const shim = loadShim();
  const pair = isPairMaker(shim) ? shim.socketPair() : Errno.ENOTSUP;
  if (typeof pair === 'number') {
    outer.destroy();
    to.gone(pair);
    return;
  }
  const [ours, theirs] = pair;
  const inner = new Socket({ fd: ours, allowHalfOpen: true, readable: true, writable: true });
  let linger: NodeJS.Timeout | undefined;
  // An error of either is followed by its close, and that ends the other.
  outer.on('error', () => outer.destroy());
  inner.on('error', () => inner.destroy());
  inner.on('end', () => {
    linger = setTimeout(() => outer.destroy(), END_LINGER_MS);
    linger.unref();
  });
  outer.on('close', () => {
    clearTimeout(linger);
    // What came before the end is still to be read by the engine.
    if (inner.writableEnded) return;
    inner.end();
    inner.resume();
  });
  inner.on('close', () => {
    if (!outer.writableEnded) outer.destroy();
  });
  outer.pipe(inner);
  inner.pipe(outer);
  to.take(theirs, NO_BYTES);
  closeSync(theirs);
}
