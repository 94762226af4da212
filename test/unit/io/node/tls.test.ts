/** TLS by Node over real sockets, with certificates of a CA made for the test. */
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LegDevice } from '../../../../src/nbd/leg-device.ts';
import * as wire from '../../../../src/nbd/wire/constants.ts';
import * as hs from '../../../../src/nbd/wire/handshake.ts';
import { encodeText } from '../../../../src/nbd/wire/layout.ts';
import { encodeRequest } from '../../../../src/nbd/wire/transmission.ts';
import { PullSocket } from '../../../../src/io/pull-socket.ts';
import { NbdServer } from '../../../../src/nbd/server.ts';
import { EngineHub } from '../../../../src/io/hub.ts';
import type { Log } from '../../../../src/io/log.ts';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { nodeFiles } from '../../../../src/io/node/files.ts';
import { nodeNet } from '../../../../src/io/node/net.ts';
import type { KernelTls } from '../../../../src/io/node/kernel-tls.ts';
import { createNodeIo } from '../../../../src/io/node/node-io.ts';
import { NodeSecureSocket, NodeTls } from '../../../../src/io/node/tls.ts';
import type { TrafficKeys } from '../../../../src/io/node/traffic-keys.ts';
import type { SecureSocket } from '../../../../src/io/tls.ts';
import { type Clock, Errno, type IoSocket, type Listener } from '../../../../src/io/types.ts';
import { revoke } from '../../../../src/pki/issue.ts';
import { addPreSharedKey } from '../../../../src/pki/psk.ts';
import { NbdClient } from '../../../../src/nbd-client-js/client.ts';
import { DAY_MS, type TestCa, testCa } from '../../pki/ca-world.ts';

const NONE = new Uint8Array(0);
const SOON_MS = 5000;

let root: string;
let ca: TestCa;
let listeners: Listener[] = [];
let logged: string[] = [];

const log: Log = {
  info: (m) => logged.push(`info ${m}`),
  warn: (m) => logged.push(`warn ${m}`),
  error: (m, f) => logged.push(`error ${m} ${JSON.stringify(f)}`),
};

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'tls-'));
  ca = await testCa(root);
  logged = [];
});

afterEach(async () => {
  for (const l of listeners) await l.close();
  listeners = [];
  rmSync(root, { recursive: true, force: true });
});

/** A folder with a certificate of that name, of `of`. */
async function folderOf(name: string, kind: 'node' | 'client' = 'node', of: TestCa = ca): Promise<string> {
  const out = join(root, `${name}-${String(readdirSync(root).length)}`);
  await of.issue({ name, kind, out });
  if (kind === 'client') {
    copyFileSync(join(out, 'client-cert.pem'), join(out, 'node-cert.pem'));
    copyFileSync(join(out, 'client-key.pem'), join(out, 'node-key.pem'));
  }
  return out;
}

const opened = (folder: string, node: string, kernel?: KernelTls): Promise<NodeTls> =>
  NodeTls.open({ files: nodeFiles, folder, node, clock: nodeClock, log, kernel });

/** Both ends of a connection over loopback. */
async function sockets(): Promise<{ near: IoSocket; far: IoSocket }> {
  const accepted = new Promise<IoSocket>((resolve) => {
    void nodeNet.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, resolve).then(async (l) => {
      listeners.push(l);
      connected(await nodeNet.connect(l.address, SOON_MS));
    });
  });
  let connected: (s: IoSocket) => void = () => undefined;
  const near = await new Promise<IoSocket>((resolve) => {
    connected = resolve;
  });
  return { near, far: await accepted };
}

interface Ends {
  client: SecureSocket;
  server: SecureSocket;
}

async function agreed(client: NodeTls, server: NodeTls, node = 'server1'): Promise<Ends> {
  const { near, far } = await sockets();
  const [c, s] = await Promise.all([client.connect(near, node, SOON_MS), server.accept(far, NONE, SOON_MS, 'node')]);
  return { client: c, server: s };
}

