/** Node's handle of a socket, which has no public name: a descriptor for somebody else to go on with, and an end of reading within the turn. */
import type { Socket } from 'node:net';

export interface NodeHandle {
  readonly fd: number;
  reading?: boolean;
  readStop(): unknown;
  readStart(): unknown;
}

/** Undefined: it is closed, or is no descriptor. */
export function handleOf(socket: Socket): NodeHandle | undefined {
  const handle: unknown = '_handle' in socket ? socket._handle : undefined;
  return isNodeHandle(handle) ? handle : undefined;
}

function isNodeHandle(handle: unknown): handle is NodeHandle {
  return (
    typeof handle === 'object' &&
    handle !== null &&
    'fd' in handle &&
    typeof handle.fd === 'number' &&
    handle.fd >= 0 &&
    'readStop' in handle &&
    'readStart' in handle
  );
}

/** Nothing more is read, also of what has come already. */
export function stopReading(socket: Socket): void {
  socket.pause();
  const handle = handleOf(socket);
  if (handle === undefined) return;
  handle.reading = false;
  handle.readStop();
}

/** After `stopReading`. The stream still waits for what it has asked for, and so does not ask by itself. */
export function goOnReading(socket: Socket): void {
  const handle = handleOf(socket);
  if (handle !== undefined) {
    handle.reading = true;
    handle.readStart();
  }
  socket.resume();
}
