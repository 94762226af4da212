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
import { Errno, type IoSocket } from '../../src/io/types.ts';
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

/** A wire between the two that can be told to turn a bit over in the next long piece on its way there. */
class Wire {
  flip = false;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer({ noDelay: true }, (near) => {
    const far = connect({ host: '127.0.0.1', port: this.#to, noDelay: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('error', () => from.destroy());
      from.on('close', () => to.destroy());
      from.on('end', () => to.end());
      from.on('data', (bytes) => {
        if (this.flip && from === near && bytes.length > 1000) {
          this.flip = false;
          bytes[500] = (bytes[500] ?? 0) ^ 1;
        }
        to.write(bytes);
      });
    }
  });
  #to = 0;

  async open(to: number): Promise<number> {
    this.#to = to;
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const at = this.#server.address();
    assert.ok(typeof at === 'object' && at !== null);
    return at.port;
  }

  close(): void {
    this.#server.close();
    for (const s of this.#sockets) s.destroy();
  }
}

interface Session {
  client: NbdClient;
  device: LegDevice;
  server: NbdServer;
  /** Of the client's side, before TLS. */
  raw: IoSocket;
  /** Of compact headers; only then the engine serves by itself. */
  checksums: boolean;
  touched: Touched;
}

writeFileSync(legPath, '');
truncateSync(legPath, SIZE);
const leg = await hub.engine.openLeg(legPath, { write: true, lock: true });

async function session(client: Side, server: Side, wire?: Wire, checksums = true): Promise<Session> {
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
  const [near, far] = await Promise.all([
    ends.client[client].connect(raw, 'server2', SOON_MS),
    ends.server[server].accept(await next, NONE, SOON_MS, 'node'),
  ]);
  assert.deepEqual([near.peer?.names[0], far.peer?.names[0]], ['server2', 'server1']);
  const serving = nbd.serve(far);
  const c = await NbdClient.connect({
    io,
    hub,
    exportName: 'x',
    open: () => Promise.resolve(near),
    ...(checksums ? { checksums: { onMismatch: () => undefined } } : {}),
  });
  assert.equal(await serving, true);
  await listener.close();
  return { client: c, device, server: nbd, raw, touched, checksums };
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
  assert.equal(hub.engine.usage().handles, 0);
  await server.closeExport(device);
  await server.close({ drainMs: 100 });
}

const seen: Record<string, unknown> = {};

for (const [client, server] of [
  ['kernel', 'kernel'],
  ['kernel', 'Node'],
  ['Node', 'kernel'],
] as const) {
  for (const end of ['client', 'server', 'vanish'] as const) {
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
assert.equal(count('DecryptError'), 0);

const wire = new Wire();
const damaged = await session('kernel', 'kernel', wire);
await carries(damaged, 77);
const before = written(0, SIZE);
wire.flip = true;
await assert.rejects(damaged.client.writeBytes(8 * MIB, pattern(256 * 1024, 5)));
await over(damaged);
wire.close();
// Records before the damaged one have been taken, and nothing of it or behind it.
const after = written(8 * MIB, 256 * 1024);
const meant = pattern(256 * 1024, 5);
const old = before.subarray(8 * MIB, 8 * MIB + 256 * 1024);
for (let i = 0; i < after.length; i += 512) {
  const sector = after.subarray(i, i + 512);
  assert.ok(
    Buffer.compare(sector, old.subarray(i, i + 512)) === 0 || Buffer.compare(sector, meant.subarray(i, i + 512)) === 0,
    `sector ${String(i)}`,
  );
}
assert.ok(count('DecryptError') > 0);

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
