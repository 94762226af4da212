/** What every test of an engine needs: a world, engines whose events are kept, joined sockets, and the final leak check. */
import { expect } from 'vitest';
import { NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { REQUEST, viewOf } from '../../../src/nbd/wire/layout.ts';
import { encodeRequest } from '../../../src/nbd/wire/transmission.ts';
import { EngineHub, type OpResult } from '../../../src/io/hub.ts';
import type { LegFile } from '../../../src/io/leg-file.ts';
import { PortableEngine } from '../../../src/io/portable-engine.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import {
  type Address,
  type ConnId,
  type ConnLimits,
  type Engine,
  type Handle,
  type Io,
  IoError,
  type IoSocket,
  type OpId,
  type RequestId,
  type WireParams,
} from '../../../src/io/types.ts';

export interface EngineWorld {
  io: Io;
  /** A path that may be created, in a folder of this test alone. */
  path(name: string): string;
  /** Where this world can listen; a new one for each call. */
  address(): Address;
  /** Runs a test's body to its end; a simulated world lets its time pass meanwhile. */
  drive<T>(body: () => Promise<T>): Promise<T>;
  dispose(): Promise<void>;
}

export const SIMPLE: WireParams = { structuredReplies: false, extendedHeaders: false, payloadMaxBytes: 1024 * 1024 };
export const STRUCTURED: WireParams = { ...SIMPLE, structuredReplies: true };
export const EXTENDED: WireParams = { ...STRUCTURED, extendedHeaders: true };
export const ROOMY: ConnLimits = { requestsMax: 128, bytesMax: 64 * 1024 * 1024 };
export const WAIT_MS = 8000;
const NO_BYTES = new Uint8Array(0);

export interface SeenRequest {
  conn: ConnId;
  req: RequestId;
  cmd: number;
  flags: number;
  offset: number;
  length: number;
  h: Handle;
}

/** A server connection's owner that keeps what it is told. */
export class Connection {
  readonly id: ConnId;
  readonly requests: SeenRequest[] = [];
  closed: number | undefined;
  /** In order: what happened on the connection. */
  readonly history: string[] = [];
  onRequest: ((r: SeenRequest) => void) | undefined;

  constructor(hub: EngineHub, id: ConnId) {
    this.id = id;
    hub.own(id, {
      onRequest: (req, cmd, flags, offset, length, h) => {
        const r = { conn: id, req, cmd, flags, offset, length, h };
        this.history.push('request');
        this.requests.push(r);
        this.onRequest?.(r);
      },
      onClosed: (errno) => {
        expect(this.closed, 'CLOSED comes once').toBeUndefined();
        this.history.push('closed');
        this.closed = errno;
      },
    });
  }

  request(i: number): SeenRequest {
    const r = this.requests[i];
    if (r === undefined) throw new Error(`request ${String(i)} did not come`);
    return r;
  }
}

export class Rig {
  readonly world: EngineWorld;
  readonly io: Io;
  readonly #engines: Engine[] = [];
  readonly #sockets: IoSocket[] = [];

  constructor(world: EngineWorld) {
    this.world = world;
    this.io = world.io;
  }

  hub(engine: Engine = this.io.createEngine()): EngineHub {
    this.#engines.push(engine);
    return new EngineHub(engine);
  }

  /** An engine of this world's clock whose legs are the given files, whatever their path. */
  hubOver(file: LegFile): EngineHub {
    return this.hub(new PortableEngine({ clock: this.io.clock, legs: { open: () => Promise.resolve(file) }, lingerMs: 200 }));
  }

  async pair(): Promise<{ accepted: IoSocket; connected: IoSocket }> {
    const wait = new Promise<IoSocket>((resolve) => {
      void this.#connectedTo(resolve);
    });
    const accepted = await wait;
    const connected = this.#sockets.pop();
    if (connected === undefined) throw new Error('nothing was connected');
    return { accepted, connected };
  }

