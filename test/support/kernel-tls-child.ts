/**
 * Run in a guest whose kernel has TLS (test/interop/kernel-tls.test.ts): two nodes' ends of data connections, each with an engine of
 * its own, over the guest's loopback. Any failure ends it with status 1 and the error; what it has seen goes out as JSON.
 *
 *   node program.mjs FOLDER       FOLDER/server1, FOLDER/server2: certificates of one CA
 */
import assert from 'node:assert/strict';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { EngineHub } from '../../src/io/hub.ts';
import { nodeClock } from '../../src/io/node/clock.ts';
import { nodeFiles } from '../../src/io/node/files.ts';
import { type KernelTls, kernelTlsChoice } from '../../src/io/node/kernel-tls.ts';
import { nodeNet } from '../../src/io/node/net.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { NodeTls } from '../../src/io/node/tls.ts';
import { Touched } from '../../src/io/touched.ts';
import { Errno, IoError, type IoSocket } from '../../src/io/types.ts';
import { LegDevice } from '../../src/nbd/leg-device.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const LONG = 300_000;
const SOON_MS = 20_000;
const NONE = new Uint8Array(0);
const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };

const [folder = ''] = process.argv.slice(2);
const io = createNodeIo({ engine: { engine: 'native' } });
const hub = new EngineHub(io.createEngine());
const legPath = join(folder, 'leg');

