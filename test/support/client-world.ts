/** An NbdClient over the portable engine, memory sockets and a clock that stands still: every server is a FakePeer. */
import { type EngineHub as Hub, EngineHub, type OpOwner } from '../../src/io/hub.ts';
import { PortableEngine } from '../../src/io/portable-engine.ts';
import { type EngineValue, Errno, type Handle, IoError, type IoSocket } from '../../src/io/types.ts';
import { NbdClient, type NbdClientSettings } from '../../src/nbd-client-js/client.ts';
import { type FakeExport, FakePeer } from './fake-nbd-server.ts';
import { ManualClock, settle } from './manual-clock.ts';
import { type MemorySocket, type PairOptions, socketPair } from './socket-pair.ts';

export interface Done {
  tag: number;
  errno: number;
  length: number;
  h: Handle;
  value: EngineValue | undefined;
}

/** Keeps what was done, in order; a second onDone for a tag is an error. */
export class Recorder implements OpOwner {
  readonly done: Done[] = [];

  onDone(tag: number, errno: number, length: number, h: Handle, value: EngineValue | undefined): void {
    if (this.done.some((d) => d.tag === tag)) throw new Error(`tag ${String(tag)} was done twice`);
    this.done.push({ tag, errno, length, h, value });
  }

  get tags(): number[] {
    return this.done.map((d) => d.tag);
  }

  errno(tag: number): number | undefined {
    return this.done.find((d) => d.tag === tag)?.errno;
  }
}

export class ClientWorld {
  readonly clock = new ManualClock();
  readonly engine = new PortableEngine({
    clock: this.clock,
    legs: { open: () => Promise.reject(new IoError(Errno.ENOTSUP, 'no legs here')) },
  });
  readonly hub: Hub = new EngineHub(this.engine);
  readonly peers: FakePeer[] = [];
  /** The clients' ends. */
  readonly sockets: MemorySocket[] = [];
  readonly recorder = new Recorder();
  /** Called for each connection after its handshake. */
  #script: (peer: FakePeer, index: number) => Promise<unknown> = () => Promise.resolve();

  /** One connection to a server of this kind. */
  open(e: FakeExport, pair: PairOptions = {}): Promise<IoSocket> {
    const [client, server] = socketPair(pair);
    const peer = new FakePeer(server, this.clock);
    const index = this.peers.length;
    this.peers.push(peer);
    this.sockets.push(client);
    void this.#serve(peer, index, e);
    return Promise.resolve(client);
  }

  async #serve(peer: FakePeer, index: number, e: FakeExport): Promise<void> {
    try {
      if ((await peer.handshake(e)) === 'transmission') await this.#script(peer, index);
    } catch (error: unknown) {
      // The client going away in the middle is what some tests are about.
      if (!(error instanceof IoError)) throw error;
    }
  }

  async connect(
    e: FakeExport,
    settings: Partial<Omit<NbdClientSettings, 'io' | 'hub'>> = {},
    script?: (peer: FakePeer, index: number) => Promise<unknown>,
  ): Promise<NbdClient> {
    if (script !== undefined) this.#script = script;
    const client = await NbdClient.connect({ ...this.settings, ...settings, open: () => this.open(e) });
    await settle();
    return client;
  }

  get settings(): NbdClientSettings {
    const net = {
      listen: () => Promise.reject(new IoError(Errno.ENOTSUP, 'no net here')),
      connect: () => Promise.reject(new IoError(Errno.ECONNREFUSED, 'no net here')),
    };
    return { io: { clock: this.clock, net }, hub: this.hub, exportName: 'disk', replyTimeoutMs: 1000, connectTimeoutMs: 2000 };
  }

  /** A handle with these bytes; the test owns the reference. */
  handle(bytes: Uint8Array): Handle {
    const h = this.engine.allocate(bytes.length);
    this.engine.view(h).set(bytes);
    return h;
  }

  bytesOf(d: Done | undefined): Uint8Array {
    if (d === undefined || d.h === 0) throw new Error('there is no data');
    const bytes = this.engine.view(d.h).slice(0, d.length);
    this.engine.release(d.h);
    return bytes;
  }
}

/** Bytes that differ from place to place. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) bytes[i] = i * 31 + (i >> 8) * 17 + (i >> 16) * 13 + seed * 101;
  return bytes;
}

/** The i-th element, which must exist. */
export function nth<T>(list: readonly T[], i: number): T {
  const x = list.at(i);
  if (x === undefined) throw new Error(`there is no element ${String(i)} of ${String(list.length)}`);
  return x;
}