/** Everything that comes until the end, and how it ended. */
function drained(s: IoSocket): Promise<{ bytes: Buffer; errno: number }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    s.start({
      onData: (b) => chunks.push(Buffer.from(b)),
      onClose: (errno) => {
        resolve({ bytes: Buffer.concat(chunks), errno });
      },
    });
  });
}

describe('two ends that know each other', () => {
  it('by certificates, carry data both ways at once and end in order', async () => {
    const { client, server } = await agreed(await opened(await folderOf('server2'), 'server2'), await opened(await folderOf('server1'), 'server1'));
    expect(server.peer).toEqual({ by: 'certificate', names: ['server2'], mayServe: true });
    expect(client.peer?.names).toContain('server1');
    const there = Buffer.alloc(3 * 1024 * 1024, 7);
    const back = Buffer.alloc(2 * 1024 * 1024, 9);
    const [atServer, atClient] = [drained(server), drained(client)];
    client.write(there);
    server.write(back);
    client.end();
    server.end();
    expect((await atServer).bytes.equals(there)).toBe(true);
    expect((await atClient).bytes.equals(back)).toBe(true);
    expect([(await atServer).errno, (await atClient).errno]).toEqual([0, 0]);
  });

  it('by a key, with or without certificates beside it, are known by the name of its user', async () => {
    const keys = join(root, 'keys');
    await addPreSharedKey(ca.w, keys, 'server1');
    await addPreSharedKey(ca.w, keys, 'server2');
    const alone = join(root, 'alone');
    mkdirSync(alone);
    copyFileSync(keys, join(alone, 'psk'));
    const both = await folderOf('server1');
    copyFileSync(keys, join(both, 'psk'));
    for (const folder of [alone, both]) {
      const { server, client } = await agreed(await opened(alone, 'server2'), await opened(folder, 'server1'));
      expect(server.peer).toEqual({ by: 'psk', names: ['server2'], mayServe: true });
      client.destroy();
      server.destroy();
    }
    // Where there are keys, certificates serve as well.
    const { server, client } = await agreed(await opened(await folderOf('server2'), 'server2'), await opened(both, 'server1'));
    expect(server.peer?.by).toBe('certificate');
    client.destroy();
    server.destroy();
  });

  it('a client is known by its certificate, and is no node', async () => {
    const { server, client } = await agreed(
      await opened(await folderOf('backup', 'client'), 'backup'),
      await opened(await folderOf('server1'), 'server1'),
    );
    expect(server.peer).toMatchObject({ names: ['backup'], mayServe: false });
    client.destroy();
    server.destroy();
  });
});

