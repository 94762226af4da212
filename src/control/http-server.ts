/**
 * The daemon's interface for people, as HTTP and JSON on a unix socket that only its owner may use.
 *
 *   POST /v1/ACTION   parameters as JSON -> {result} or {error: {code, message}}
 *   GET  /v1/events   server-sent events, each one ControlEvent as JSON
 *
 * Invariants:
 * - nothing reaches the client that its action's schema has not let through
 * - everything is bounded: bodies, connections, event streams, and what waits in a stream that nobody reads
 * - a socket file is removed only when nobody answers behind it
 */
import { lstat, mkdir, unlink } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { connect, type Server } from 'node:net';
import { dirname } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import type { Log } from '../io/log.ts';
import { actionNames, isActionName, parseParams } from './schemas.ts';
import { type ControlClient, ControlError } from './types.ts';

export interface HttpLimits {
  bodyMaxBytes: number;
  connectionsMax: number;
  eventStreamsMax: number;
  /** Unread bytes of one event stream, from which it is cut off. */
  streamUnreadMaxBytes: number;
  /** A comment on a quiet event stream, so that its reader can tell quiet from dead. */
  streamSignEveryMs: number;
}

export const httpLimits: HttpLimits = {
  bodyMaxBytes: 64 * 1024,
  connectionsMax: 64,
  eventStreamsMax: 16,
  streamUnreadMaxBytes: 1024 * 1024,
  streamSignEveryMs: 10_000,
};

export interface ControlServerOptions {
  client: ControlClient;
  socketPath: string;
  log: Log;
  limits?: Partial<HttpLimits>;
}

export interface ControlServer {
  /** Cuts off streams and calls under way, and removes the socket file. */
  close(): Promise<void>;
}

const socketMode = 0o600;
/** `sun_path` without its final zero. */
const socketPathMaxBytes = 107;
const probeTimeoutMs = 2000;
const requestTimeoutMs = 10_000;

const statusOf: Record<ControlError['code'], number> = {
  'bad-request': 400,
  'not-found': 404,
  refused: 403,
  unconfirmed: 428,
  conflict: 409,
  unreachable: 503,
  io: 500,
  internal: 500,
};