  async #connectedTo(accepted: (s: IoSocket) => void): Promise<void> {
    let first: IoSocket | undefined;
    const listener = await this.io.net.listen(this.world.address(), (s) => {
      first = s;
    });
    this.#sockets.push(await this.io.net.connect(listener.address, WAIT_MS));
    await this.until(() => first !== undefined);
    await listener.close();
    if (first !== undefined) accepted(first);
  }

  /** A server connection, and its peer as a socket read by asking. */
  async server(hub: EngineHub, wire: WireParams = SIMPLE, limits: ConnLimits = ROOMY): Promise<{ conn: Connection; peer: PullSocket }> {
    const { accepted, connected } = await this.pair();
    const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', wire, limits, NO_BYTES));
    return { conn, peer: new PullSocket(connected, this.io.clock) };
  }

  async client(hub: EngineHub, wire: WireParams = SIMPLE, limits: ConnLimits = ROOMY): Promise<{ conn: Connection; peer: PullSocket }> {
    const { accepted, connected } = await this.pair();
    const conn = new Connection(hub, hub.engine.adopt(connected, 'client', wire, limits, NO_BYTES));
    return { conn, peer: new PullSocket(accepted, this.io.clock) };
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.io.clock.soon(resolve);
    });
  }

  pass(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.io.clock.after(ms, resolve);
    });
  }

  async until(condition: () => boolean): Promise<void> {
    const giveUp = this.io.clock.now() + WAIT_MS;
    while (!condition()) {
      if (this.io.clock.now() > giveUp) throw new Error(`waited in vain for: ${condition.toString()}`);
      await this.pass(1);
    }
  }

  /** What cannot be waited for because it must not happen: enough time for it to happen. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i += 1) await this.turn();
    await this.pass(20);
    for (let i = 0; i < 5; i += 1) await this.turn();
  }

  /** Everything is closed, and nothing is left behind. */
  async finish(): Promise<void> {
    for (const e of this.#engines) await e.shutdown();
    await this.until(() => this.#engines.every((e) => e.usage().operations === 0));
    await this.settle();
    for (const e of this.#engines) expect(e.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
    await this.world.dispose();
  }
}

export function handleOf(hub: EngineHub, bytes: Uint8Array): Handle {
  const h = hub.engine.allocate(bytes.length);
  hub.engine.view(h).set(bytes);
  return h;
}

/** Copies a handle's bytes and gives up its reference. */
export function takeBytes(hub: EngineHub, h: Handle): Uint8Array {
  const bytes = new Uint8Array(hub.engine.view(h));
  hub.engine.release(h);
  return bytes;
}

/** Starts an operation and keeps its result. */
export function begin(hub: EngineHub, f: (op: OpId) => void): { result: OpResult | undefined; promise: Promise<OpResult> } {
  const promise = hub.run(f);
  const kept: { result: OpResult | undefined; promise: Promise<OpResult> } = { result: undefined, promise };
  void promise.then((r) => {
    kept.result = r;
  });
  return kept;
}

export function pattern(length: number, seed: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) out[i] = (i * 31 + seed * 17 + (i >> 8)) & 0xff;
  return out;
}

export interface RawRequest {
  cmd: number;
  flags?: number;
  cookieHi?: number;
  cookieLo?: number;
  offset?: number;
  length?: number;
  payload?: Uint8Array;
}

export function rawRequest(r: RawRequest): Uint8Array {
  const payload = r.cmd === NBD_CMD_WRITE ? (r.payload ?? NO_BYTES) : NO_BYTES;
  const out = new Uint8Array(REQUEST.SIZE + payload.length);
  encodeRequest(viewOf(out), 0, {
    type: r.cmd,
    flags: r.flags ?? 0,
    cookieHi: r.cookieHi ?? 0,
    cookieLo: r.cookieLo ?? 1,
    offset: r.offset ?? 0,
    length: r.length ?? payload.length,
  });
  out.set(payload, REQUEST.SIZE);
  return out;
}

export function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

export async function expectIoError(p: Promise<unknown>, errno: number): Promise<void> {
  const e: unknown = await p.then(
    () => 'no error',
    (reason: unknown) => reason,
  );
  expect(e).toBeInstanceOf(IoError);
  expect(e instanceof IoError ? e.errno : undefined).toBe(errno);
}

/** As toEqual, but quick for long ones: says where they first differ. */
export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length);
  if (Buffer.compare(actual, expected) === 0) return;
  const at = actual.findIndex((b, i) => b !== expected[i]);
  expect({ at, byte: actual[at] }).toEqual({ at, byte: expected[at] });
}