describe('who is not taken', () => {
  /** What the server makes of a client with what is in that folder. */
  async function refusal(clientFolder: string, name: string, server: NodeTls): Promise<string> {
    const { server: s, client } = await agreed(await opened(clientFolder, name), server);
    client.destroy();
    s.destroy();
    expect(s.peer).toBeNull();
    return s.refusal;
  }

  it('a certificate that has expired, is of another CA, or was revoked, each with its word', async () => {
    ca.clock.ms -= 10 * DAY_MS;
    const late = join(root, 'late');
    await ca.issue({ name: 'late', days: 1, out: late });
    ca.clock.ms += 10 * DAY_MS;
    const other = await testCa(join(root, 'other'));
    const foreign = await folderOf('server3', 'node', other);
    // It trusts us: only we do not trust it.
    for (const f of ['ca-cert.pem', 'ca-crl.pem']) copyFileSync(join(ca.dir, f), join(foreign, f));
    const gone = await folderOf('gone');
    const folder = await folderOf('server1');
    const server = await opened(folder, 'server1');
    const listBefore = readFileSync(join(ca.dir, 'ca-crl.pem'), 'utf8');
    // Of two lists of a CA the newer one counts, by seconds.
    ca.clock.ms += 60_000;
    await revoke(ca.w, { dir: ca.dir, name: 'gone' });
    expect(await refusal(late, 'late', server)).toContain('has expired');
    expect(await refusal(foreign, 'server3', server)).toContain('was not issued by our CA');
    copyFileSync(join(ca.dir, 'ca-crl.pem'), join(folder, 'ca-crl.pem'));
    expect(await refusal(gone, 'gone', await opened(folder, 'server1'))).toContain('has been revoked');
    // Behind another list it counts as well.
    writeFileSync(join(folder, 'ca-crl.pem'), `${listBefore}\n${readFileSync(join(ca.dir, 'ca-crl.pem'), 'utf8')}`);
    expect(await refusal(gone, 'gone', await opened(folder, 'server1'))).toContain('has been revoked');
  });

  it('a server that is another node, or whose certificate has expired', async () => {
    const client = await opened(await folderOf('server2'), 'server2');
    const { near, far } = await sockets();
    const server = await opened(await folderOf('server3'), 'server3');
    const told = server.accept(far, NONE, SOON_MS, 'node').then(
      (s) => {
        s.destroy();
      },
      () => undefined,
    );
    await expect(client.connect(near, 'server1', SOON_MS)).rejects.toMatchObject({
      errno: Errno.EACCES,
      message: expect.stringContaining('is that of server3') as string,
    });
    await told;
  });

  it('a wrong key and an unknown user', async () => {
    const mine = join(root, 'mine');
    const theirs = join(root, 'theirs');
    for (const d of [mine, theirs]) {
      mkdirSync(d);
      await addPreSharedKey(ca.w, join(d, 'psk'), 'server2');
    }
    const server = await opened(theirs, 'server1');
    for (const name of ['server2', 'server9']) {
      if (name === 'server9') await addPreSharedKey(ca.w, join(mine, 'psk'), 'server9');
      const { near, far } = await sockets();
      const [c, s] = await Promise.allSettled([
        (await opened(mine, name)).connect(near, 'server1', SOON_MS),
        server.accept(far, NONE, SOON_MS, 'node'),
      ]);
      expect(c.status).toBe('rejected');
      expect(s).toMatchObject({ status: 'rejected', reason: { message: expect.stringContaining('not known, or the key is another') as string } });
    }
    // A node that has no key of its own name has nothing to say.
    const { near } = await sockets();
    await expect((await opened(mine, 'server5')).connect(near, 'server1', SOON_MS)).rejects.toMatchObject({ errno: Errno.EACCES });
  });

  it('somebody who speaks something else, says nothing, or leaves in the middle', async () => {
    const server = await opened(await folderOf('server1'), 'server1');
    const garbage = await sockets();
    garbage.near.write(Buffer.from('GET / HTTP/1.0\r\n\r\n'));
    await expect(server.accept(garbage.far, NONE, SOON_MS, 'node')).rejects.toThrow('does not speak TLS');
    const silent = await sockets();
    await expect(server.accept(silent.far, NONE, 50, 'node')).rejects.toMatchObject({ errno: Errno.ETIMEDOUT });
    const leaving = await sockets();
    const left = server.accept(leaving.far, NONE, SOON_MS, 'node');
    leaving.near.destroy();
    await expect(left).rejects.toMatchObject({ errno: Errno.ECONNRESET });
    // Whose answers to what came before lie there, since it does not read.
    const full = await sockets();
    full.near.pause();
    full.far.write(new Uint8Array(64 * 1024 * 1024));
    await expect(server.accept(full.far, NONE, 200, 'node')).rejects.toMatchObject({ errno: Errno.ETIMEDOUT });
    const closed = await sockets();
    closed.far.destroy();
    await expect(server.accept(closed.far, NONE, SOON_MS, 'node')).rejects.toThrow('closed the connection');
  });
});

