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
/** Above it nothing more is read from the other side. */
const WAITING_MAX_BYTES = 1024 * 1024;

interface PairMaker {
  /** Two descriptors, or an errno. */
  socketPair(): [number, number] | number;
}

function isPairMaker(shim: object | undefined): shim is PairMaker {
  return shim !== undefined && 'socketPair' in shim && typeof shim.socketPair === 'function';
}

/** What came in one turn leaves together; more than Node's pipe holds may wait, so that neither side starves. */
function pump(from: Socket, to: Socket): void {
  let corked = false;
  from.on('data', (bytes: Buffer) => {
    if (to.destroyed) return;
    if (!corked) {
      corked = true;
      to.cork();
      setImmediate(() => {
        corked = false;
        to.uncork();
      });
    }
    to.write(bytes);
    if (to.writableLength > WAITING_MAX_BYTES) from.pause();
  });
  to.on('drain', () => {
    from.resume();
  });
  from.resume();
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
  const endOuter = (): void => {
    if (outer.destroyed || linger !== undefined) return;
    outer.end();
    linger = setTimeout(() => outer.destroy(), END_LINGER_MS);
    linger.unref();
  };
  // The engine answers what came before the peer's end.
  outer.allowHalfOpen = true;
  // An error of either is followed by its close, and that ends the other.
  outer.on('error', () => outer.destroy());
  inner.on('error', () => inner.destroy());
  outer.on('close', () => {
    clearTimeout(linger);
    // What came before the end is still to be read by the engine.
    if (!inner.writableEnded) inner.end();
    inner.resume();
  });
  inner.on('end', endOuter);
  inner.on('close', endOuter);
  outer.on('end', () => inner.end());
  pump(outer, inner);
  pump(inner, outer);
  to.take(theirs, NO_BYTES, (errno) => {
    if (errno !== 0) outer.destroy();
    // A socket that is not read hears of no end, and a peer that takes nothing keeps it so: what is left has END_LINGER_MS to leave.
    if (!outer.destroyed) setTimeout(() => outer.destroy(), END_LINGER_MS).unref();
    inner.resume();
  });
  closeSync(theirs);
}
