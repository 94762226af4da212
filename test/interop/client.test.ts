/**
 * Our client against servers that nobody here wrote: nbdkit with its filters, qemu-nbd, nbd-server. In the node world;
 * after each test nothing may be left in the engine.
 */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, onTestFinished } from 'vitest';
import { EngineHub, type OpOwner } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { PullSocket } from '../../src/io/pull-socket.ts';
import { type Address, Errno, errnoName } from '../../src/io/types.ts';
import { NbdClient, type NbdClientSettings } from '../../src/nbd-client-js/client.ts';
import { HandshakeError } from '../../src/nbd-client-js/errors.ts';
import { type ExportListing, inspectExport, listExports } from '../../src/nbd-client-js/handshake-client.ts';
import { parseNbdUri } from '../../src/nbd-client-js/uri.ts';
import { pattern, Recorder } from '../support/client-world.ts';
import { freePort, type Peer, startDaemon, startPeer } from '../support/peers.ts';
import { temporaryFolder, testWith, until } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;

const folder = temporaryFolder();
const io = createNodeIo();
const engine = io.createEngine();
const hub = new EngineHub(engine);
const haggling = { clock: io.clock, answerTimeoutMs: 5000, handshakeTimeoutMs: 5000 };

let files = 0;
function fresh(kind: string): string {
  files += 1;
  return join(folder, `${String(files)}.${kind}`);
}

afterEach(async () => {
  await until('all connections have closed', () => engine.usage().connections === 0);
  expect(engine.usage()).toMatchObject({ handles: 0, bytes: 0, operations: 0, connections: 0 });
  expect(hub.operationsInFlight).toBe(0);
});

afterAll(async () => {
  await engine.shutdown();
});

async function nbdkit(...args: string[]): Promise<Peer> {
  const path = fresh('sock');
  return await startPeer('nbdkit', ['-f', '--exit-with-parent', '-U', path, ...args], { kind: 'unix', path });
}

async function sparseFile(): Promise<string> {
  const path = fresh('img');
  await writeFile(path, '');
  await truncate(path, SIZE);
  return path;
}

async function qemuNbd(file: string, ...args: string[]): Promise<Peer> {
  const path = fresh('sock');
  return await startPeer('qemu-nbd', ['-t', '-k', path, '-f', 'raw', '-e', '8', '-x', 'disk', ...args, file], { kind: 'unix', path });
}

async function nbdServer(file: string): Promise<Peer> {
  const port = await freePort();
  const config = fresh('conf');
  const export1 = `[disk]\nexportname = ${file}\nflush = true\nfua = true\ntrim = true\n`;
  await writeFile(config, `[generic]\nlistenaddr = 127.0.0.1\nport = ${String(port)}\nallowlist = true\n${export1}`);
  const pidFile = fresh('pid');
  return await startDaemon('nbd-server', ['-C', config, '-p', pidFile], pidFile, { kind: 'tcp', host: '127.0.0.1', port });
}

async function connect(peer: Peer, settings: Partial<NbdClientSettings> = {}): Promise<NbdClient> {
  const client = await NbdClient.connect({ io, hub, exportName: '', replyTimeoutMs: 10_000, ...settings, address: peer.address });
  onTestFinished(() => {
    client.close(Errno.ESHUTDOWN);
  });
  return client;
}

async function pull(address: Address): Promise<PullSocket> {
  return new PullSocket(await io.net.connect(address, 5000), io.clock);
}

async function list(peer: Peer): Promise<ExportListing[]> {
  return await listExports(await pull(peer.address), haggling);
}

/** One call as a promise of its errno; data is given back. */
async function errnoOf(begin: (owner: OpOwner) => void): Promise<string> {
  return await new Promise((resolve) => {
    begin({
      onDone: (_tag, errno, _length, h) => {
        if (h !== 0) engine.release(h);
        resolve(errnoName(errno));
      },
    });
  });
}

/** Writes all over the export with `depth` calls in flight, reads it back the same way, compares. */
async function fillAndCompare(client: NbdClient, chunkBytes: number, depth: number): Promise<Uint8Array> {
  const bytes = pattern(client.info.sizeBytes, 5);
  const all = engine.allocate(bytes.length);
  engine.view(all).set(bytes);
  const chunks = Math.ceil(bytes.length / chunkBytes);
  const back = new Uint8Array(bytes.length);
  for (const writes of [true, false]) {
    await new Promise<void>((resolve, reject) => {
      let next = 0;
      let ended = 0;
      const begin = (): void => {
        const offset = next * chunkBytes;
        const length = Math.min(chunkBytes, bytes.length - offset);
        if (writes) client.write(owner, next, offset, length, all, offset, false);
        else client.read(owner, next, offset, length);
        next += 1;
      };
      const owner: OpOwner = {
        onDone: (tag, errno, length, h) => {
          if (errno !== 0) reject(new Error(errnoName(errno)));
          if (h !== 0) {
            back.set(engine.view(h).subarray(0, length), tag * chunkBytes);
            engine.release(h);
          }
          ended += 1;
          if (next < chunks) begin();
          if (ended === chunks) resolve();
        },
      };
      while (next < Math.min(depth, chunks)) begin();
    });
  }
  engine.release(all);
  expect(Buffer.compare(back, bytes)).toBe(0);
  return bytes;
}

