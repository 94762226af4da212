/** The server over the portable engine and a real file; only the sockets are in memory. */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import type { Engine, Io, LegInfo } from '../../../src/io/types.ts';
import { LegDevice } from '../../../src/nbd/leg-device.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import * as hs from '../../../src/nbd/wire/handshake.ts';
import { SIMPLE_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import {
  decodeSimpleReply,
  encodeExtendedRequest,
  encodeRequest,
  newSimpleReplyHeader,
  type RequestHeader,
} from '../../../src/nbd/wire/transmission.ts';
import { settle } from '../../support/manual-clock.ts';
import { until } from '../../support/programs.ts';
import { socketPair } from '../../support/socket-pair.ts';

const SIZE = 1024 * 1024;
let folder: string;
let io: Io;
let engine: Engine;
let hub: EngineHub;
let info: LegInfo;
let server: NbdServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'netraid-'));
  const leg = join(folder, 'leg');
  await writeFile(leg, '');
  await truncate(leg, SIZE);
  // Sockets in memory are not the native engine's.
  io = createNodeIo({ engine: { engine: 'portable' } });
  engine = io.createEngine();
  hub = new EngineHub(engine);
  info = await engine.openLeg(leg, { write: true, lock: true });
  const device = new LegDevice(hub, info);
  server = new NbdServer({ io, hub, exports: { list: () => [], find: () => device } });
});

afterAll(async () => {
  await server.close({ drainMs: 1000 });
  await engine.shutdown();
  await rm(folder, { recursive: true });
});

async function connect(pieceBytes: number): Promise<PullSocket> {
  const [socket, peer] = socketPair({ pieceBytes });
  const client = new PullSocket(peer, io.clock);
  const served = server.serve(socket);
  client.write(hs.encodeClientFlags(3));
  client.write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME));
  await client.read(18 + 10, 1000);
  expect(await served).toBe(true);
  return client;
}

/** As `connect`, by GO, with extended headers and base:allocation. */
async function connectExtended(pieceBytes: number): Promise<PullSocket> {
  const [socket, peer] = socketPair({ pieceBytes });
  const client = new PullSocket(peer, io.clock);
  const served = server.serve(socket);
  client.write(hs.encodeClientFlags(3));
  client.write(hs.encodeOption(wire.NBD_OPT_EXTENDED_HEADERS));
  client.write(hs.encodeOption(wire.NBD_OPT_SET_META_CONTEXT, hs.encodeMetaContextRequest('', ['base:allocation'])));
  client.write(hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('', [])));
  // Greeting, ACK, context and ACK, size and block sizes and ACK.
  await client.read(18 + 20 + (20 + 4 + 15) + 20 + (20 + 12) + (20 + 14) + 20, 1000);
  expect(await served).toBe(true);
  return client;
}

function extended(h: Partial<RequestHeader>, payload = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(32 + payload.length);
  encodeExtendedRequest(viewOf(out), 0, { flags: 0, type: 0, cookieHi: 0, cookieLo: 0, offset: 0, length: 0, ...h });
  out.set(payload, 32);
  return out;
}

function request(h: Partial<RequestHeader>, payload = new Uint8Array(0)): Uint8Array {
  const out = new Uint8Array(28 + payload.length);
  encodeRequest(viewOf(out), 0, { flags: 0, type: 0, cookieHi: 0, cookieLo: 0, offset: 0, length: 0, ...h });
  out.set(payload, 28);
  return out;
}

async function nothingLeft(): Promise<void> {
  await until('the connection has closed', () => server.connectionCount === 0);
  await until('its operations have ended', () => engine.usage().operations === 0);
  expect(engine.usage()).toMatchObject({ handles: 0, bytes: 0, connections: 0 });
}

test('what is written is read again, cookies come back, and DISC ends it', async () => {
  const client = await connect(7);
  const payload = new Uint8Array(5000).map((_, i) => i % 251);
  client.write(request({ type: wire.NBD_CMD_WRITE, cookieHi: 1, cookieLo: 2, offset: 100, length: payload.length }, payload));
  const reply = newSimpleReplyHeader();
  expect(decodeSimpleReply(viewOf(await client.read(SIMPLE_REPLY.SIZE, 1000)), 0, reply)).toBe(true);
  expect(reply).toEqual({ error: 0, cookieHi: 1, cookieLo: 2 });
  client.write(request({ type: wire.NBD_CMD_READ, cookieHi: 0xffffffff, cookieLo: 0x80000000, offset: 100, length: payload.length }));
  expect(decodeSimpleReply(viewOf(await client.read(SIMPLE_REPLY.SIZE, 1000)), 0, reply)).toBe(true);
  expect(reply).toEqual({ error: 0, cookieHi: 0xffffffff, cookieLo: 0x80000000 });
  expect(await client.read(payload.length, 1000)).toEqual(payload);
  client.write(request({ type: wire.NBD_CMD_DISC }));
  await expect(client.read(1, 1000)).rejects.toThrow('closed the connection');
  await nothingLeft();
});

/** Lets a client in when the test says so, and writes down what comes of it. */
class Guarded extends LegDevice {
  readonly events: string[] = [];
  letIn: (() => void) | undefined;

