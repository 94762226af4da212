/**
 * A socket that Node reads into memory that is used again. By itself Node takes 64 KiB anew for each read, and V8, which counts them, collects
 * garbage for the sake of long writes many times a second.
 */
import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import { handleOf, stopReading } from './handle.ts';

/** One for all: what is in it is lent for the call, in which nothing else is read. */
const buffer = Buffer.allocUnsafeSlow(256 * 1024);

/** Options of Node's own. */
interface OfNode {
  handle: object;
  pauseOnCreate: boolean;
  onread: OnReadOpts;
}

/** False: it is closed, or what was written has not left. */
export function mayLendReads(socket: Socket): boolean {
  return handleOf(socket) !== undefined && !socket.destroyed && !socket.connecting && socket.writableLength === 0;
}

/**
 * The same connection as a socket of that kind, not reading before `resume`. For one that may, does not read, and has nothing unread and no
 * listeners; it is of no use afterwards.
 */
export function lentReads(from: Socket, onBytes: (bytes: Uint8Array) => void): Socket {
  const handle = handleOf(from);
  if (handle === undefined) throw new Error('a socket without a descriptor can not be read by lending');
  const onread = {
    buffer,
    callback: (bytes: number): boolean => {
      onBytes(buffer.subarray(0, bytes));
      return true;
    },
  };
  const o: SocketConstructorOpts & OfNode = { handle, pauseOnCreate: true, readable: true, writable: true, onread };
  // Else its end would be the connection's.
  Object.assign(from, { _handle: null });
  from.destroy();
  const socket = new Socket(o);
  // When it is resumed for the first time, Node reads at the end of the turn, whether or not it is paused again by then.
  socket.read(0);
  stopReading(socket);
  return socket;
}