describe('nbdkit', () => {
  testWith(['nbdkit'], 'tells its export, and keeps what is written with 256 requests in flight', async () => {
    const peer = await nbdkit('memory', '16M');
    const client = await connect(peer);
    expect(client.info).toMatchObject({
      sizeBytes: SIZE,
      readOnly: false,
      canFlush: true,
      canFua: true,
      canTrim: true,
      canWriteZeroes: true,
      canMultiConn: true,
      structured: true,
    });
    expect(client.info.baseAllocationContextId).toBeTypeOf('number');
    await fillAndCompare(client, 4096, 256);
    await client.flushNow();
    await client.disconnect();
    expect(client.lost).toEqual({ errno: 0, reason: 'disconnected' });
  });

  testWith(['nbdkit'], 'is used over several connections, more than it takes in flight', async () => {
    const client = await connect(await nbdkit('memory', '16M'), { connections: 4, requestsMax: 16, queueMax: 1000 });
    expect(client.connections).toBe(4);
    await fillAndCompare(client, 65536, 256);
    await client.disconnect();
  });

  testWith(['nbdkit'], 'zeroes, trims, and tells its extents', async () => {
    const client = await connect(await nbdkit('memory', '16M'));
    await client.writeBytes(0, pattern(4 * MIB), true);
    expect(await client.extents(0, SIZE)).toEqual([
      { offset: 0, length: 4 * MIB, hole: false, zero: false },
      { offset: 4 * MIB, length: 12 * MIB, hole: true, zero: true },
    ]);
    expect(
      await errnoOf((o) => {
        client.writeZeroes(o, 0, MIB, MIB, { fua: true, mayPunch: true });
      }),
    ).toBe('OK');
    expect(
      await errnoOf((o) => {
        client.trim(o, 0, 2 * MIB, MIB);
      }),
    ).toBe('OK');
    expect(await client.readBytes(MIB, 512)).toEqual(new Uint8Array(512));
    expect(await client.extents(0, SIZE)).toEqual([
      { offset: 0, length: MIB, hole: false, zero: false },
      { offset: MIB, length: 2 * MIB, hole: true, zero: true },
      { offset: 3 * MIB, length: MIB, hole: false, zero: false },
      { offset: 4 * MIB, length: 12 * MIB, hole: true, zero: true },
    ]);
    await client.disconnect();
  });

  testWith(['nbdkit'], 'writes its file', async () => {
    const file = await sparseFile();
    const client = await connect(await nbdkit('file', file));
    const bytes = await fillAndCompare(client, 512 * 1024, 8);
    await client.flushNow();
    expect(Buffer.compare(await readFile(file), bytes)).toBe(0);
    await client.disconnect();
  });

  testWith(['nbdkit'], 'without structured replies works, without block status', async () => {
    const client = await connect(await nbdkit('--no-sr', 'memory', '16M'));
    expect(client.info).toMatchObject({ structured: false, baseAllocationContextId: undefined });
    await fillAndCompare(client, 65536, 32);
    expect(
      await errnoOf((o) => {
        client.blockStatus(o, 0, 0, 512);
      }),
    ).toBe('ENOTSUP');
    await client.disconnect();
  });

  testWith(['nbdkit'], 'with filters that take abilities away is seen without them', async () => {
    const client = await connect(await nbdkit('--filter=nozero', '--filter=noextents', '--filter=fua', 'memory', '16M'));
    expect(client.info).toMatchObject({ canWriteZeroes: false, canFua: false, canFlush: true });
    expect(
      await errnoOf((o) => {
        client.writeZeroes(o, 0, 0, 512, { fua: false, mayPunch: true });
      }),
    ).toBe('ENOTSUP');
    expect(await client.extents(0, SIZE)).toEqual([{ offset: 0, length: SIZE, hole: false, zero: false }]);
    await client.writeBytes(0, pattern(512), true);
    expect(await client.readBytes(0, 512)).toEqual(pattern(512));
    await client.disconnect();
  });

  testWith(['nbdkit'], 'without flush and FUA promises nothing durable (M3)', async () => {
    const client = await connect(
      await nbdkit('eval', 'get_size=echo 1M', 'pread=dd if=/dev/zero count=$3 iflag=count_bytes status=none', 'pwrite=cat >/dev/null'),
    );
    expect(client.info).toMatchObject({ canFlush: false, canFua: false });
    expect(
      await errnoOf((o) => {
        client.flush(o, 0);
      }),
    ).toBe('ENOTSUP');
    await expect(client.writeBytes(0, pattern(512), true)).rejects.toThrow(/ENOTSUP/);
    await client.writeBytes(0, pattern(512));
    await client.disconnect();
  });

  testWith(['nbdkit'], 'whose flush fails says so for a flush, and for FUA written as write and flush', async () => {
    const script = [
      'get_size=echo 1M',
      'pread=exit 1',
      'pwrite=cat >/dev/null',
      'can_flush=exit 0',
      'can_fua=echo none',
      'flush=echo EIO broken >&2; exit 1',
    ];
    const client = await connect(await nbdkit('eval', ...script));
    expect(client.info).toMatchObject({ canFlush: true, canFua: false });
    await expect(client.flushNow()).rejects.toThrow('flush: EIO');
    await expect(client.writeBytes(0, pattern(512), true)).rejects.toThrow(/EIO/);
    await client.writeBytes(0, pattern(512));
    expect(client.lost).toBeUndefined();
    await client.disconnect();
  });

  testWith(['nbdkit'], 'with an error filter gives its errors to the requests, not to the connection', async () => {
    const client = await connect(await nbdkit('--filter=error', 'memory', '16M', 'error=ENOSPC', 'error-pwrite-rate=100%'));
    await expect(client.writeBytes(512, pattern(512))).rejects.toThrow('write of 512 bytes at 512: ENOSPC');
    expect(await client.readBytes(512, 512)).toEqual(new Uint8Array(512));
    expect(client.lost).toBeUndefined();
    await client.disconnect();
  });

  testWith(['nbdkit'], 'with a policy for block sizes gets requests as long as it allows', async () => {
    const policy = ['blocksize-minimum=4096', 'blocksize-preferred=8192', 'blocksize-maximum=65536', 'blocksize-error-policy=error'];
    const client = await connect(await nbdkit('--filter=blocksize-policy', 'memory', '16M', ...policy));
    expect(client.info).toMatchObject({ blockSizeMinBytes: 4096, blockSizePreferredBytes: 8192, payloadMaxBytes: 65536 });
    await fillAndCompare(client, 3 * MIB, 4);
    await expect(client.readBytes(512, 4096)).rejects.toThrow(/EINVAL/);
    await client.disconnect();
  });

  testWith(['nbdkit'], 'that answers too late is lost, with every request', async () => {
    const client = await connect(await nbdkit('--filter=delay', 'memory', '16M', 'delay-read=30'), { replyTimeoutMs: 300, requestsMax: 4 });
    const recorder = new Recorder();
    const closed: number[] = [];
    client.onClosed((errno) => {
      closed.push(errno, recorder.done.length);
    });
    for (let tag = 0; tag < 10; tag += 1) client.read(recorder, tag, 0, 512);
    await until('the client is closed', () => closed.length > 0);
    expect(recorder.done.map((d) => d.errno)).toEqual(Array(10).fill(Errno.ETIMEDOUT));
    expect(closed).toEqual([Errno.ETIMEDOUT, 10]);
  });

  testWith(['nbdkit'], 'that is killed loses its client, each request ending once', async () => {
    const peer = await nbdkit('--filter=delay', 'memory', '16M', 'wdelay=1');
    const client = await connect(peer, { connections: 2, requestsMax: 8 });
    const recorder = new Recorder();
    const closed: number[] = [];
    client.onClosed((errno) => {
      closed.push(errno);
    });
    const h = engine.allocate(65536);
    for (let tag = 0; tag < 100; tag += 1) client.write(recorder, tag, tag * 65536, 65536, h, 0, true);
    engine.release(h);
    await peer.kill();
    await until('the client is closed', () => closed.length > 0);
    expect(recorder.done).toHaveLength(100);
    expect(recorder.done.every((d) => d.errno !== 0)).toBe(true);
    expect(client.lost?.errno).not.toBe(0);
  });

  testWith(['nbdkit'], 'of the old style is refused in one line; not of the fixed one it is asked by EXPORT_NAME alone', async () => {
    const old: unknown = await connect(await nbdkit('-o', 'memory', '1M')).catch((e: unknown) => e);
    expect(old).toBeInstanceOf(HandshakeError);
    expect(old).toMatchObject({ failure: 'too-old' });
    const unfixed = await connect(await nbdkit('--mask-handshake=0', 'memory', '1M'));
    await fillAndCompare(unfixed, 65536, 4);
    await unfixed.disconnect();
  });

  testWith(['nbdkit'], 'without NO_ZEROES is taken all the same', async () => {
    const client = await connect(await nbdkit('--mask-handshake=1', 'memory', '1M'));
    await fillAndCompare(client, 65536, 4);
    await client.disconnect();
  });

  testWith(['nbdkit'], 'lists and describes its exports', async () => {
    const exports = ['exportname=a', 'exportname=b', 'exportname-list=explicit', 'exportdesc=fixed:a disk'];
    const peer = await nbdkit('--filter=exportname', 'memory', '1M', ...exports, 'exportname-strict=true');
    expect((await list(peer)).map((e) => e.name)).toEqual(['a', 'b']);
    expect(await inspectExport(await pull(peer.address), 'a', haggling)).toMatchObject({ sizeBytes: MIB, description: 'a disk' });
    const refused: unknown = await connect(peer, { exportName: 'c' }).catch((e: unknown) => e);
    expect(refused).toBeInstanceOf(HandshakeError);
    expect(refused).toMatchObject({ failure: 'unknown-export' });
  });
});