  enter(): Promise<void> {
    return new Promise((resolve) => {
      this.letIn = (): void => {
        this.events.push('let in');
        resolve();
      };
    });
  }

  leave(): void {
    this.events.push('leaves');
  }

  override read(...a: Parameters<LegDevice['read']>): void {
    this.events.push(`read ${String(a[2])}`);
    super.read(...a);
  }
}

test('what a client asks while it waits for the entrance of a device is done in order when it is let in, and nothing before', async () => {
  const device = new Guarded(hub, info);
  const own = new NbdServer({ io, hub, exports: { list: () => [], find: () => device } });
  const [socket, peer] = socketPair({ pieceBytes: 11 });
  const client = new PullSocket(peer, io.clock);
  const inTransmission = own.serve(socket);
  const ask = (offset: number): void => {
    client.write(request({ type: wire.NBD_CMD_READ, cookieLo: offset, offset, length: 512 }));
  };
  client.write(hs.encodeClientFlags(3));
  client.write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME));
  // At once, so that the server has some of it before it waits.
  ask(512);
  await client.read(18 + 10, 1000);
  await until('it waits', () => device.letIn !== undefined);
  ask(1024);
  await settle();
  expect([device.events, engine.usage().connections]).toEqual([[], 0]);
  device.letIn?.();
  expect(await inTransmission).toBe(true);
  ask(1536);
  // Each is read by a thread of its own: their answers come in any order.
  const answered = new Set<number>();
  for (let i = 0; i < 3; i += 1) {
    const reply = newSimpleReplyHeader();
    expect(decodeSimpleReply(viewOf(await client.read(SIMPLE_REPLY.SIZE, 1000)), 0, reply)).toBe(true);
    expect(reply).toMatchObject({ error: 0, cookieHi: 0 });
    answered.add(reply.cookieLo);
    await client.read(512, 1000);
  }
  expect(answered).toEqual(new Set([512, 1024, 1536]));
  client.write(request({ type: wire.NBD_CMD_DISC }));
  await until('it has gone', () => own.connectionCount === 0);
  expect(device.events).toEqual(['let in', 'read 512', 'read 1024', 'read 1536', 'leaves']);
  await nothingLeft();
});

test('requests sent right before DISC are all answered', async () => {
  const client = await connect(4096);
  for (let i = 0; i < 50; i += 1) client.write(request({ type: wire.NBD_CMD_READ, cookieLo: i, offset: i * 512, length: 512 }));
  client.write(request({ type: wire.NBD_CMD_DISC }));
  expect((await client.read(50 * (16 + 512), 5000)).length).toBe(50 * (16 + 512));
  await nothingLeft();
});

test('no requests and no bytes after the handshake stop the server, and nothing is left of them', async () => {
  const header = fc.record({
    flags: fc.oneof(fc.constant(0), fc.nat(0xffff)),
    type: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.nat(0xffff)),
    offset: fc.oneof(fc.nat(SIZE), fc.maxSafeNat()),
    length: fc.oneof(fc.nat(8192), fc.integer({ min: 0, max: 0xffffffff })),
  });
  const piece = fc.oneof(
    { weight: 5, arbitrary: fc.tuple(header, fc.uint8Array({ maxLength: 64 })).map(([h, p]) => request(h, p)) },
    {
      weight: 5,
      arbitrary: header.map((h) => request({ ...h, length: h.length % 4096 }, new Uint8Array(h.type === wire.NBD_CMD_WRITE ? h.length % 4096 : 0))),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 20 }), fc.integer({ min: 1, max: 300 }), fc.boolean(), async (pieces, pieceBytes, inOrder) => {
      const client = await connect(pieceBytes);
      for (const p of pieces) client.write(p);
      if (inOrder) client.end();
      else client.destroy();
      await nothingLeft();
    }),
    { numRuns: 60 },
  );
});

test('nothing with extended headers stops the server either, payloads and lengths of 64 bits included', async () => {
  const PAYLOAD = wire.NBD_CMD_FLAG_PAYLOAD_LEN;
  const header = fc.record({
    flags: fc.oneof(fc.constant(0), fc.constant(PAYLOAD), fc.nat(0x3f)),
    type: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.nat(0xffff)),
    offset: fc.oneof(fc.nat(SIZE), fc.maxSafeNat()),
    length: fc.oneof(fc.nat(8192), fc.nat(SIZE), fc.maxSafeNat()),
  });
  const piece = fc.oneof(
    { weight: 3, arbitrary: fc.tuple(header, fc.uint8Array({ maxLength: 64 })).map(([h, p]) => extended(h, p)) },
    {
      weight: 8,
      arbitrary: fc.tuple(header, fc.uint8Array({ maxLength: 40 })).map(([h, p]) => {
        const flags = h.type === wire.NBD_CMD_WRITE ? h.flags | PAYLOAD : h.flags;
        return (flags & PAYLOAD) === 0 ? extended({ ...h, flags }) : extended({ ...h, flags, length: p.length }, p);
      }),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 20 }), fc.integer({ min: 1, max: 300 }), fc.boolean(), async (pieces, pieceBytes, inOrder) => {
      const client = await connectExtended(pieceBytes);
      for (const p of pieces) client.write(p);
      if (inOrder) client.end();
      else client.destroy();
      await nothingLeft();
    }),
    { numRuns: 60 },
  );
});