describe('renewal', () => {
  it('is seen by the next connection; what can not be used is said, and the set before it stays', async () => {
    const folder = await folderOf('server1');
    const clock: Clock & { at: number } = {
      at: 0,
      now: () => clock.at,
      wallNow: () => nodeClock.wallNow(),
      after: (ms, f) => nodeClock.after(ms, f),
      soon: (f) => {
        nodeClock.soon(f);
      },
    };
    const server = await NodeTls.open({ files: nodeFiles, folder, node: 'server1', clock, log });
    const client = await opened(await folderOf('server2'), 'server2');
    const before = server.state.expires;
    const renewed = join(root, 'renewed');
    await ca.issue({ name: 'server1b', hosts: ['server1'], days: 400, out: renewed });
    copyFileSync(join(renewed, 'node-key.pem'), join(folder, 'node-key.pem'));
    clock.at += 2000;
    const half = await agreed(client, server);
    expect(logged.at(-1)).toMatch(/^error new certificates or keys can not be used; the ones before them stay .*node-key\.pem/);
    copyFileSync(join(renewed, 'node-cert.pem'), join(folder, 'node-cert.pem'));
    clock.at += 2000;
    const whole = await agreed(client, server);
    expect(logged.at(-1)).toBe('info new certificates or keys are in use');
    expect([half.client.peer?.names[0], whole.client.peer?.names[0]]).toEqual(['server1', 'server1b']);
    expect(server.state.expires).not.toBe(before);
    for (const s of [half, whole]) for (const e of [s.client, s.server]) e.destroy();
  });

  it('is asked for in time', async () => {
    const out = join(root, 'short');
    await ca.issue({ days: 20, out });
    await opened(out, 'server1');
    expect(logged).toEqual([expect.stringContaining("warn this node's certificate ends soon")]);
  });
});

describe('what is in the folder', () => {
  const spoil: [string, (folder: string, other: string) => void, RegExp][] = [
    [
      'no certificate',
      (f) => {
        rmSync(join(f, 'node-cert.pem'));
      },
      /node-cert\.pem is missing/,
    ],
    [
      'no key',
      (f) => {
        rmSync(join(f, 'node-key.pem'));
      },
      /node-key\.pem is missing/,
    ],
    [
      'no CA',
      (f) => {
        rmSync(join(f, 'ca-cert.pem'));
      },
      /ca-cert\.pem is missing/,
    ],
    [
      'the key of another',
      (f, o) => {
        copyFileSync(join(o, 'node-key.pem'), join(f, 'node-key.pem'));
      },
      /node-key\.pem with node-cert\.pem can not be used/,
    ],
    [
      'the certificate of another node',
      (f, o) => {
        copyFileSync(join(o, 'node-cert.pem'), join(f, 'node-cert.pem'));
      },
      /certificate of server2; allowed: one of server1/,
    ],
    [
      'a damaged CA',
      (f) => {
        writeFileSync(join(f, 'ca-cert.pem'), 'x');
      },
      /ca-cert\.pem can not be used/,
    ],
    [
      'a damaged list',
      (f) => {
        writeFileSync(join(f, 'ca-crl.pem'), 'x');
      },
      /ca-crl\.pem can not be used/,
    ],
    [
      'no line of keys',
      (f) => {
        writeFileSync(join(f, 'psk'), 'alice\n');
      },
      /psk: line 1 is no USER:KEY/,
    ],
    [
      'a short key',
      (f) => {
        writeFileSync(join(f, 'psk'), '# keys\nalice:abcd\n');
      },
      /psk: line 2 is no USER:KEY/,
    ],
    [
      'a user twice',
      (f) => {
        writeFileSync(join(f, 'psk'), `a:${'0'.repeat(64)}\na:${'1'.repeat(64)}\n`);
      },
      /psk: line 2 has user a once more/,
    ],
  ];

  it.each(spoil)('%s is said, with the file', async (_what, f, said) => {
    const folder = await folderOf('server1');
    f(folder, await folderOf('server2'));
    await expect(opened(folder, 'server1')).rejects.toThrow(said);
  });
});

const READS = 8;
const READ_BYTES = 256 * 1024;

function request(type: number, cookie: number, length: number): Uint8Array {
  const bytes = new Uint8Array(28);
  encodeRequest(new DataView(bytes.buffer), 0, { flags: 0, type, cookieHi: 0, cookieLo: cookie, offset: 0, length });
  return bytes;
}

