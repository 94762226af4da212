/** `ControlClient` over the daemon's unix socket: what the command line and the console use. Every call has a deadline. */
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { type ActionName, type Actions, type ControlClient, ControlError, type ControlEvent } from './types.ts';

/** The daemon, and not another node, is what can't be reached. */
export class DaemonUnreachableError extends ControlError {
  constructor(message: string) {
    super('unreachable', message);
    this.name = 'DaemonUnreachableError';
  }
}

export interface HttpClientOptions {
  socketPath: string;
  /** For the hint how to start the daemon. */
  root: string;
  /** For each call; undefined: by action. */
  timeoutMs?: number;
  /** An event stream that is silent for longer is dead. */
  streamSilenceMs?: number;
}

const callTimeoutMs = 60_000;
/** What waits for other nodes, for draining or for a whole claim. */
const longTimeoutMs = 300_000;
const longActions: ReadonlySet<ActionName> = new Set([
  'create',
  'extend',
  'unextend',
  'replace',
  'delete',
  'in-service',
  'set',
  'confirm',
  'out-of-service',
  'force',
  'switchover',
  'resolve',
  'resize',
  'fullresync',
]);
const streamSilenceMs = 45_000;
const answerMaxBytes = 16 * 1024 * 1024;
const eventMaxBytes = 1024 * 1024;

const codes: ReadonlySet<string> = new Set<ControlError['code']>([
  'bad-request',
  'not-found',
  'refused',
  'unconfirmed',
  'conflict',
  'unreachable',
  'io',
  'internal',
]);

export class HttpControlClient implements ControlClient {
  readonly #o: HttpClientOptions;

  constructor(o: HttpClientOptions) {
    this.#o = o;
  }

  async call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']> {
    const timeoutMs = this.#o.timeoutMs ?? (longActions.has(action) ? longTimeoutMs : callTimeoutMs);
    const text = await this.#exchange(`/v1/${action}`, JSON.stringify(params), timeoutMs);
    const answer = parseAnswer(text, this.#o.socketPath);
    if ('error' in answer) throw answer.error;
    // The daemon is of this very package, and its answer has passed the same types there.
    return answer.result as Actions[A]['result'];
  }

  async events(onEvent: (e: ControlEvent) => void, onEnd?: (why: ControlError) => void): Promise<{ stop(): void }> {
    const { socketPath } = this.#o;
    const silenceMs = this.#o.streamSilenceMs ?? streamSilenceMs;
    const req = request({ socketPath, path: '/v1/events', method: 'GET', agent: false });
    const response = await this.#head(req, this.#o.timeoutMs ?? callTimeoutMs, '/v1/events');
    if (response.statusCode !== 200) {
      const answer = parseAnswer(await bodyOf(response), socketPath);
      throw 'error' in answer ? answer.error : unreadable(socketPath);
    }
    let stopped = false;
    const end = (why: string): void => {
      if (stopped) return;
      stopped = true;
      req.destroy();
      onEnd?.(new DaemonUnreachableError(why));
    };
    req.setTimeout(silenceMs, () => {
      end(`netraidd has been silent for ${String(silenceMs / 1000)} s on ${socketPath}`);
    });
    readEvents(response, onEvent, end);
    const gone = (): void => {
      end(`netraidd closed the event stream on ${socketPath}: it has stopped`);
    };
    req.on('error', gone);
    response.on('error', gone);
    response.on('close', gone);
    return {
      stop() {
        stopped = true;
        req.destroy();
      },
    };
  }

  #exchange(path: string, body: string, timeoutMs: number): Promise<string> {
    const headers = { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(body)) };
    const req = request({ socketPath: this.#o.socketPath, path, method: 'POST', headers, agent: false });
    req.write(body);
    return this.#within(req, timeoutMs, path, (response) => bodyOf(response));
  }

  #head(req: ClientRequest, timeoutMs: number, path: string): Promise<IncomingMessage> {
    return this.#within(req, timeoutMs, path, (response) => Promise.resolve(response));
  }

  /** Sends, and takes what `take` makes of the answer, unless that lasts too long. */
  #within<T>(req: ClientRequest, timeoutMs: number, path: string, take: (r: IncomingMessage) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        settle(() => {
          const seconds = String(timeoutMs / 1000);
          reject(
            new DaemonUnreachableError(`netraidd did not answer ${path} within ${seconds} s on ${this.#o.socketPath}; it may still carry it out`),
          );
        });
        req.destroy();
      }, timeoutMs);
      const settle = (how: () => void): void => {
        clearTimeout(deadline);
        how();
      };
      req.on('error', (e) => {
        settle(() => {
          reject(this.#unreachable(e));
        });
      });
      req.once('response', (response) => {
        take(response).then(
          (value) => {
            settle(() => {
              resolve(value);
            });
          },
          (e: unknown) => {
            settle(() => {
              reject(e instanceof ControlError ? e : this.#unreachable(e));
            });
          },
        );
      });
      req.end();
    });
  }

  #unreachable(e: unknown): ControlError {
    const { socketPath, root } = this.#o;
    const code = e instanceof Error && 'code' in e && typeof e.code === 'string' ? e.code : '';
    if (code === 'ENOENT' || code === 'ECONNREFUSED') {
      return new DaemonUnreachableError(`netraidd is not running: nothing answers on ${socketPath}; start it with: netraidd --root ${root}`);
    }
    if (code === 'EACCES' || code === 'EPERM') {
      return new DaemonUnreachableError(`${socketPath} is not open to this user; run the command as the user that netraidd runs as`);
    }
    return new DaemonUnreachableError(`netraidd went away during the call on ${socketPath}: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** Lines of `data: JSON`, each event ended by an empty line; the server writes one line for each event. */
function readEvents(response: IncomingMessage, onEvent: (e: ControlEvent) => void, fail: (why: string) => void): void {
  let rest = '';
  response.setEncoding('utf8');
  response.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > eventMaxBytes) {
      fail(`an event of more than ${String(eventMaxBytes)} bytes`);
      return;
    }
    for (const line of lines) {
      if (!line.startsWith('data: ')) continue;
      const value = parseJson(line.slice('data: '.length));
      if (value === undefined) {
        fail('an event that is no JSON');
        return;
      }
      onEvent(value as ControlEvent);
    }
  });
}

async function bodyOf(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > answerMaxBytes) throw new ControlError('internal', `netraidd answered more than ${String(answerMaxBytes)} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function unreadable(socketPath: string): ControlError {
  return new ControlError('internal', `what answers on ${socketPath} does not speak as netraidd does`);
}

function parseAnswer(text: string, socketPath: string): { result: unknown } | { error: ControlError } {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null) throw unreadable(socketPath);
  if ('result' in value) return { result: value.result };
  if (!('error' in value) || typeof value.error !== 'object' || value.error === null) throw unreadable(socketPath);
  const { error } = value;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  const message = 'message' in error && typeof error.message === 'string' ? error.message : 'no reason given';
  return { error: new ControlError(isCode(code) ? code : 'internal', message) };
}

/** Undefined, which JSON can't say, when it is none. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (e: unknown) {
    if (e instanceof SyntaxError) return undefined;
    throw e;
  }
}

function isCode(code: string): code is ControlError['code'] {
  return codes.has(code);
}
