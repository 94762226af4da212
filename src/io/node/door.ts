/**
 * Connections to a listening socket of TCP, judged before there is a socket of Node's: by the native shim (native-shims/door.c).
 * Without it, and for unix sockets, Node accepts them, and those that may not enter are closed then.
 */
import { type Server, Socket } from 'node:net';
import { isMainThread } from 'node:worker_threads';
import type { MayEnter } from '../door.ts';
import type { IoSocket } from '../types.ts';
import { errnoOf } from './errors.ts';
import { loadShim } from './native-shim.ts';
import { NodeSocket } from './socket.ts';

interface NativeDoor {
  /** During `onCome`, the descriptors of those that have come; -1 is put in the place of one that is taken, the others are closed. */
  readonly fds: Int32Array;
  close(): void;
}

export interface Doors {
  /** Listens on a duplicate of a descriptor that is bound and listens. */
  openDoor(fd: number, onCome: (remotes: readonly string[]) => void): NativeDoor;
}

/** A peer whose machine has gone without a word holds its place no longer: probed after so long a silence, ten times a second apart. */
export const KEEP_ALIVE_AFTER_MS = 60_000;

/** Undefined when there is no shim, it is an older one, or this is not the main thread. */
export function loadDoors(): Doors | undefined {
  if (!isMainThread) return undefined;
  const shim = loadShim();
  return shim !== undefined && isDoors(shim) ? shim : undefined;
}

function isDoors(shim: object): shim is Doors {
  return 'openDoor' in shim && typeof shim.openDoor === 'function';
}

/** Takes the place of a server that listens, which is closed, also when this throws for want of memory. Undefined, and the server goes on, where its descriptor is not to be had. */
export function replaceByDoor(doors: Doors, server: Server, onConnection: (s: IoSocket) => void, mayEnter: MayEnter): NativeDoor | undefined {
  const fd = descriptorOf(server);
  if (fd === undefined) return undefined;
  const onCome = (remotes: readonly string[]): void => {
    for (const [i, remote] of remotes.entries()) {
      if (!mayEnter(remote)) continue;
      const socket = socketOn(door.fds[i] ?? -1);
      if (socket === undefined) continue;
      door.fds[i] = -1;
      onConnection(new NodeSocket(socket, remote));
    }
  };
  let door: NativeDoor;
  try {
    door = doors.openDoor(fd, onCome);
  } finally {
    server.close();
  }
  return door;
}

/** Undefined: there is no memory for one, and the descriptor is as it was. */
function socketOn(fd: number): Socket | undefined {
  let socket: Socket;
  try {
    socket = new Socket({ fd, readable: true, writable: true });
  } catch (e: unknown) {
    if (errnoOf(e) === undefined) throw e;
    return undefined;
  }
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEP_ALIVE_AFTER_MS);
  return socket;
}

/** Node has no public name for it. */
function descriptorOf(server: Server): number | undefined {
  const handle: unknown = '_handle' in server ? server._handle : undefined;
  return typeof handle === 'object' && handle !== null && 'fd' in handle && typeof handle.fd === 'number' && handle.fd >= 0 ? handle.fd : undefined;
}