/** Bytes that came behind the handshake. */
async function shaken(client: SecureSocket): Promise<Uint8Array> {
  const pull = new PullSocket(client, nodeClock);
  await pull.read(18, SOON_MS);
  pull.write(hs.encodeClientFlags(wire.NBD_FLAG_C_FIXED_NEWSTYLE | wire.NBD_FLAG_C_NO_ZEROES));
  pull.write(hs.encodeOption(wire.NBD_OPT_EXPORT_NAME, encodeText('x')));
  await pull.read(10, SOON_MS);
  return pull.detach();
}

/** A client that asks for much and reads nothing of it: what waits for it is more than all buffers on the way hold. */
async function replyNotRead(client: SecureSocket): Promise<void> {
  await shaken(client);
  for (let i = 1; i <= 20 * READS; i += 1) client.write(request(wire.NBD_CMD_READ, i, READ_BYTES));
}

/** A client that asks, says that it goes, and ends its side at once: bytes of the replies that it still gets. */
async function repliesAfterTheEnd(client: SecureSocket): Promise<number> {
  const rest = await shaken(client);
  const got = drained(client);
  client.resume();
  for (let i = 1; i <= READS; i += 1) client.write(request(wire.NBD_CMD_READ, i, READ_BYTES));
  client.write(request(wire.NBD_CMD_DISC, 99, 0));
  client.end();
  return rest.length + (await got).bytes.length;
}

/** A kernel that takes no keys, as one without the cipher does: all goes on with Node. */
const unwilling: KernelTls = { willing: true, secure: () => Errno.ENOTSUP };

describe.each([
  ['native', undefined, 'alone'],
  ['native', unwilling, 'beside a kernel that takes no keys'],
  ['portable', undefined, 'alone'],
  ['portable', unwilling, 'beside a kernel that takes no keys'],
] as const)('a connection that the %s engine takes over', (engine, kernel, how) => {
  const descriptors = (): number => readdirSync('/proc/self/fd').length;

  it(`carries requests and ends in order, whoever ends it, and nothing is left of it, ${how}`, async () => {
    const io = createNodeIo({ engine: { engine } });
    const hub = new EngineHub(io.createEngine());
    const path = join(root, 'leg');
    writeFileSync(path, '');
    truncateSync(path, 4 * 1024 * 1024);
    const leg = await hub.engine.openLeg(path, { write: true, lock: true });
    const device = new LegDevice(hub, leg);
    const server = new NbdServer({ io, hub, exports: { list: () => [], find: () => device } });
    const [near, far] = [await opened(await folderOf('server2'), 'server2', kernel), await opened(await folderOf('server1'), 'server1', kernel)];
    const before = descriptors();
    for (const end of ['client', 'server', 'vanish'] as const) {
      const s = await sockets();
      const [client, accepted] = await Promise.all([near.connect(s.near, 'server1', SOON_MS), far.accept(s.far, NONE, SOON_MS, 'node')]);
      const serving = server.serve(accepted);
      const c = await NbdClient.connect({ io, hub, exportName: 'x', open: () => Promise.resolve(client) });
      expect(await serving).toBe(true);
      const bytes = new Uint8Array(1024 * 1024).map((_, i) => (i * 7 + end.length) & 255);
      await c.writeBytes(65536, bytes);
      expect(Buffer.compare(await c.readBytes(65536, bytes.length), bytes)).toBe(0);
      if (end === 'client') await c.disconnect();
      else if (end === 'server') await server.closeExport(device);
      else s.near.destroy();
      await expect.poll(() => hub.engine.usage().connections, { timeout: SOON_MS }).toBe(0);
      expect(hub.engine.usage()).toMatchObject({ handles: 0, operations: 0 });
      for (const l of listeners) await l.close();
      listeners = [];
    }
    for (const f of [repliesAfterTheEnd, replyNotRead] as const) {
      const { client, server: accepted } = await agreed(near, far);
      const serving = server.serve(accepted);
      // A socket of Node's, which the portable engine keeps, ends with its peer's end.
      if (f === repliesAfterTheEnd && engine === 'native') expect(await f(client)).toBe(READS * (16 + READ_BYTES));
      else await f(client);
      expect(await serving).toBe(true);
      await server.closeExport(device, Errno.ESHUTDOWN, 0);
    }
    await expect.poll(() => hub.engine.usage().connections, { timeout: SOON_MS }).toBe(0);
    for (const l of listeners) await l.close();
    listeners = [];
    await expect.poll(descriptors, { timeout: SOON_MS }).toBeLessThanOrEqual(before);
    await server.close({ drainMs: 100 });
    await hub.engine.shutdown();
  });
});