describe('qemu-nbd', () => {
  testWith(['qemu-nbd'], 'keeps what is written over several connections, in its file', async () => {
    const file = await sparseFile();
    const peer = await qemuNbd(file);
    const client = await connect(peer, { exportName: 'disk', connections: 2 });
    expect(client.info).toMatchObject({ sizeBytes: SIZE, canFlush: true, canFua: true, structured: true, payloadMaxBytes: 32 * MIB });
    const bytes = await fillAndCompare(client, 16384, 256);
    await client.flushNow();
    expect(Buffer.compare(await readFile(file), bytes)).toBe(0);
    await client.disconnect();
  });

  testWith(['qemu-nbd'], 'zeroes, trims, and tells its extents', async () => {
    const client = await connect(await qemuNbd(await sparseFile(), '--discard=unmap'), { exportName: 'disk' });
    await client.writeBytes(0, pattern(4 * MIB), true);
    const data = { offset: 0, length: 4 * MIB, hole: false, zero: false };
    expect(await client.extents(0, SIZE)).toEqual([data, { offset: 4 * MIB, length: 12 * MIB, hole: true, zero: true }]);
    expect(
      await errnoOf((o) => {
        client.writeZeroes(o, 0, MIB, MIB, { fua: false, mayPunch: false });
      }),
    ).toBe('OK');
    expect(
      await errnoOf((o) => {
        client.trim(o, 0, 2 * MIB, MIB, true);
      }),
    ).toBe('OK');
    expect(Buffer.compare(await client.readBytes(MIB, MIB), new Uint8Array(MIB))).toBe(0);
    await client.disconnect();
  });

  testWith(['qemu-nbd'], 'tells that an export is read-only, or does not exist', async () => {
    const peer = await qemuNbd(await sparseFile(), '--read-only');
    const client = await connect(peer, { exportName: 'disk' });
    expect(client.info.readOnly).toBe(true);
    await expect(client.writeBytes(0, pattern(512))).rejects.toThrow(/EROFS/);
    await client.disconnect();
    const refused: unknown = await connect(peer, { exportName: 'else' }).catch((e: unknown) => e);
    expect(refused).toMatchObject({ failure: 'unknown-export', errno: Errno.ENOENT });
    expect(String(refused)).toMatch(/it says: .*else/);
    expect((await list(peer)).map((e) => e.name)).toEqual(['disk']);
  });
});

describe('nbd-server', () => {
  testWith(['nbd-server'], 'keeps what is written, by a URI, over TCP', async () => {
    const file = await sparseFile();
    const peer = await nbdServer(file);
    if (peer.address.kind !== 'tcp') throw new Error('a TCP server is expected');
    const { address, exportName } = parseNbdUri(`nbd://127.0.0.1:${String(peer.address.port)}/disk`);
    const client = await NbdClient.connect({ io, hub, address, exportName });
    expect(client.info).toMatchObject({ sizeBytes: SIZE, canFlush: true, canFua: true, canTrim: true });
    const bytes = await fillAndCompare(client, 65536, 64);
    await client.flushNow();
    expect(Buffer.compare(await readFile(file), bytes)).toBe(0);
    expect(
      await errnoOf((o) => {
        client.trim(o, 0, 0, MIB);
      }),
    ).toBe('OK');
    await client.writeBytes(MIB, pattern(512), true);
    await client.disconnect();
    expect((await list(peer)).map((e) => e.name)).toEqual(['disk']);
  });
});
