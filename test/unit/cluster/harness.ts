/** Clusters in a small world, and strangers that speak by hand. */
import { Cluster, type ClusterOptions } from '../../../src/cluster/cluster.ts';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { encodeFrame, FrameDecoder } from '../../../src/cluster/frame.ts';
import type { Log } from '../../../src/io/log.ts';
import type { Address, IoSocket } from '../../../src/io/types.ts';
import type { FakeWorld } from './fake-world.ts';

export const FAILURE_TIMEOUT_MS = 2000;

export function at(host: string): Address {
  return { kind: 'tcp', host, port: 7000 };
}

export interface Spoken {
  level: 'info' | 'warn' | 'error';
  message: string;
  fields: Record<string, unknown> | undefined;
}

export function spokenLog(): { log: Log; spoken: Spoken[] } {
  const spoken: Spoken[] = [];
  const say =
    (level: Spoken['level']) =>
    (message: string, fields?: Record<string, unknown>): void => {
      spoken.push({ level, message, fields });
    };
  return { log: { info: say('info'), warn: say('warn'), error: say('error') }, spoken };
}

export interface Node {
  cluster: Cluster;
  spoken: Spoken[];
}

export function makeNode(world: FakeWorld, self: string, peers: Record<string, string[]>, o: Partial<ClusterOptions> = {}): Node {
  const { log, spoken } = spokenLog();
  const cluster = new Cluster({
    io: world.io(self),
    self,
    clusterName: 'test',
    listen: at(self),
    peers: Object.fromEntries(Object.entries(peers).map(([name, hosts]) => [name, hosts.map(at)])),
    failureTimeoutMs: FAILURE_TIMEOUT_MS,
    daemonStart: `${self}-1`,
    log,
    ...o,
  });
  return { cluster, spoken };
}

/** Two nodes, started, each connected to the other. */
export async function pair(world: FakeWorld, o: Partial<ClusterOptions> = {}): Promise<{ a: Node; b: Node }> {
  const a = makeNode(world, 'a', { b: ['b'] }, o);
  const b = makeNode(world, 'b', { a: ['a'] }, o);
  await a.cluster.start();
  await b.cluster.start();
  await world.until('both are connected', () => a.cluster.connected('b') && b.cluster.connected('a'));
  return { a, b };
}

/** The code a promise is rejected with; 'resolved' when it is not; throws what is no ClusterError. */
export async function codeOf(p: Promise<unknown>): Promise<string> {
  try {
    await p;
  } catch (e: unknown) {
    if (e instanceof ClusterError) return e.code;
    throw e;
  }
  return 'resolved';
}

/** Speaks frames or raw bytes by hand. */
export class Stranger {
  readonly socket: IoSocket;
  readonly got: unknown[] = [];
  closed = false;
  readonly #decoder = new FrameDecoder();

  constructor(socket: IoSocket) {
    this.socket = socket;
    socket.start({
      onData: (bytes) => {
        this.#decoder.push(bytes, (v) => this.got.push(v));
      },
      onClose: () => {
        this.closed = true;
      },
    });
  }

  static async call(world: FakeWorld, from: string, to: string): Promise<Stranger> {
    return new Stranger(await world.settle(world.io(from).net.connect(at(to), 1000)));
  }

  say(value: object): void {
    this.socket.write(encodeFrame(value));
  }

  hello(node: string, to: string, more: Record<string, unknown> = {}): void {
    this.say({ type: 'hello', protocol: { min: 1, max: 1 }, cluster: 'test', node, daemonStart: `${node}-1`, to, purpose: 'link', ...more });
  }
}