/** Waits for what comes with events that nobody tells of. */
async function until(what: string, f: () => boolean): Promise<void> {
  const end = nodeClock.now() + SOON_MS;
  while (!f()) {
    assert.ok(nodeClock.now() < end, `still waiting after ${String(SOON_MS)} ms: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What the kernel counts: connections of each way so far and now, and records that did not open. */
function counts(): Record<string, number> {
  return Object.fromEntries(
    [...readFileSync('/proc/net/tls_stat', 'utf8').matchAll(/^Tls(\w+)\s+(\d+)$/gm)].map((m): [string, number] => [m[1] ?? '', Number(m[2])]),
  );
}

const count = (name: string): number => counts()[name] ?? 0;

/** For whoever reads why it ended. */
let stage = '';
process.on('exit', (status) => {
  if (status !== 0) process.stderr.write(`failed in: ${stage}\n`);
});

type Side = 'kernel' | 'Node';
const real = kernelTlsChoice(undefined, 'native');
assert.ok(real !== undefined, 'this kernel has no TLS');
const kernel: KernelTls = real;
const tlsOf = (node: string, side: Side): Promise<NodeTls> =>
  NodeTls.open({ files: nodeFiles, folder: join(folder, node), node, clock: nodeClock, log: silent, kernel: side === 'kernel' ? kernel : undefined });
const ends = {
  client: { kernel: await tlsOf('server1', 'kernel'), Node: await tlsOf('server1', 'Node') },
  server: { kernel: await tlsOf('server2', 'kernel'), Node: await tlsOf('server2', 'Node') },
};

type Way = 'there' | 'back';

/** A wire between the two that can be told to turn a bit over in the next long piece, or to keep for itself what comes after so many bytes. */
class Wire {
  flip: Way | undefined;
  readonly #sockets: Record<Way, Socket[]> = { there: [], back: [] };
  readonly #server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: this.#to, noDelay: true });
    this.#carry(near, far, 'there');
    this.#carry(far, near, 'back');
  });
  #to = 0;
  #left = Infinity;
  #kept: [Socket, Buffer][] = [];

  #carry(from: Socket, to: Socket, way: Way): void {
    this.#sockets[way].push(from);
    from.on('error', () => to.destroy());
    // Behind what it still has to give.
    from.on('close', () => to.end());
    from.on('data', (bytes) => {
      if (this.flip === way && bytes.length > 1000) {
        this.flip = undefined;
        bytes[500] = (bytes[500] ?? 0) ^ 1;
      }
      if (way === 'there' && this.#left < Infinity) {
        to.write(bytes.subarray(0, this.#left));
        this.#kept.push([to, bytes.subarray(this.#left)]);
        this.#left = Math.max(0, this.#left - bytes.length);
      } else to.write(bytes);
    });
  }

  /** Of what goes there. */
  keepAfter(bytes: number): void {
    this.#left = bytes;
  }

  giveOut(): void {
    this.#left = Infinity;
    for (const [to, bytes] of this.#kept.splice(0)) to.write(bytes);
  }

  stop(way: Way): void {
    for (const s of this.#sockets[way]) s.pause();
  }

  goOn(way: Way): void {
    for (const s of this.#sockets[way]) s.resume();
  }

  async open(to: number): Promise<number> {
    this.#to = to;
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const at = this.#server.address();
    assert.ok(typeof at === 'object' && at !== null);
    return at.port;
  }

  close(): void {
    this.#server.close();
    for (const s of [...this.#sockets.there, ...this.#sockets.back]) s.destroy();
  }
}

interface Session {
  client: NbdClient;
  device: LegDevice;
  server: NbdServer;
  /** Of compact headers; only then the engine serves by itself. */
  checksums: boolean;
  touched: Touched;
  /** Payloads that the client asked for again. */
  mismatches: number;
}

writeFileSync(legPath, '');
truncateSync(legPath, SIZE);
const leg = await hub.engine.openLeg(legPath, { write: true, lock: true });

async function session(near: Side, far: Side, wire?: Wire, checksums = true): Promise<Session> {
  const touched = new Touched(SIZE, 64 * 1024);
  const device = new LegDevice(hub, leg, { touched, checksums });
  const nbd = new NbdServer({ io, hub, exports: { list: () => [], find: () => device } });
  let came: (s: IoSocket) => void = () => undefined;
  const next = new Promise<IoSocket>((resolve) => {
    came = resolve;
  });
  const listener = await nodeNet.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => {
    came(s);
  });
  const port = listener.address.kind === 'tcp' ? listener.address.port : 0;
  const raw = await nodeNet.connect({ kind: 'tcp', host: '127.0.0.1', port: wire === undefined ? port : await wire.open(port) }, SOON_MS);
  const [connected, accepted] = await Promise.all([
    ends.client[near].connect(raw, 'server2', SOON_MS),
    ends.server[far].accept(await next, NONE, SOON_MS, 'node'),
  ]);
  assert.deepEqual([connected.peer?.names[0], accepted.peer?.names[0]], ['server2', 'server1']);
  const serving = nbd.serve(accepted);
  const s = { device, server: nbd, touched, checksums, mismatches: 0 };
  const client = await NbdClient.connect({
    io,
    hub,
    exportName: 'x',
    open: () => Promise.resolve(connected),
    ...(checksums ? { checksums: { onMismatch: () => (s.mismatches += 1) } } : {}),
  });
  assert.equal(await serving, true);
  await listener.close();
  return Object.assign(s, { client });
}

const pattern = (length: number, seed: number): Uint8Array => new Uint8Array(length).map((_, i) => (i * 7 + (i >> 8) + seed) & 255);
const written = (offset: number, length: number): Buffer => readFileSync(legPath).subarray(offset, offset + length);

async function carries({ client, touched, checksums }: Session, seed: number): Promise<void> {
  const long = pattern(LONG, seed);
  await client.writeBytes(65_536, long);
  assert.equal(Buffer.compare(await client.readBytes(65_536, LONG), long), 0);
  assert.equal(Buffer.compare(written(65_536, LONG), long), 0);
  // Plain and short: the thread's.
  const short = Array.from({ length: 64 }, (_, i) => pattern(4096, seed + i));
  for (const [i, b] of short.slice(0, 8).entries()) await client.writeBytes(4 * MIB + i * 4096, b);
  await Promise.all(short.slice(8).map((b, i) => client.writeBytes(4 * MIB + (8 + i) * 4096, b)));
  await client.flushNow();
  assert.equal(Buffer.compare(written(4 * MIB, 64 * 4096), Buffer.concat(short)), 0);
  assert.equal(
    touched.words.some((w) => w !== 0),
    checksums,
  );
}

async function over({ server, device }: Session): Promise<void> {
  await until('no connection is left', () => hub.engine.usage().connections === 0);
  await until('nothing is held', () => hub.engine.usage().handles === 0 && hub.engine.usage().operations === 0);
  await server.closeExport(device);
  await server.close({ drainMs: 100 });
}

const seen: Record<string, unknown> = {};

/** Earlier, by whomever. */
const opened = count('DecryptError');

for (const [client, server] of [
  ['kernel', 'kernel'],
  ['kernel', 'Node'],
  ['Node', 'kernel'],
] as const) {
  for (const end of ['client', 'server', 'vanish'] as const) {
    stage = `${client} to ${server}, ended by: ${end}`;
    const before = { tx: count('TxSw'), rx: count('RxSw') };
    const s = await session(client, server, undefined, end !== 'vanish');
    const secured = client === server ? 2 : 1;
    assert.deepEqual({ tx: count('TxSw') - before.tx, rx: count('RxSw') - before.rx }, { tx: secured, rx: secured });
    await carries(s, end.length);
    let loss = 0;
    s.client.onClosed((errno) => {
      loss = errno;
    });
    if (end === 'client') await s.client.disconnect();
    else if (end === 'server') await s.server.closeExport(s.device);
    else s.client.close(Errno.ECONNRESET);
    await over(s);

    if (end === 'server') await until(`${client} ${server}: the client has heard of the end: ${String(loss)}`, () => loss === Errno.ESHUTDOWN);
  }
}
await until('the kernel secures none any more', () => count('CurrTxSw') + count('CurrRxSw') === 0);
assert.equal(count('DecryptError'), opened);

/** What the client is told of a bit that was turned over; the session is over then. */
async function damaged(way: Way, checksums: boolean, f: (s: Session) => Promise<unknown>): Promise<void> {
  stage = `a bit turned over ${way}, checksums ${String(checksums)}`;
  const wire = new Wire();
  const failures = count('DecryptError');
  const s = await session('kernel', 'kernel', wire, checksums);
  await carries(s, 77);
  wire.flip = way;
  const errno = (e: unknown): boolean => e instanceof IoError && e.errno === Errno.ECONNRESET;
  await assert.rejects(f(s), errno);
  await until('the session is over', () => s.client.lost !== undefined);
  // A broken connection, and no answer of the server's or damaged payload, which would be asked for again.
  assert.equal(s.client.lost?.errno, Errno.ECONNRESET);
  assert.equal(s.mismatches, 0);
  await over(s);
  wire.close();
  assert.ok(count('DecryptError') > failures);
}

for (const checksums of [true, false]) {
  const before = written(0, SIZE);
  const seed = checksums ? 5 : 6;
  await damaged('there', checksums, (s) => s.client.writeBytes(8 * MIB, pattern(256 * 1024, seed)));
  // Records before the damaged one have been taken, and nothing of it or behind it.
  const after = written(8 * MIB, 256 * 1024);
  const meant = pattern(256 * 1024, seed);
  const old = before.subarray(8 * MIB, 8 * MIB + 256 * 1024);
  for (let i = 0; i < after.length; i += 512) {
    const sector = after.subarray(i, i + 512);
    assert.ok(
      Buffer.compare(sector, old.subarray(i, i + 512)) === 0 || Buffer.compare(sector, meant.subarray(i, i + 512)) === 0,
      `sector ${String(i)}`,
    );
  }
  await damaged('back', checksums, (s) => Promise.all([0, 1, 2].map((i) => s.client.readBytes(i * MIB, 256 * 1024))));
}

{
  // The rest of a record that is long in coming is waited for asleep.
  const wire = new Wire();
  const s = await session('kernel', 'kernel', wire);
  await carries(s, 3);
  for (const bytes of [3, 700]) {
    stage = `${String(bytes)} bytes of a record`;
    wire.keepAfter(bytes);
    const begun = performance.now();
    const used = process.cpuUsage();
    const writing = s.client.writeBytes(0, pattern(4096, bytes));
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { user, system } = process.cpuUsage(used);
    const awake = (user + system) / 1000 / (performance.now() - begun);
    wire.giveOut();
    await writing;
    seen[`awake after ${String(bytes)} bytes`] = awake;
    assert.ok(awake < 0.5, `awake for ${String(awake)} of the time`);
  }
  await s.client.disconnect();
  await over(s);
  wire.close();
}

for (const side of ['kernel', 'Node'] as const) {
  // Answers that were given before an end in order arrive, however full the socket was.
  const wire = new Wire();
  const s = await session('kernel', side, wire, false);
  await carries(s, 4);
  stage = `answers of ${side} in a full socket`;
  const before = s.server.connections()[0]?.requestsTotal ?? NaN;
  wire.stop('back');
  const reading = Promise.allSettled(Array.from({ length: 40 }, (_, i) => s.client.readBytes((i % 16) * MIB, MIB / 4)));
  await until('all has been asked', () => s.client.requestsInFlight === 40);
  await until('all is answered', () => s.server.connections().every((c) => c.requestsTotal === before + 40 && c.requestsInFlight === 0));
  const closing = s.server.closeExport(s.device, Errno.ESHUTDOWN, 10_000);
  wire.goOn('back');
  const got = await reading;
  assert.deepEqual(new Set(got.map((r) => (r.status === 'rejected' ? String(r.reason) : 'answered'))), new Set(['answered']));
  await closing;
  await over(s);
  wire.close();
}

/** Milliseconds for so many writes, all in flight at once. */
async function timeOf(s: Session, length: number, times: number): Promise<number> {
  const bytes = pattern(length, 1);
  const begun = performance.now();
  await Promise.all(Array.from({ length: times }, (_, i) => s.client.writeBytes((i * length) % SIZE, bytes)));
  return performance.now() - begun;
}
for (const side of ['kernel', 'Node'] as const) {
  const s = await session(side, side);
  await timeOf(s, 4096, 64);
  seen[side] = { write4kMs: await timeOf(s, 4096, 512), write256kMs: await timeOf(s, 256 * 1024, 32) };
  await s.client.disconnect();
  await over(s);
}

await hub.engine.closeLeg(leg.leg);
await hub.engine.shutdown();
process.stdout.write(`${JSON.stringify({ ...seen, ...counts() })}\n`);
