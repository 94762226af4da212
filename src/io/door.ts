/**
 * Who may come in, asked of where a connection comes from before anything is made of it: a world that can closes the others for a
 * few microseconds each (native-shims/door.c).
 */
import type { IoSocket } from './types.ts';

/** `remote`: see `IoSocket.remote`. False: the connection is closed at once, without a word. */
export type MayEnter = (remote: string) => boolean;

/** For worlds where nothing is cheaper than a socket. */
export function behindDoor(onConnection: (s: IoSocket) => void, mayEnter: MayEnter | undefined): (s: IoSocket) => void {
  if (mayEnter === undefined) return onConnection;
  return (s) => {
    if (mayEnter(s.remote)) onConnection(s);
    else s.destroy();
  };
}