describe('a connection that the kernel is to go on with', () => {
  /** Asked by the engine, as it is for a real one; keeps what it was asked and answers that. */
  function kernelThat(answers: number): { kernel: KernelTls; asked: TrafficKeys[] } {
    const asked: TrafficKeys[] = [];
    return {
      asked,
      kernel: {
        willing: true,
        secure: (_fd, { cipher, receiving, sending }) => {
          asked.push({ cipher, receiving: Buffer.from(receiving), sending: Buffer.from(sending) });
          return answers;
        },
      },
    };
  }

  async function handedOver(
    client: KernelTls | undefined,
    server: KernelTls | undefined,
    prepare?: (folder: string) => Promise<void>,
  ): Promise<[number, number]> {
    const folders = [await folderOf('server2'), await folderOf('server1')] as const;
    await prepare?.(folders[1]);
    const { client: c, server: s } = await agreed(await opened(folders[0], 'server2', client), await opened(folders[1], 'server1', server));
    if (!(c instanceof NodeSecureSocket) || !(s instanceof NodeSecureSocket)) throw new Error('other sockets');
    // Each has sent something, and the server more than once.
    const [asked, answered] = [new PullSocket(c, nodeClock), new PullSocket(s, nodeClock)];
    s.write(Buffer.from('hello'));
    expect(await asked.read(5, SOON_MS)).toEqual(encodeText('hello'));
    s.write(Buffer.from('again'));
    await asked.read(5, SOON_MS);
    c.write(Buffer.from('thanks'));
    await answered.read(6, SOON_MS);
    asked.detach();
    answered.detach();
    const taken = (x: NodeSecureSocket): Promise<number> =>
      new Promise((resolve) => {
        x.handOver({
          take: (fd) => {
            resolve(fd);
          },
          gone: (errno) => {
            resolve(-errno);
          },
        });
      });
    const ends = await Promise.all([taken(c), taken(s)]);
    c.destroy();
    s.destroy();
    return ends;
  }

  it('gives both ends the same keys and numbers, each the other way round', async () => {
    const [near, far] = [kernelThat(0), kernelThat(0)];
    const fds = await handedOver(near.kernel, far.kernel);
    expect(fds.every((fd) => fd > 2)).toBe(true);
    const [[c], [s]] = [near.asked, far.asked];
    expect(c?.sending).toEqual(s?.receiving);
    expect(c?.receiving).toEqual(s?.sending);
    // OpenSSL has said something of its own before.
    expect(c?.sending.at(-1)).toBe(1);
    expect(s?.sending.at(-1)).toBeGreaterThanOrEqual(2);
    expect(Buffer.compare(c?.sending ?? NONE, c?.receiving ?? NONE)).not.toBe(0);
  });

  it('is lost, and says so, when the kernel took the keys of one way alone', async () => {
    expect(await handedOver(kernelThat(-Errno.ENOMEM).kernel, undefined)).toEqual([-Errno.ENOMEM, expect.any(Number)]);
  });

  it('stays with Node when it speaks TLS 1.2, as with keys of users', async () => {
    const { kernel, asked } = kernelThat(0);
    const fds = await handedOver(kernel, kernel, async (folder) => {
      await addPreSharedKey(ca.w, join(folder, 'psk'), 'somebody');
    });
    expect(asked).toEqual([]);
    expect(fds.every((fd) => fd > 2)).toBe(true);
  });
});