/** Rejects with ControlError `conflict` when another daemon answers on the socket. */
export async function startControlServer(o: ControlServerOptions): Promise<ControlServer> {
  const limits = { ...httpLimits, ...o.limits };
  await claimSocket(o.socketPath);
  const app = fastify({ bodyLimit: limits.bodyMaxBytes, requestTimeout: requestTimeoutMs, forceCloseConnections: true });
  const streams = new EventStreams(o.client, o.log, limits);
  routes(app, o, streams);
  await app.ready();
  app.server.maxConnections = limits.connectionsMax;
  await listen(app.server, o.socketPath);
  return {
    async close() {
      streams.close();
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

function routes(app: FastifyInstance, o: ControlServerOptions, streams: EventStreams): void {
  app.setErrorHandler((e: unknown, _request, reply) => {
    const { status, error } = describe(e);
    if (error.code === 'internal')
      o.log.error('a control action failed unexpectedly', { error: e instanceof Error ? (e.stack ?? e.message) : String(e) });
    void reply.code(status).send({ error });
  });
  app.setNotFoundHandler((request, reply) => {
    const message = `${request.method} ${request.url} is not known; allowed: POST /v1/ACTION with ${actionNames.join(', ')}; GET /v1/events`;
    void reply.code(404).send({ error: { code: 'not-found', message } });
  });
  app.post<{ Params: { action: string } }>('/v1/:action', async (request, reply) => {
    const { action } = request.params;
    if (!isActionName(action)) {
      reply.callNotFound();
      return reply;
    }
    return { result: await o.client.call(action, parseParams(action, request.body ?? {})) };
  });
  app.get('/v1/events', async (_request, reply) => {
    streams.admit();
    reply.hijack();
    await streams.serve(reply.raw);
  });
}

function describe(e: unknown): { status: number; error: { code: ControlError['code']; message: string } } {
  if (e instanceof ControlError) return { status: statusOf[e.code], error: { code: e.code, message: e.message } };
  const message = e instanceof Error ? e.message : String(e);
  // What fastify itself finds wrong with a request: a body too long, or no JSON.
  const status = e instanceof Error && 'statusCode' in e && typeof e.statusCode === 'number' ? e.statusCode : 500;
  return { status, error: { code: status < 500 ? 'bad-request' : 'internal', message } };
}

/** Who follows the events, each with its own subscription. */
class EventStreams {
  readonly #client: ControlClient;
  readonly #log: Log;
  readonly #limits: HttpLimits;
  readonly #open = new Set<ServerResponse>();

  constructor(client: ControlClient, log: Log, limits: HttpLimits) {
    this.#client = client;
    this.#log = log;
    this.#limits = limits;
  }

  /** Throws ControlError when there is no room for one more. */
  admit(): void {
    if (this.#open.size < this.#limits.eventStreamsMax) return;
    throw new ControlError('refused', `${String(this.#open.size)} event streams are open, and no more are allowed; end one of them first`);
  }

  async serve(response: ServerResponse): Promise<void> {
    this.#open.add(response);
    const closed = new Promise<void>((resolve) => response.once('close', resolve));
    const send = (text: string): void => {
      if (response.writableEnded || response.destroyed) return;
      response.write(text);
      if (response.writableLength <= this.#limits.streamUnreadMaxBytes) return;
      this.#log.warn('an event stream that nobody reads is cut off', { unreadBytes: response.writableLength });
      response.destroy();
    };
    const sign = setInterval(() => {
      send(': still here\n\n');
    }, this.#limits.streamSignEveryMs);
    // Set, not sent: whichever comes first, an event or the end of subscribing, sends them.
    response.setHeader('content-type', 'text/event-stream');
    response.setHeader('cache-control', 'no-store');
    response.setHeader('connection', 'close');
    try {
      const subscription = await this.#client.events(
        (e) => {
          send(`data: ${JSON.stringify(e)}\n\n`);
        },
        () => {
          response.end();
        },
      );
      // The reader may count on every event from the moment that it sees the head.
      response.flushHeaders();
      await closed;
      subscription.stop();
    } catch (e: unknown) {
      const { status, error } = describe(e);
      if (!response.headersSent) response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error }));
    } finally {
      clearInterval(sign);
      this.#open.delete(response);
    }
  }

  close(): void {
    for (const response of this.#open) response.destroy();
  }
}

// ------------------------------------------------------------------------------------------------- the socket file

async function claimSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > socketPathMaxBytes) {
    throw new ControlError('bad-request', `${path}: a unix socket's path may have ${String(socketPathMaxBytes)} bytes; choose a shorter root`);
  }
  await mkdir(dirname(path), { recursive: true });
  const kind = await lstat(path).then(
    (s) => (s.isSocket() ? 'socket' : 'other'),
    (e: unknown) => {
      if (errorCode(e) === 'ENOENT') return 'absent';
      throw e;
    },
  );
  if (kind === 'absent') return;
  if (kind === 'other') throw new ControlError('conflict', `${path} is there and is no socket; move it away`);
  if (await answers(path)) throw new ControlError('conflict', `another netraidd is running on this root: it answers on ${path}`);
  await unlink(path);
}

/** Whether a process listens there. One that stands still, or is too busy to be reached, counts. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.setTimeout(probeTimeoutMs, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (e) => {
      const code = errorCode(e);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') resolve(false);
      else if (code === 'EAGAIN') resolve(true);
      else reject(e);
    });
  });
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The file is made within the call: under this mask nobody else can connect, not even for a moment.
    const mask = process.umask(0o777 & ~socketMode);
    try {
      server.listen(path, () => {
        server.off('error', reject);
        resolve();
      });
    } finally {
      process.umask(mask);
    }
  });
}

function errorCode(e: unknown): string | undefined {
  return e instanceof Error && 'code' in e && typeof e.code === 'string' ? e.code : undefined;
}
