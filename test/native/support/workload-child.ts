/**
 * Everything the native engine does, a little of each, for a program that watches every access to memory: exports served and
 * used over sockets, requests that are cut off, streams that are none. Ends with a line of counts; any difference in the data
 * is an error.
 */
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { EngineHub } from '../../../src/io/hub.ts';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import { Errno, errnoName } from '../../../src/io/types.ts';
import { NbdClient } from '../../../src/nbd-client-js/client.ts';
import { LegDevice } from '../../../src/nbd/leg-device.ts';
import { NbdServer } from '../../../src/nbd/server.ts';
import {
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_EXTENDED_HEADERS,
  NBD_OPT_GO,
} from '../../../src/nbd/wire/constants.ts';
import { encodeClientFlags, encodeInfoRequest, encodeOption } from '../../../src/nbd/wire/handshake.ts';
import { viewOf } from '../../../src/nbd/wire/layout.ts';
import { encodeExtendedRequest, encodeRequest } from '../../../src/nbd/wire/transmission.ts';

const SIZE_BYTES = 4 * 1024 * 1024;
const LENGTHS = [1, 511, 4096, 65_536, 300_001, 1024 * 1024];
const ROUNDS = 4;
const CUTS = 6;

const folder = await mkdtemp(path.join(tmpdir(), 'netraid-workload-'));
const io = createNodeIo({ engine: { engine: 'native' } });
const engine = io.createEngine();
const hub = new EngineHub(engine);
const leg = path.join(folder, 'leg');
const socket = path.join(folder, 'nbd.sock');
await writeFile(leg, '');
await truncate(leg, SIZE_BYTES);
const opened = await engine.openLeg(leg, { write: true, lock: true });
const device = new LegDevice(hub, opened);
const server = new NbdServer({ io, hub, exports: { list: () => [{ name: '', description: '' }], find: () => device } });
await server.listen({ kind: 'unix', path: socket });
const model = new Uint8Array(SIZE_BYTES);
let operations = 0;

const dial = (connections: number, extendedHeaders: boolean): Promise<NbdClient> =>
  NbdClient.connect({
    io,
    hub,
    exportName: '',
    address: { kind: 'unix', path: socket },
    connections,
    extendedHeaders,
    connectTimeoutMs: 60_000,
    replyTimeoutMs: 120_000,
  });

function same(what: string, a: Uint8Array, b: Uint8Array): void {
  if (Buffer.compare(a, b) !== 0) throw new Error(`${what}: the data differs`);
}

/** Ranges that do not overlap, all at once. */
async function useAll(c: NbdClient, round: number): Promise<void> {
  const writes = LENGTHS.map(async (length, i) => {
    const offset = i * 300_003 + round * 7;
    const bytes = new Uint8Array(Math.min(length, 300_000)).map((_, k) => (k * 31 + i + round) & 255);
    model.set(bytes, offset);
    await c.writeBytes(offset, bytes, (i + round) % 3 === 0);
    operations += 1;
  });
  await Promise.all([...writes, c.flushNow(), c.flushNow()]);
  const zeroed = { offset: 100_000 * round + 3, length: 50_000 + round };
  model.fill(0, zeroed.offset, zeroed.offset + zeroed.length);
  const errno = await new Promise<number>((resolve) => {
    const owner = {
      onDone: (_tag: number, ended: number): void => {
        resolve(ended);
      },
    };
    c.writeZeroes(owner, 0, zeroed.offset, zeroed.length, { fua: round % 2 === 0, mayPunch: round % 2 === 1 });
  });
  if (errno !== 0) throw new Error(`zeroes: ${errnoName(errno)}`);
  same('reading back', await c.readBytes(0, SIZE_BYTES), model);
  await c.extents(0, SIZE_BYTES);
  operations += 6;
}

function request(type: number, length: number, payload: number): Buffer {
  const out = Buffer.alloc(28 + payload, 0x5a);
  encodeRequest(viewOf(out), 0, { flags: 0, type, cookieHi: 1, cookieLo: 2, offset: 0, length });
  return out;
}

function extendedRequest(type: number, flags: number, length: number, payload: number): Buffer {
  const out = Buffer.alloc(32 + payload, 0x5a);
  encodeExtendedRequest(viewOf(out), 0, { flags, type, cookieHi: 1, cookieLo: 2, offset: 0, length });
  return out;
}

const COMPACT = [encodeOption(NBD_OPT_EXPORT_NAME)];
const EXTENDED = [encodeOption(NBD_OPT_EXTENDED_HEADERS), encodeOption(NBD_OPT_GO, encodeInfoRequest('', []))];

/** A client that says this after its handshake, and is gone when something has come back or everything was sent. */
async function leave(options: Uint8Array[], ...said: Buffer[]): Promise<void> {
  const s = connect(socket);
  s.on('error', () => undefined);
  s.write(Buffer.concat([encodeClientFlags(3), ...options, ...said]));
  await new Promise((resolve) => s.once('data', resolve));
  s.destroy();
  await new Promise((resolve) => s.once('close', resolve));
  operations += 1;
}

const single = await dial(1, true);
const several = await dial(3, false);
for (let round = 0; round < ROUNDS; round += 1) await useAll(round % 2 === 0 ? single : several, round);

// Streams that end in the middle of a request or of an answer, or that are none.
for (let i = 0; i < CUTS; i += 1) {
  await leave(COMPACT, request(NBD_CMD_WRITE, 1024 * 1024, 1000 * i));
  await leave(COMPACT, ...Array.from({ length: 20 }, () => request(NBD_CMD_READ, 256 * 1024, 0)));
  await leave(COMPACT, Buffer.alloc(100, i));
  await leave(COMPACT, request(NBD_CMD_WRITE, 2 ** 31, 10));
  await leave(EXTENDED, extendedRequest(NBD_CMD_WRITE, NBD_CMD_FLAG_PAYLOAD_LEN, 1024 * 1024, 1000 * i));
  await leave(
    EXTENDED,
    ...Array.from({ length: 20 }, (_, k) => extendedRequest(k, NBD_CMD_FLAG_PAYLOAD_LEN * (k % 2), (k % 2) * 100 * i, (k % 2) * 100 * i)),
  );
}

// A client that ends while its requests are on their way; what they wrote is not looked at again.
const cut = await dial(1, true);
const ended = LENGTHS.map((length) => cut.writeBytes(0, new Uint8Array(Math.min(length, 300_000))));
cut.close(Errno.ECONNRESET);
await Promise.allSettled(ended);

await single.disconnect();
await several.disconnect();
await server.close({ drainMs: 60_000 });
const h = engine.allocate(100_000);
engine.view(h).fill(0x5a);
const digest = await hub.run((op) => {
  engine.digest(op, h, 1, 99_999, 'crc32');
});
engine.release(h);
if (digest.errno !== 0) throw new Error(`digest: ${errnoName(digest.errno)}`);
await engine.closeLeg(opened.leg);
const left = engine.usage();
await engine.shutdown();
await rm(folder, { recursive: true });
if (left.handles + left.bytes + left.operations + left.connections > 0) throw new Error(`left over: ${JSON.stringify(left)}`);
process.stdout.write(`${String(operations)} operations\n`);
