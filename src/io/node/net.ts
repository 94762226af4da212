/** Sockets on node:net: TCP and unix. */
import { rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { type Address, Errno, IoError, type IoSocket, type Listener, type Net } from '../types.ts';
import { behindDoor, type MayEnter } from '../door.ts';
import { type Doors, KEEP_ALIVE_AFTER_MS, replaceByDoor } from './door.ts';
import { errnoOf, toIoError, withIoErrors } from './errors.ts';
import { NodeSocket } from './socket.ts';

/** How long a socket file left behind is asked whether somebody listens. */
const STALE_PROBE_MS = 1000;
const KEEP_ALIVE = { keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_AFTER_MS };

export function describeAddress(a: Address): string {
  return a.kind === 'unix' ? `unix:${a.path}` : `${a.host.includes(':') ? `[${a.host}]` : a.host}:${String(a.port)}`;
}

export interface NetOptions {
  /** Of the native shim; without them Node accepts. */
  doors?: Doors | undefined;
  /** Whoever is handed a connection that was accepted goes on with it here, and is sent much. */
  lends?: boolean;
}

async function connect(to: Address, timeoutMs: number): Promise<IoSocket> {
  const name = describeAddress(to);
  return await new Promise<IoSocket>((resolve, reject) => {
    const socket: Socket =
      to.kind === 'unix' ? createConnection({ path: to.path }) : createConnection({ host: to.host, port: to.port, noDelay: true, ...KEEP_ALIVE });
    const fail = (e: unknown): void => {
      clearTimeout(timeout);
      socket.destroy();
      reject(errnoOf(e) === undefined ? new IoError(Errno.EIO, `${name}: ${String(e)}`) : (toIoError(e, name) as Error));
    };
    const timeout = setTimeout(() => {
      fail(new IoError(Errno.ETIMEDOUT, `${name}: no connection within ${String(timeoutMs)} ms`));
    }, timeoutMs);
    socket.on('error', fail);
    socket.once('connect', () => {
      clearTimeout(timeout);
      socket.removeListener('error', fail);
      resolve(new NodeSocket(socket, name));
    });
  });
}

async function bind(server: Server, at: Address): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(at.kind === 'unix' ? { path: at.path } : { host: at.host, port: at.port }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

/** A socket file whose owner died refuses connections; only such a one may be removed. */
async function removeStale(path: string): Promise<boolean> {
  try {
    const s = await connect({ kind: 'unix', path }, STALE_PROBE_MS);
    s.destroy();
    return false;
  } catch (e: unknown) {
    if (errnoOf(e) !== Errno.ECONNREFUSED) return false;
  }
  await rm(path, { force: true });
  return true;
}

async function listen(o: NetOptions, at: Address, onConnection: (s: IoSocket) => void, mayEnter?: MayEnter): Promise<Listener> {
  const name = describeAddress(at);
  const come = behindDoor(onConnection, mayEnter);
  const server = createServer({ noDelay: true, ...KEEP_ALIVE }, (socket) => {
    // It has gone already: nobody may be judged by our own address.
    if (at.kind === 'tcp' && socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const from = socket.remoteAddress === undefined ? name : `${socket.remoteAddress}:${String(socket.remotePort)}`;
    come(new NodeSocket(socket, from, { lends: o.lends === true }));
  });
  return await withIoErrors(name, async () => {
    try {
      await bind(server, at);
    } catch (e: unknown) {
      if (at.kind !== 'unix' || errnoOf(e) !== Errno.EADDRINUSE || !(await removeStale(at.path))) throw e;
      await bind(server, at);
    }
    // From here on an error means that one connection could not be accepted (too many open files): its peer sees it
    // end, and the listener goes on.
    server.on('error', () => undefined);
    const bound = server.address();
    const address: Address = at.kind === 'tcp' && typeof bound === 'object' && bound !== null ? { ...at, port: bound.port } : at;
    const door = at.kind === 'tcp' && o.doors !== undefined ? replaceByDoor(o.doors, server, onConnection, mayEnter ?? all) : undefined;
    return {
      address,
      close: () =>
        new Promise<void>((resolve) => {
          // Node calls back when the connections have ended too; the listening socket itself is closed at once.
          if (door === undefined) server.close();
          else door.close();
          setImmediate(resolve);
        }),
    };
  });
}

function all(): boolean {
  return true;
}

export function createNodeNet(o: NetOptions = {}): Net {
  return { listen: (at, onConnection, mayEnter) => listen(o, at, onConnection, mayEnter), connect };
}

export const nodeNet: Net = createNodeNet();
